package power

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// whileLocked does something to a running VM while no other command does. The VM must
// not carry a lock in its configuration, unless skipLock says that this is no matter.
func (s *Service) whileLocked(ctx context.Context, vmid id.VM, what string, skipLock bool, fn func(context.Context) error) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("%s of VM %d", what, vmid), func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		if !skipLock {
			if err := checkLock(doc); err != nil {
				return err
			}
		}
		if p := plan.From(ctx); p != nil {
			p.Stepf("%s VM %d", what, vmid)
			return s.CheckRunning(vmid)
		}
		return fn(ctx)
	})
}

// Reset resets a VM as its reset button does.
func (s *Service) Reset(ctx context.Context, vmid id.VM, skipLock bool) error {
	return s.whileLocked(ctx, vmid, "reset", skipLock, func(ctx context.Context) error {
		return s.Call(ctx, vmid, "system_reset", nil, nil)
	})
}

// Pause makes the guest of a VM hold still; its memory stays.
func (s *Service) Pause(ctx context.Context, vmid id.VM, skipLock bool) error {
	return s.whileLocked(ctx, vmid, "suspend", skipLock, func(ctx context.Context) error {
		return s.Call(ctx, vmid, "stop", nil, nil)
	})
}

// Suspended tells whether a VM is suspended to disk.
func (s *Service) Suspended(ctx context.Context, vmid id.VM) (bool, error) {
	doc, err := s.Load(ctx, vmid)
	return err == nil && doc.Values["lock"] == "suspended", err
}

// Resume lets the guest of a VM go on, whatever made it stop: a pause, its own sleep,
// or that it has powered off and QEMU stays.
func (s *Service) Resume(ctx context.Context, vmid id.VM, skipLock bool) error {
	return s.whileLocked(ctx, vmid, "resume", skipLock || s.backedUp(ctx, vmid), func(ctx context.Context) error {
		state, err := s.Status(ctx, vmid)
		if err != nil {
			return err
		}
		command := "cont"
		switch state {
		case "running":
			return nil
		case "suspended":
			command = "system_wakeup"
		case "shutdown":
			if err := s.Call(ctx, vmid, "system_reset", nil, nil); err != nil {
				return err
			}
		}
		return s.Call(ctx, vmid, command, nil, nil)
	})
}

// backedUp tells whether a VM is locked by a backup, which does not mind it to go on.
func (s *Service) backedUp(ctx context.Context, vmid id.VM) bool {
	doc, err := s.Load(ctx, vmid)
	return err == nil && doc.Values["lock"] == "backup"
}

// SendKey presses keys at once, such as ctrl-alt-delete, as QEMU names them.
func (s *Service) SendKey(ctx context.Context, vmid id.VM, keys string) error {
	if err := s.CheckRunning(vmid); err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("press %s on VM %d", keys, vmid)
		return nil
	}
	if strings.ContainsAny(keys, " \t\r\n") {
		return fmt.Errorf("'%s' is not a combination of keys", keys) // it would be more words to the monitor
	}
	said, err := s.HMP(ctx, vmid, "sendkey "+keys)
	if err == nil && said != "" {
		err = errors.New(strings.TrimRight(said, "\r\n"))
	}
	return err
}

// HMP runs a line of the monitor for humans and returns what it printed.
func (s *Service) HMP(ctx context.Context, vmid id.VM, line string) (string, error) {
	m, err := s.Dial(ctx, vmid, "human-monitor-command")
	if err != nil {
		return "", err
	}
	defer m.Close()
	said, err := m.HMP(ctx, line)
	if err != nil {
		return "", fmt.Errorf("VM %d %w", vmid, err)
	}
	return strings.ReplaceAll(said, "\r\n", "\n"), nil
}

// Wait waits until a VM has stopped, for ever where patience is 0.
func (s *Service) Wait(ctx context.Context, vmid id.VM, patience time.Duration) error {
	pid, err := s.Dir.Running(vmid)
	if err != nil || pid == 0 {
		return err
	}
	api.Printf(ctx, "waiting until VM %d stopps (PID %d)\n", vmid, pid) // sic
	if patience == 0 {
		return s.Dir.AwaitEnd(ctx, vmid)
	}
	err = s.awaitEnd(ctx, vmid, patience)
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return errors.New("wait failed - got timeout")
	}
	return err
}

// cleanupPatience is how long a QEMU that is ending has to be gone.
const cleanupPatience = 5 * time.Second

// Cleanup clears up after a VM that has stopped, as its supervisor does unless it has
// died. A VM that is not there any more has nothing to be cleared.
func (s *Service) Cleanup(ctx context.Context, vmid id.VM) error {
	err := s.Locked(ctx, vmid, fmt.Sprintf("cleanup of VM %d", vmid), func(ctx context.Context) error {
		if _, err := s.Load(ctx, vmid); err != nil {
			return err
		}
		err := s.awaitEnd(ctx, vmid, cleanupPatience)
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.New("vm still running")
		}
		if err != nil || plan.From(ctx) != nil {
			return err
		}
		return s.Clear(ctx, vmid, "")
	})
	if errors.Is(err, cluster.ErrNoGuest) {
		return nil
	}
	return err
}

// Reboot lets the guest power off and starts the VM anew, with the changes that have
// waited for it. A guest that does not power off in time runs on.
func (s *Service) Reboot(ctx context.Context, vmid id.VM, timeout *time.Duration) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("reboot of VM %d", vmid), func(ctx context.Context) error {
		if err := s.CheckRunning(vmid); err != nil {
			return err
		}
		if err := s.StopLocked(ctx, vmid, StopOptions{Guest: true, Timeout: timeout, KeepActive: true}); err != nil {
			return err
		}
		if p := plan.From(ctx); p != nil {
			p.Stepf("start VM %d", vmid)
			return nil
		}
		return s.StartLocked(ctx, vmid, StartOptions{})
	})
}
