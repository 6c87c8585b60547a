// Package edit makes the configurations of VMs and changes them.
//
// A change is checked whole before anything is touched. It is then noted as pending,
// with the volumes made that it asks for, and made to hold: at once where the VM is
// off, as far as QEMU takes it where it runs. What QEMU does not take waits for the
// next start.
package edit

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Service edits the VMs of a node.
type Service struct {
	*vm.Host
	Disks  *disks.Service
	Random io.Reader // hardware addresses and salts are made of it
	// Version tells the version of the node's QEMU, empty where it has none.
	Version func(ctx context.Context) (string, error)
	// Plugger makes the pending changes of a running VM hold, as far as that is
	// possible. nil leaves all of them for the next start.
	Plugger Plugger
	// Start starts a VM.
	Start func(ctx context.Context, vmid id.VM) error
	// Seed writes what cloud-init is told by the given values of a VM into a volume.
	Seed func(ctx context.Context, vmid id.VM, values map[string]string, v id.Volume) error
}

// A Plugger makes changes hold in a running VM.
type Plugger interface {
	// Plug makes the pending changes of doc hold that are among keys; what holds
	// moves from doc.Pending to doc.Values. It returns what went wrong, by option: that
	// stays pending, as does what needs a restart.
	Plug(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) (schema.Faults, error)
	// Reload takes the disc out of the CD drive key, calls change, and puts it in again.
	Reload(ctx context.Context, vmid id.VM, doc *config.Doc, key string, change func(context.Context) error) error
}

// customCPU tells whether the cluster has a custom CPU model.
func (s *Service) customCPU(ctx context.Context, name string) (bool, error) {
	text, err := s.Cluster.ReadOptional(ctx, cluster.CPUModelFile)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if kind, model, ok := strings.Cut(line, ":"); ok && kind == "cpu-model" && strings.TrimSpace(model) == name {
			return true, nil
		}
	}
	return false, nil
}

// datacenter reads the settings of the cluster.
func (s *Service) datacenter(ctx context.Context) (*cluster.Datacenter, error) {
	return s.Cluster.Datacenter(ctx, func(fault string) { fmt.Fprintln(api.StreamsOf(ctx).Err, fault) })
}

// sorted returns the options of values.
func sorted(values schema.Params) []string { return slices.Sorted(maps.Keys(values)) }
