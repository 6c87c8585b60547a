package power

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// Arch is the architecture of the node, as QEMU names it.
func Arch() string { return hostArch() }

// Gather tells what the devices of a VM depend on besides its configuration. An empty
// arch is that of the node.
func (s *Service) Gather(ctx context.Context, vmid id.VM, arch string) (*cmdline.Host, error) {
	return s.node(ctx, vmid, arch)
}

// AddTap makes the network device for a card that is plugged into a running VM. It is
// noted among what is removed when the VM ends.
func (s *Service) AddTap(vmid id.VM, t cmdline.Tap) error {
	r, err := s.readRecord(vmid)
	if err != nil {
		return err
	}
	if r == nil {
		r = &record{}
	}
	if !slices.Contains(r.Taps, t.Name) {
		r.Taps = append(r.Taps, t.Name)
		if err := s.note(vmid, r); err != nil {
			return err
		}
	}
	return s.withNet(func(net Net) error {
		if err := Plug(net, t); err != nil {
			return errors.Join(err, net.DeleteTap(t.Name))
		}
		return nil
	})
}

// RemoveTap is the inverse of AddTap.
func (s *Service) RemoveTap(vmid id.VM, name string) error {
	if err := s.deleteTaps([]string{name}); err != nil {
		return err
	}
	r, err := s.readRecord(vmid)
	if err != nil || r == nil {
		return err
	}
	r.Taps = slices.DeleteFunc(r.Taps, func(tap string) bool { return tap == name })
	return s.note(vmid, r)
}

// MoveTap joins the network device of a running VM anew, as its card is configured now.
func (s *Service) MoveTap(t cmdline.Tap) error {
	join, err := JoinOf(t)
	if err != nil {
		return err
	}
	return s.withNet(func(net Net) error {
		if _, err := net.Join(t.Name, join); err != nil {
			return err
		}
		return net.Limit(t.Name, rateOf(t.Net))
	})
}

// LimitTap sets how fast the network device of a running VM is.
func (s *Service) LimitTap(t cmdline.Tap) error {
	return s.withNet(func(net Net) error { return net.Limit(t.Name, rateOf(t.Net)) })
}

// rateOf is the limit of a card in bytes a second, 0 for none.
func rateOf(n qemu.Net) uint64 {
	if n.Rate == nil || *n.Rate <= 0 {
		return 0
	}
	return uint64(*n.Rate * (1 << 20))
}

func (s *Service) withNet(do func(Net) error) error {
	net, err := s.Net()
	if err != nil {
		return err
	}
	defer net.Close()
	return do(net)
}

// Limit sets what a running VM may use of the processors. Where it runs without a
// control group there is nothing to set.
func (s *Service) Limit(ctx context.Context, vmid id.VM, conf *qemu.Config) error {
	if s.Scopes != nil {
		return s.limitScope(ctx, vmid, conf)
	}
	r, err := s.readRecord(vmid)
	if err != nil {
		return err
	}
	if r == nil || r.Group == "" {
		return fmt.Errorf("VM %d runs without a control group: %w", vmid, cgroup.ErrNone)
	}
	tree, err := s.Groups()
	if err != nil {
		return err
	}
	limits := cgroup.Limits{Units: conf.CPUUnits}
	if conf.CPULimit != nil {
		limits.CPUs = *conf.CPULimit
	}
	return tree.At(r.Group, r.GroupDirs).Limit(ctx, limits)
}
