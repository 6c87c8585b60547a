// Package power starts and stops containers, lets them hold still, and runs programs in them.
//
// A running container has no process of ours. LXC's monitor watches it, in a mount namespace
// of its own, and calls us at three moments, as the configuration says that we make for it at
// each start: before anything runs, to mount the volumes and set up the distribution; when
// the network devices are there, to join them to their bridges; and when all is over, to take
// them down. What is mounted goes with the monitor's namespace however it ends. What else is
// left of a container whose monitor was killed is cleared away by the next command.
package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
)

// A Service does it for the containers of a node.
type Service struct {
	*ct.Host
	// Machine tells what containers run on.
	Machine func(context.Context) (lxcconf.Machine, error)
	// Net opens the network devices of the node.
	Net func() (Net, error)
	// Hook is the command line by which LXC calls us; the phase and the name of the
	// container are added to it. Env is what such a process needs to find our world.
	Hook []string
	Env  []string
	// Space is what [SpaceVariable] says, in a hook.
	Space string
	// Systemd tells that the node's containers are units of systemd.
	Systemd bool
	// Setup makes the files in the root of a container say what its configuration says.
	Setup func(context.Context, *rootfs.Root, *container.Config) error
	// ApplyPending makes the changes that wait for the next start hold.
	ApplyPending func(context.Context, id.VM, *config.Doc) error
	// Restart begins a task that starts a container that has asked to be rebooted; with skipLock
	// whatever it is locked for.
	Restart func(ctx context.Context, vmid id.VM, skipLock bool) error
	// Shutdowns ends the tasks that wait for the container to shut down.
	Shutdowns func(context.Context, id.VM) error
}

// Net are the network devices of a node, see [link.Host].
type Net interface {
	BridgeNamed(name string) (link.Device, error)
	Join(device string, j link.Join) (link.Joined, error)
	Leave(device string) error
	Delete(name string) error
	Limit(device string, rate uint64) error
	SetUp(name string, up bool) error
	Close()
}

// A NotRunningError says that something needs a container to run.
type NotRunningError struct{ CT id.VM }

func (e *NotRunningError) Error() string { return fmt.Sprintf("CT %d not running", e.CT) }

// CheckRunning returns a [*NotRunningError] where the container does not run.
func (s *Service) CheckRunning(ctx context.Context, vmid id.VM) error {
	running, err := s.Running(ctx, vmid)
	if err == nil && !running {
		err = &NotRunningError{vmid}
	}
	return err
}

// CheckStopped returns an error where the container runs.
func (s *Service) CheckStopped(ctx context.Context, vmid id.VM) error {
	running, err := s.Running(ctx, vmid)
	if err == nil && running {
		err = fmt.Errorf("CT %d already running", vmid)
	}
	return err
}

// mounted is the lock of a container whose volumes the user has mounted: it is none to
// commands that end that.
const mounted = "mounted"

// checkLock refuses to work on a container that another task works on.
func checkLock(doc *config.Doc, skip bool) error {
	if skip || doc.Values["lock"] == mounted {
		return nil
	}
	return guest.CheckLock(cluster.Container, doc)
}

// withNet calls fn with the network devices of the node.
func (s *Service) withNet(fn func(Net) error) error {
	net, err := s.Net()
	if err != nil {
		return err
	}
	defer net.Close()
	return fn(net)
}

// path is a file in the folder that LXC has for the container.
func (s *Service) path(vmid id.VM, name string) string { return filepath.Join(s.Dir(vmid), name) }

// LogFile is where LXC writes what goes wrong with a container.
func (s *Service) LogFile(vmid id.VM) string {
	return filepath.Join(s.Root, "var/log/lxc", vmid.String()+".log")
}

// remove removes files that may not be there.
func remove(paths ...string) error {
	var faults []error
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// bounded ends a context after a while, with a cause that says so.
func bounded(ctx context.Context, patience time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s took longer than %s", what, patience))
}
