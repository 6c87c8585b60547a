package power

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qmp"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// StartOptions say how a VM is started. The zero value starts it as it is
// configured.
type StartOptions struct {
	SkipLock bool
	Machine  string         // instead of the configured machine type
	CPU      string         // instead of the configured -cpu
	HostMTU  map[string]int // MTU told to network cards, by option
	Timeout  *time.Duration // for QEMU to answer; 0 for as long as it takes
	State    string         // volume with the saved state to go on from
	Paused   bool           // do not let the guest run
}

// A boot is a start under way.
type boot struct {
	StartOptions
	vm      id.VM
	doc     *config.Doc
	command *cmdline.Command
	record  *record
	undo    *revert.List
	monitor *qmp.Monitor
	pages   []cmdline.HugePages // reserved for the VM
	resumes bool                // the VM was suspended to disk
}

// A step is a part of a start. Its errors go by its name; those of nameless ones speak
// for themselves.
type step struct {
	name string
	do   func(context.Context, *boot) error
}

// steps are what a start consists of, in their order.
func (s *Service) steps() []step {
	return []step{
		{"", s.check},
		{"", s.heal},
		{"", s.applyPending},
		{"", s.composeBoot},
		{"", s.begin},
		{"", s.preStart},
		{"", s.cloudInit},
		{"", s.activate},
		{"firmware variables", s.efiVars},
		{"shared memory", s.sharedMemory},
		{"huge pages", s.hugePages},
		{"PCI devices", s.takePCI},
		{"", s.programsBeside},
		{"network", s.taps},
		{"control group", s.group},
		{"", s.launch},
		{"control group", s.scope},
		{"huge pages", s.letGoPages},
		{"load state", s.load},
		{"", s.settle},
		{"", s.goOn},
		{"", s.finish},
	}
}

// Start starts a VM. When it fails, or ctx ends, nothing of the start is left.
func (s *Service) Start(ctx context.Context, vmid id.VM, o StartOptions) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("start of VM %d", vmid), func(ctx context.Context) error {
		return s.StartLocked(ctx, vmid, o)
	})
}

// StartLocked is [Service.Start] for a caller that holds the lock of the VM.
func (s *Service) StartLocked(ctx context.Context, vmid id.VM, o StartOptions) error {
	b := newBoot(ctx, vmid, o)
	defer b.undo.Fail()
	for _, step := range s.steps() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := step.do(ctx, b); err != nil {
			if step.name != "" {
				err = fmt.Errorf("%s: %w", step.name, err)
			}
			return err
		}
	}
	b.undo.Success()
	if b.monitor != nil {
		return b.monitor.Close()
	}
	return nil
}

func newBoot(ctx context.Context, vmid id.VM, o StartOptions) *boot {
	return &boot{
		StartOptions: o, vm: vmid,
		undo: revert.New(ctx, func(err error) { api.Warnf(ctx, "undo: %v", err) }),
	}
}

// check tells whether the VM may be started at all.
func (s *Service) check(ctx context.Context, b *boot) (err error) {
	if b.doc, err = s.Load(ctx, b.vm); err != nil {
		return err
	}
	lock := b.doc.Values["lock"]
	b.resumes = b.State == "" && lock == "suspended"
	return checkStart(b.doc, b.SkipLock || b.resumes)
}

// ErrDead is the error of a VM that is found in a state nobody looks after any more.
var ErrDead = errors.New("left over")

// heal clears away what an earlier start has left: the command that made it has died,
// or the supervisor that was to clear up has.
func (s *Service) heal(ctx context.Context, b *boot) error {
	running, err := s.Running(b.vm)
	if err != nil {
		return err
	}
	if running {
		why := s.abandoned(ctx, b.vm)
		if why == "" {
			return fmt.Errorf("VM %d already running", b.vm)
		}
		api.Warnf(ctx, "VM %d: QEMU is still there, but %s: ending it", b.vm, why)
		if plan.From(ctx) != nil {
			return nil
		}
		if err := s.end(ctx, b.vm); err != nil {
			return err
		}
	}
	if plan.From(ctx) != nil {
		return nil
	}
	return s.Clear(ctx, b.vm, "")
}

// abandoned says why nobody looks after a running QEMU any more, empty where somebody
// does. The caller has the lock of the VM: no other command is starting it.
func (s *Service) abandoned(ctx context.Context, vmid id.VM) string {
	if r, err := s.readRecord(vmid); err == nil && r != nil && r.Starting {
		return "the command that started it has died"
	}
	if state, err := s.Status(ctx, vmid); err == nil && state == "shutdown" {
		return "its guest has powered off"
	}
	return ""
}

// composeBoot makes the command line, and tells of it what the user should know.
func (s *Service) composeBoot(ctx context.Context, b *boot) error {
	if b.resumes {
		api.Printf(ctx, "Resuming suspended VM\n")
		b.State = b.doc.Values["vmstate"]
		b.Machine, b.CPU = b.doc.Values["runningmachine"], b.doc.Values["runningcpu"]
		b.HostMTU = ParseHostMTU(b.doc.Values["running-nets-host-mtu"])
		if b.State == "" {
			return fmt.Errorf("VM %d is suspended, but its state is not noted: 'qm unlock %d' gives it up", b.vm, b.vm)
		}
	}
	c, err := s.compose(ctx, b.vm, b.doc.Values, func(m *cmdline.VM) {
		m.Machine, m.CPU, m.HostMTU, m.Paused = b.Machine, b.CPU, b.HostMTU, b.Paused
		switch {
		case b.State != "":
			m.Incoming = "defer"
		case b.Machine != "": // it is to be all of that machine
			m.Config.Machine = withType(m.Config.Machine, b.Machine)
		}
	})
	if err != nil {
		return err
	}
	for _, note := range c.Notes {
		api.Printf(ctx, "%s\n", note)
	}
	for _, warning := range c.Warnings {
		api.Warnf(ctx, "%s", warning)
	}
	b.command = c
	if err := s.program(c); err != nil {
		return err
	}
	return s.bridges(c)
}

// withType returns the settings of a machine with another type.
func withType(m *qemu.Machine, kind string) *qemu.Machine {
	changed := qemu.Machine{}
	if m != nil {
		changed = *m
	}
	changed.Type = &kind
	return &changed
}

// begin opens the record. From here on, what is made is removed when the start fails.
func (s *Service) begin(ctx context.Context, b *boot) error {
	b.record = &record{Generation: s.UUID(), Starting: true, Machine: b.command.Machine}
	if plan.From(ctx) != nil {
		return nil
	}
	if err := s.Dir.CheckPaths(b.vm); err != nil {
		return err
	}
	if err := s.note(b.vm, b.record); err != nil {
		return err
	}
	b.undo.Add("clear up", func(ctx context.Context) error {
		return errors.Join(s.end(ctx, b.vm), s.Clear(ctx, b.vm, b.record.Generation))
	})
	return nil
}

// finish notes that the VM is on its own from here on.
func (s *Service) finish(ctx context.Context, b *boot) error {
	if plan.From(ctx) != nil {
		return nil
	}
	b.record.Starting, b.record.Hook = false, b.doc.Values["hookscript"]
	if err := s.note(b.vm, b.record); err != nil {
		return err
	}
	if err := s.hook(ctx, b.vm, b.record.Hook, hook.PostStart); err != nil {
		api.Warnf(ctx, "%v", err) // too late to fail
	}
	return nil
}
