package power

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/status"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// launch starts QEMU and waits until it answers.
func (s *Service) launch(ctx context.Context, b *boot) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("run: %s", run.Quote(b.command.Argv...))
		return nil
	}
	bounded, cancel := ctx, context.CancelFunc(func() {})
	if patience := s.startPatience(b); patience > 0 {
		bounded, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	m, err := s.Launcher.Launch(bounded, process.Spec{
		VM: b.vm, Argv: b.command.Argv, Dir: s.Dir, Log: filepath.Join(s.Root, "var/log/virtsmith/qemu", b.vm.String()+".log"),
		CGroup: b.record.GroupDirs, Generation: b.record.Generation,
	})
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("got timeout")
		}
		return fmt.Errorf("start failed: %w", err)
	}
	b.monitor = m
	b.undo.Add("disconnect from QEMU", func(context.Context) error { return m.Close() })
	return nil
}

// startPatience is how long QEMU may take to answer: it gets longer with the memory
// that must be prepared.
func (s *Service) startPatience(b *boot) time.Duration {
	if b.Timeout != nil {
		return *b.Timeout
	}
	const least = 30 * time.Second
	gib := status.Memory(b.doc.Values) / 1024
	patience := max(least, time.Duration(gib)*time.Second)
	if _, ok := b.doc.Values["hugepages"]; ok {
		patience = max(150*time.Second, patience)
	}
	if b.State != "" {
		patience = max(5*time.Minute, patience)
	}
	return patience
}

// settle does what can only be done to a QEMU that runs.
func (s *Service) settle(ctx context.Context, b *boot) error {
	conf := vm.Typed(b.doc.Values)
	if plan.From(ctx) != nil {
		return nil
	}
	for _, card := range b.command.LinkDown {
		if err := b.monitor.Call(ctx, "set_link", map[string]any{"name": card, "up": false}, nil); err != nil {
			return fmt.Errorf("VM %d %w", b.vm, err)
		}
	}
	if conf.Balloon == nil || *conf.Balloon != 0 {
		s.balloon(ctx, b, conf.Balloon)
	}
	if b.record != nil && len(b.command.PCI) > 0 {
		pid, err := s.Dir.Running(b.vm)
		if err != nil {
			return err
		}
		return s.reservations().Bind(ctx, b.vm, pciIDs(b.command.PCI), pid)
	}
	return nil
}

// balloon asks the guest for its memory to be what is configured, and for figures on
// its use. A guest without a driver does not hear of it.
func (s *Service) balloon(ctx context.Context, b *boot, mebibytes *int) {
	if mebibytes != nil && int64(*mebibytes) < status.Memory(b.doc.Values) {
		if err := b.monitor.Call(ctx, "balloon", map[string]any{"value": int64(*mebibytes) << 20}, nil); err != nil {
			api.Warnf(ctx, "VM %d %v", b.vm, err)
		}
	}
	arg := map[string]any{"path": "machine/peripheral/balloon0", "property": "guest-stats-polling-interval", "value": 2}
	if err := b.monitor.Call(ctx, "qom-set", arg, nil); err != nil {
		api.Warnf(ctx, "VM %d %v", b.vm, err)
	}
}

// How long a QEMU may take that is told to go: to heed SIGTERM, then to die.
const (
	termPatience = 10 * time.Second
	killPatience = 5 * time.Second
)

// end ends a QEMU, whatever state it is in, by SIGKILL. One that does not run is fine.
func (s *Service) end(ctx context.Context, vmid id.VM) error {
	pid, err := s.Dir.Running(vmid)
	if err != nil || pid == 0 {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end QEMU of VM %d, process %d: %w", vmid, pid, err)
	}
	return s.awaitEnd(ctx, vmid, killPatience)
}

// awaitEnd waits for QEMU to be gone. The error is context.DeadlineExceeded where it
// stays.
func (s *Service) awaitEnd(ctx context.Context, vmid id.VM, patience time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.Dir.AwaitEnd(bounded, vmid)
}

// checkStart refuses a template and a VM with a lock.
func checkStart(doc *config.Doc, skipLock bool) error {
	if isTemplate(doc) {
		return errors.New("you can't start a vm if it's a template")
	}
	if skipLock {
		return nil
	}
	return checkLock(doc)
}
