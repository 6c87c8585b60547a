package power

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// compose makes the command line for a VM with the given values. fill, which may be
// nil, changes what is composed.
func (s *Service) compose(ctx context.Context, vmid id.VM, values schema.Params, fill func(*cmdline.VM)) (*cmdline.Command, error) {
	conf := vm.Typed(values)
	arch := ""
	if conf.Arch != nil {
		arch = *conf.Arch
	}
	node, err := s.node(ctx, vmid, arch)
	if err != nil {
		return nil, err
	}
	machine := cmdline.VM{ID: vmid, Config: *conf}
	if fill != nil {
		fill(&machine)
	}
	return cmdline.Compose(machine, *node)
}

// Show returns the command line that a VM would be started with, or that of a
// snapshot where one is named.
func (s *Service) Show(ctx context.Context, vmid id.VM, snapshot string) (*cmdline.Command, error) {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return nil, err
	}
	if snapshot == "" {
		return s.compose(ctx, vmid, guest.Merged(doc), nil)
	}
	values, err := guest.Snapshot(doc, snapshot)
	if err != nil {
		return nil, err
	}
	return s.compose(ctx, vmid, values, func(m *cmdline.VM) {
		m.Machine, m.CPU = values["runningmachine"], values["runningcpu"]
	})
}
