// Package hotplug changes containers that run, to what is configured.
//
// What LXC and the kernel do not change while a container runs stays pending. What they
// refuse stays pending too, and is told. Whatever a change that fails has done on the way is
// taken back.
package hotplug

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Service changes the containers of a node.
type Service struct {
	*ct.Host
	// Machine tells what containers run on.
	Machine func(context.Context) (lxcconf.Machine, error)
	// Net opens the network devices of the node.
	Net func() (*link.Host, error)
	// CPUs chooses the processors that a container is to run on; nil means all.
	CPUs func(context.Context, id.VM, *container.Config) ([]int, error)
	// Volumes are what mount points mount.
	Volumes Volumes
	// Setup tells the set-up of distributions what it has to know of the node.
	Setup func(context.Context) setup.Env
}

// Volumes are what mount points mount.
type Volumes interface {
	// MountPoint makes what a mount point names ready and says how it is mounted. snap is
	// the state to mount, empty for the present one.
	MountPoint(ctx context.Context, p container.Point, snap string) (mount.Point, error)
}

// errRestart says that a change has to wait for the next start.
var errRestart = errors.New("needs a restart")

// A machine is a running container that is being changed.
type machine struct {
	*Service
	vmid    id.VM
	doc     *config.Doc
	keys    []string // the options to change
	kernel  lxcconf.Machine
	init    int // the first process, as the host numbers it
	network *os.File
	limits  limits
	found   groups
	memory  *error // how the change of memory went, nil before it
}

// Plug makes the pending changes of doc that are among keys hold in a running container, as
// far as that is possible: they move from doc.Pending to doc.Values. It returns what was
// refused, by option. What needs nothing done holds already; of that, the number of cores is
// brought to the running container here.
func (s *Service) Plug(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) (schema.Faults, error) {
	deletes := guest.PendingDeletes(doc)
	pending := slices.DeleteFunc(slices.Sorted(slices.Values(keys)), func(key string) bool {
		_, changes := doc.Pending[key]
		_, goes := deletes[key]
		return !changes && !goes
	})
	cores := slices.Contains(keys, "cores") && !slices.Contains(pending, "cores")
	if len(pending) == 0 && !cores {
		return nil, nil
	}
	m, err := s.open(ctx, vmid, doc, pending)
	if err != nil {
		return nil, err
	}
	defer m.network.Close()
	if cores {
		if err := m.setCores(ctx); err != nil {
			api.Warnf(ctx, "cores of CT %d hold from its next start on: %v", vmid, err)
		}
	}
	return m.plug(ctx, deletes), nil
}

// plug makes the changes, one after the other.
func (m *machine) plug(ctx context.Context, deletes map[string]bool) schema.Faults {
	faults := schema.Faults{}
	note := func(key string, err error) bool {
		if err != nil && !errors.Is(err, errRestart) {
			faults[key] = fmt.Sprintf("unable to hotplug %s: %v", key, err)
		}
		return err == nil
	}
	for _, key := range m.keys {
		if _, goes := deletes[key]; goes && note(key, m.delete(ctx, key)) {
			guest.Revert(m.doc, key)
			delete(m.doc.Values, key)
		}
	}
	for _, key := range m.keys {
		if value, changes := m.doc.Pending[key]; changes && note(key, m.set(ctx, key, value)) {
			guest.Revert(m.doc, key)
			m.doc.Values[key] = value
		}
	}
	return faults
}

// open finds the container.
func (s *Service) open(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) (*machine, error) {
	if s.LXC == nil {
		return nil, errors.New("this program cannot talk to containers that run")
	}
	kernel, err := s.Machine(ctx)
	if err != nil {
		return nil, err
	}
	init, err := s.LXC.InitPID(ctx, vmid.String())
	if err == nil && init == 0 {
		err = fmt.Errorf("container %d not running", vmid)
	}
	if err != nil {
		return nil, err
	}
	// Numbers of processes are used again: as long as this one lives, the files in /proc
	// are its.
	process, err := unix.PidfdOpen(init, 0)
	if err != nil {
		return nil, fmt.Errorf("init of container %d: %w", vmid, err)
	}
	defer unix.Close(process)
	network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", init))
	if err != nil {
		return nil, err
	}
	found, err := groupsOf(init, vmid.String(), kernel.Kernel.Unified)
	if err == nil {
		err = unix.PidfdSendSignal(process, 0, nil, 0)
	}
	if err != nil {
		network.Close()
		return nil, fmt.Errorf("init of container %d: %w", vmid, err)
	}
	return &machine{
		Service: s, vmid: vmid, doc: doc, keys: keys, kernel: kernel, init: init, network: network, limits: found, found: found,
	}, nil
}

// delete ends an option of the running container.
func (m *machine) delete(ctx context.Context, key string) error {
	family, n, _ := schema.Member(key)
	switch {
	case key == "swap":
		return m.setMemory(ctx)
	case key == "cpulimit":
		return m.setLimit(ctx, 0)
	case key == "cpuunits":
		return m.setUnits(ctx, nil)
	case family == "net":
		return m.removeNet(ctx, n)
	}
	return errRestart
}

// set gives an option of the running container a value.
func (m *machine) set(ctx context.Context, key, value string) error {
	family, n, _ := schema.Member(key)
	conf := m.with(key, value)
	switch {
	case key == "memory" || key == "swap":
		return m.setMemory(ctx)
	case key == "cpulimit":
		return m.setLimit(ctx, *conf.CPULimit)
	case key == "cpuunits":
		return m.setUnits(ctx, conf.CPUUnits)
	case family == "net":
		return m.setNet(ctx, key, n, value)
	case family == "mp":
		return m.addPoint(ctx, key, value)
	case family == "dev":
		return m.addDevice(ctx, key, conf.Device[n])
	}
	return errRestart
}

// with returns the configuration as it is when an option has the given value.
func (m *machine) with(key, value string) *container.Config {
	values := maps.Clone(m.doc.Values)
	values[key] = value
	return container.Typed(values)
}

// undoing returns a list of steps to take back. What goes wrong in that is told.
func (m *machine) undoing(ctx context.Context) *revert.List {
	return revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
}

func (m *machine) name() string { return m.vmid.String() }

func is(option *bool) bool { return option != nil && *option }
