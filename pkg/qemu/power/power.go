// Package power turns VMs on and off, and does what else is done to a VM that runs:
// pausing it, typing on its keyboard, talking to its monitor and to the agent in its
// guest.
//
// Starting is a list of steps. What a step makes on the node (network devices,
// control groups, programs beside QEMU) is noted in a record before it is made, so
// that whoever comes later can remove it: the step's own command when it fails, the
// supervisor when QEMU ends, the next command when those two have died themselves.
package power

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// A Service does it for the VMs of a node.
type Service struct {
	*vm.Host
	// Net opens the network devices of the node.
	Net func() (Net, error)
	// Groups opens the control groups of the node; cgroup.ErrNone means that there are
	// none to use.
	Groups func() (*cgroup.Tree, error)
	// Scopes connects to the systemd that owns the control groups of the node; nil where
	// none does.
	Scopes func(context.Context) (Scopes, error)
	// QEMU tells what the installed QEMU for an architecture can do.
	QEMU func(ctx context.Context, arch string) (*cmdline.Capabilities, error)
	// Ticket returns the password that the caller of a VNC proxy has handed over.
	Ticket func() string
	// Shutdowns ends the tasks that wait for the VM to shut down.
	Shutdowns func(context.Context, id.VM) error
	// ApplyPending makes the changes that wait for the next start hold.
	ApplyPending func(context.Context, id.VM, *config.Doc) error
}

// Net are the network devices of a node, see [link.Host].
type Net interface {
	BridgeNamed(name string) (link.Device, error)
	CreateTap(link.Tap) error
	DeleteTap(name string) error
	Join(device string, j link.Join) (link.Joined, error)
	Limit(device string, rate uint64) error
	Close()
}

// A NotRunningError says that something needs a VM to run. It is
// [process.ErrNotRunning].
type NotRunningError struct{ VM id.VM }

func (e *NotRunningError) Error() string { return fmt.Sprintf("VM %d not running", e.VM) }

// Is makes the error one of a QEMU that does not run.
func (e *NotRunningError) Is(target error) bool { return target == process.ErrNotRunning }

// CheckRunning returns a [*NotRunningError] where the VM does not run.
func (s *Service) CheckRunning(vmid id.VM) error {
	running, err := s.Running(vmid)
	if err == nil && !running {
		err = &NotRunningError{vmid}
	}
	return err
}

// dialPatience is how long QEMU may take to greet, another command that talks to it
// included.
const dialPatience = 5 * time.Second

// Dial connects to the monitor of a running VM in bounded time. command is what it
// is for: it is named by the error where QEMU does not answer.
func (s *Service) Dial(ctx context.Context, vmid id.VM, command string) (*qmp.Monitor, error) {
	if err := s.CheckRunning(vmid); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	m, err := s.Dir.Dial(bounded, vmid)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, process.ErrNotRunning):
		return nil, &NotRunningError{vmid}
	case ctx.Err() == nil && bounded.Err() != nil:
		return nil, fmt.Errorf("VM %d %w", vmid, &qmp.CallError{Command: command, Err: qmp.ErrTimeout})
	}
	return nil, err
}

// Call runs a command of the monitor of a running VM.
func (s *Service) Call(ctx context.Context, vmid id.VM, command string, args, result any) error {
	m, err := s.Dial(ctx, vmid, command)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Call(ctx, command, args, result); err != nil {
		return fmt.Errorf("VM %d %w", vmid, err)
	}
	return nil
}

// Status asks for the run state of a running VM.
func (s *Service) Status(ctx context.Context, vmid id.VM) (string, error) {
	var st qmp.Status
	err := s.Call(ctx, vmid, "query-status", nil, &st)
	return st.Status, err
}
