package power

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

// slice is the control group that those of all VMs are in.
const slice = "qemu.slice"

// group makes the control group of the VM and sets its limits. On a machine without
// control groups the VM runs without.
func (s *Service) group(ctx context.Context, b *boot) error {
	if s.Scopes != nil {
		return nil // it gets a scope when it runs
	}
	tree, err := s.Groups()
	if errors.Is(err, cgroup.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	b.record.Group = s.groupPath(b.vm)
	g := tree.Group(b.record.Group)
	b.record.GroupDirs = g.Dirs()
	if plan.From(ctx) == nil {
		if err := s.note(b.vm, b.record); err != nil {
			return err
		}
	}
	if err := g.Create(ctx); err != nil {
		return err
	}
	conf := vm.Typed(b.doc.Values)
	limits := cgroup.Limits{Units: conf.CPUUnits}
	if conf.CPULimit != nil {
		limits.CPUs = *conf.CPULimit
	}
	if limits.CPUs == 0 && limits.Units == nil {
		return nil
	}
	return g.Limit(ctx, limits)
}

// groupPath names the control group of a VM. Nodes that live side by side on a machine
// have a slice each.
func (s *Service) groupPath(vmid id.VM) string {
	if s.Root == "/" {
		return slice + "/" + vmid.String() + ".scope"
	}
	sum := sha256.Sum256([]byte(s.Root))
	return fmt.Sprintf("virtsmith-%x.slice/%s/%d.scope", sum[:4], slice, vmid)
}

// removeGroup removes the control group that a record notes. It is below that of the
// command which made it, which need not be ours.
func (s *Service) removeGroup(ctx context.Context, r *record) error {
	if r.Group == "" {
		return nil
	}
	tree, err := s.Groups()
	if errors.Is(err, cgroup.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	return tree.At(r.Group, r.GroupDirs).Remove(ctx)
}
