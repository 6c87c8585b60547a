// Package lxc has the methods below /nodes/{node}/lxc, and the commands of pct that
// have no path.
package lxc

import (
	"context"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/container/clone"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/destroy"
	"github.com/virtsmith/virtsmith/pkg/container/edit"
	"github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// A Service serves the containers of a node.
type Service struct {
	CTs       *ct.Host
	Edit      *edit.Service
	Clones    *clone.Service
	Destroyer *destroy.Service
	Power     *power.Service
	Volumes   *volumes.Service
	// Replace runs a program in the place of this process, and returns only where it cannot.
	Replace func(argv []string) error
	// Groups looks at the control groups of the machine.
	Groups func() (*cgroup.Tree, error)
	// StartCT starts a container, in this process.
	StartCT func(context.Context, id.VM) error
}

// Methods declares what s serves.
func (s *Service) Methods() []api.Method {
	return slices.Concat(
		s.cloneMethods(),
		s.configMethods(),
		s.consoleMethods(),
		s.createMethods(),
		s.destroyMethods(),
		s.featureMethods(),
		s.interfaceMethods(),
		s.listMethods(),
		s.mountMethods(),
		s.powerMethods(),
		s.snapshotListMethods(),
		s.snapshotMethods(),
		s.templateMethods(),
		s.transferMethods(),
		s.unlockMethods(),
		s.updateMethods(),
		s.volumeMethods(),
	)
}

// tool has the methods that have no path.
const tool = "pct"

// target names the container that a method is about.
type target struct {
	Node id.Node `pve:"node"`
	VMID id.VM   `pve:"vmid"`
}

// job is a task about the container.
func (t target) job(kind string) api.Job { return api.Job{Type: kind, ID: t.VMID.String()} }

// local names the container that a command without a path is about.
type local struct {
	VMID id.VM `pve:"vmid"`
}

// nothing is what a method returns that has no answer.
type nothing struct{}

// auditCT is the permission to look at a container.
func auditCT() api.Permissions { return onCT("VM.Audit") }

// onCT is the permission for something on a container.
func onCT(privileges ...string) api.Permissions {
	return api.Permissions{Check: api.Perm("/vms/{vmid}", privileges...)}
}

// is tells whether an option is given and set.
func is(option *bool) bool { return option != nil && *option }
