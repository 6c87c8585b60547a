package power

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/systemd"
)

// Scopes are the units of a systemd around processes it has not started, see
// [systemd.Bus].
type Scopes interface {
	Gone(ctx context.Context, name string) error
	StartScope(context.Context, systemd.Scope) error
	Limit(ctx context.Context, name string, l systemd.Limits) error
	Close()
}

// scopeName is the name of a VM's scope.
func scopeName(vmid id.VM) string { return vmid.String() + ".scope" }

// scope puts QEMU into a scope where systemd owns the control groups.
func (s *Service) scope(ctx context.Context, b *boot) error {
	if s.Scopes == nil {
		return nil
	}
	conf := vm.Typed(b.doc.Values)
	if p := plan.From(ctx); p != nil {
		p.Stepf("put QEMU into %s of systemd", scopeName(b.vm))
		return nil
	}
	pid, err := s.Dir.Running(b.vm)
	if err != nil {
		return err
	}
	bus, err := s.Scopes(ctx)
	if err != nil {
		return err
	}
	defer bus.Close()
	if err := bus.Gone(ctx, scopeName(b.vm)); err != nil {
		return err
	}
	return bus.StartScope(ctx, systemd.Scope{
		Name: scopeName(b.vm), Slice: slice, Description: fmt.Sprintf("VM %d", b.vm), PID: pid, Limits: s.scopeLimits(conf),
	})
}

func (s *Service) scopeLimits(conf *qemu.Config) systemd.Limits {
	tree, err := s.Groups()
	l := systemd.Limits{Unified: err == nil && tree.Unified()}
	l.Units = cgroup.Units(conf.CPUUnits, l.Unified)
	if conf.CPULimit != nil {
		l.CPUs = *conf.CPULimit
	}
	return l
}

// limitScope is [Service.Limit] for a VM in a scope.
func (s *Service) limitScope(ctx context.Context, vmid id.VM, conf *qemu.Config) error {
	bus, err := s.Scopes(ctx)
	if err != nil {
		return err
	}
	defer bus.Close()
	return bus.Limit(ctx, scopeName(vmid), s.scopeLimits(conf))
}
