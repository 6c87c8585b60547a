// Package edit makes containers and changes their configurations.
//
// A change is checked whole before anything is touched. It is then noted as pending,
// with the volumes made that it asks for, and made to hold: at once where the container
// is off, as far as LXC takes it where it runs. What LXC does not take waits for the next
// start.
package edit

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Service edits the containers of a node.
type Service struct {
	*ct.Host
	Volumes *volumes.Service
	Random  io.Reader // hardware addresses and salts are made of it
	// Setup is what the set-up of distributions needs to know of the node.
	Setup func(ctx context.Context) setup.Env
	// Plugger makes the pending changes of a running container hold, as far as that is
	// possible. nil leaves all of them for the next start.
	Plugger Plugger
	// Start starts a container.
	Start func(ctx context.Context, vmid id.VM) error
}

// A Plugger makes changes hold in a running container.
type Plugger interface {
	// Plug makes the pending changes of doc hold that are among keys; what holds
	// moves from doc.Pending to doc.Values. What needs nothing done has moved already. It
	// returns what went wrong, by option: that stays pending, as does what needs a
	// restart.
	Plug(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) (schema.Faults, error)
}

// datacenter reads the settings of the cluster.
func (s *Service) datacenter(ctx context.Context) (*cluster.Datacenter, error) {
	return s.Cluster.Datacenter(ctx, func(fault string) { fmt.Fprintln(api.StreamsOf(ctx).Err, fault) })
}

// sorted returns the options of values.
func sorted(values schema.Params) []string { return slices.Sorted(maps.Keys(values)) }
