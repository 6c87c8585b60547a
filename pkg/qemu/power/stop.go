package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/guestagent"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// StopOptions say how a VM is stopped.
type StopOptions struct {
	SkipLock   bool
	Guest      bool           // ask the guest to power off, instead of pulling the plug
	Force      bool           // a guest that does not is stopped all the same
	Timeout    *time.Duration // for QEMU to be gone; nil for that of the configuration, or 60 s
	KeepActive bool           // leave the volumes ready for use
}

// defaultPatience is how long a VM may take to stop.
const defaultPatience = 60 * time.Second

// Stop stops a VM. One that does not run is fine.
func (s *Service) Stop(ctx context.Context, vmid id.VM, o StopOptions) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("stop of VM %d", vmid), func(ctx context.Context) error {
		return s.StopLocked(ctx, vmid, o)
	})
}

// StopLocked is [Service.Stop] for a caller that holds the lock of the VM.
func (s *Service) StopLocked(ctx context.Context, vmid id.VM, o StopOptions) error {
	pid, err := s.Dir.Running(vmid)
	if err != nil {
		return err
	}
	if pid == 0 {
		return s.healStopped(ctx, vmid)
	}
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	if !o.SkipLock {
		if err := checkLock(doc); err != nil {
			return err
		}
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("stop QEMU of VM %d, process %d", vmid, pid)
		return nil
	}
	if o.KeepActive {
		if err := s.keepActive(vmid); err != nil {
			return err
		}
	}
	if err := s.hook(ctx, vmid, doc.Values["hookscript"], hook.PreStop); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	if err := s.quit(ctx, vmid, pid, doc, o); err != nil {
		return err
	}
	return s.Clear(ctx, vmid, "")
}

// healStopped clears away what is left of a VM that does not run.
func (s *Service) healStopped(ctx context.Context, vmid id.VM) error {
	left, err := s.Dir.Leftovers(vmid)
	if err != nil || len(left) == 0 || plan.From(ctx) != nil {
		return err
	}
	return s.Clear(ctx, vmid, "")
}

// keepActive takes the volumes out of what is cleared up.
func (s *Service) keepActive(vmid id.VM) error {
	r, err := s.readRecord(vmid)
	if err != nil || r == nil {
		return err
	}
	r.Volumes = nil
	return s.note(vmid, r)
}

// quit asks QEMU or the guest to go, and sees that it does.
func (s *Service) quit(ctx context.Context, vmid id.VM, pid int, doc *config.Doc, o StopOptions) error {
	conf := vm.Typed(doc.Values)
	patience := defaultPatience
	switch {
	case o.Timeout != nil:
		patience = *o.Timeout
	case o.Guest:
		patience = downPatience(doc)
	}
	begun := time.Now()
	if err := s.ask(ctx, vmid, conf, o.Guest, patience); err != nil {
		running, err2 := s.Dir.Running(vmid)
		switch {
		case err2 != nil:
			return err2
		case running == 0:
			return nil
		case !o.Force:
			return fmt.Errorf("VM quit/powerdown failed: %w", err)
		}
		api.Warnf(ctx, "%v", err)
		fmt.Fprintln(api.StreamsOf(ctx).Err, "VM quit/powerdown failed - terminating now with SIGTERM")
		return s.terminate(ctx, vmid, pid)
	}
	err := s.awaitEnd(ctx, vmid, patience-time.Since(begun))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.Is(err, context.DeadlineExceeded):
		return err
	case !o.Force:
		return errors.New("VM quit/powerdown failed - got timeout")
	}
	fmt.Fprintln(api.StreamsOf(ctx).Err, "VM still running - terminating now with SIGTERM")
	return s.terminate(ctx, vmid, pid)
}

// downPatience is how long the startup option lets the guest take to power off.
func downPatience(doc *config.Doc) time.Duration {
	for part := range strings.SplitSeq(doc.Values["startup"], ",") {
		if text, ok := strings.CutPrefix(part, "down="); ok {
			if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 {
				return time.Duration(seconds) * time.Second
			}
		}
	}
	return defaultPatience
}

// ask asks the guest to power off, by its agent where it has one and else by the power
// button, or QEMU to quit.
func (s *Service) ask(ctx context.Context, vmid id.VM, conf *qemu.Config, byGuest bool, patience time.Duration) error {
	if byGuest {
		// One that has powered off while nobody looked after its QEMU hears no button.
		state, err := s.Status(ctx, vmid)
		if err != nil {
			return err
		}
		byGuest = state != "shutdown"
	}
	switch {
	case !byGuest:
		m, err := s.Dial(ctx, vmid, "quit")
		if err != nil {
			return err
		}
		defer m.Close()
		quit, cancel := context.WithTimeout(ctx, quitPatience)
		defer cancel()
		if err := m.Quit(quit); err != nil {
			return fmt.Errorf("VM %d %w", vmid, &qmp.CallError{Command: "quit", Err: qmp.ErrTimeout})
		}
		return nil
	case guestagent.Check(conf) == nil:
		err := s.askAgent(ctx, vmid, patience)
		if !errors.Is(err, qmp.ErrNoAgent) {
			return err
		}
		api.Warnf(ctx, "%v: pressing the power button instead", err)
	}
	return s.Call(ctx, vmid, "system_powerdown", nil, nil)
}

func (s *Service) askAgent(ctx context.Context, vmid id.VM, patience time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, min(max(patience, time.Second), agentPatience))
	defer cancel()
	a, err := qmp.DialAgent(bounded, s.Dir.Agent(vmid))
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Tell(bounded, "guest-shutdown", nil)
}

// How long QEMU may take to heed quit, and the agent to hear of a shutdown.
const (
	quitPatience  = 10 * time.Second
	agentPatience = 10 * time.Second
)

// terminate ends a QEMU by signals.
func (s *Service) terminate(ctx context.Context, vmid id.VM, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	err := s.awaitEnd(ctx, vmid, termPatience)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	fmt.Fprintln(api.StreamsOf(ctx).Err, "VM still running - terminating now with SIGKILL")
	return s.end(ctx, vmid)
}
