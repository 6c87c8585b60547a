package power

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// activate makes the volumes of a VM ready, and its storages.
func (s *Service) activate(ctx context.Context, b *boot) error {
	b.record.Volumes = b.command.Volumes
	if plan.From(ctx) == nil {
		if err := s.note(b.vm, b.record); err != nil {
			return err
		}
	}
	volumes, err := parseVolumes(b.command.Volumes)
	if err != nil {
		return err
	}
	return s.Storage.ActivateVolumes(ctx, "", volumes...)
}

func parseVolumes(texts []string) ([]id.Volume, error) {
	all := make([]id.Volume, 0, len(texts))
	for _, text := range texts {
		v, err := id.ParseVolume(text)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// deactivate is the inverse of activate.
func (s *Service) deactivate(ctx context.Context, texts []string) error {
	volumes, err := parseVolumes(texts)
	if err != nil || len(volumes) == 0 {
		return err
	}
	if err := s.Storage.DeactivateVolumes(ctx, "", volumes...); err != nil {
		api.Warnf(ctx, "%v", err) // upstream's stop does not fail of it either
	}
	return nil
}

// efiVars makes firmware variables that last as long as the VM runs.
func (s *Service) efiVars(ctx context.Context, b *boot) error {
	v := b.command.EFIVars
	if v == nil {
		return nil
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("copy %s to %s", v.From, v.Path)
		return nil
	}
	text, err := os.ReadFile(v.From)
	if err != nil {
		return fmt.Errorf("firmware variables: %w", err)
	}
	return os.WriteFile(v.Path, text, 0o600)
}

// taps makes the network devices of the VM and joins them to their bridges.
func (s *Service) taps(ctx context.Context, b *boot) error {
	all := b.command.Taps
	if len(all) == 0 {
		return nil
	}
	if p := plan.From(ctx); p != nil {
		for _, t := range all {
			p.Stepf("create network device %s and join it to bridge %s", t.Name, *t.Net.Bridge)
		}
		return nil
	}
	for _, t := range all {
		b.record.Taps = append(b.record.Taps, t.Name)
	}
	if err := s.note(b.vm, b.record); err != nil {
		return err
	}
	net, err := s.Net()
	if err != nil {
		return err
	}
	defer net.Close()
	for _, t := range all {
		if err := Plug(net, t); err != nil {
			return fmt.Errorf("%s: %w", t.Option, err)
		}
	}
	return nil
}

// Plug makes the network device of a VM's network card and joins it to its bridge.
// One that is there already, of a VM that has died, is replaced.
func Plug(net Net, t cmdline.Tap) error {
	if err := net.DeleteTap(t.Name); err != nil {
		return err
	}
	if err := net.CreateTap(link.Tap{Name: t.Name, MultiQueue: t.Queues > 1}); err != nil {
		return err
	}
	join, err := JoinOf(t)
	if err != nil {
		return err
	}
	if _, err := net.Join(t.Name, join); err != nil {
		return err
	}
	if t.Net.Rate != nil && *t.Net.Rate > 0 {
		return net.Limit(t.Name, uint64(*t.Net.Rate*(1<<20)))
	}
	return nil
}

// JoinOf says where the device of a network card belongs. It has the MTU of the bridge,
// also where the guest is told a smaller one: a bridge takes on the smallest MTU of its
// ports, and with it the cards of all others.
func JoinOf(t cmdline.Tap) (link.Join, error) {
	j := link.Join{Bridge: *t.Net.Bridge, Firewall: t.Net.Firewall != nil && *t.Net.Firewall}
	if t.Net.Tag != nil {
		j.Tag = *t.Net.Tag
	}
	if t.Net.Trunks == nil {
		return j, nil
	}
	var err error
	j.Trunks, err = link.ParseTrunks(*t.Net.Trunks)
	return j, err
}

// program makes sure that what the command line calls is there.
func (s *Service) program(c *cmdline.Command) error {
	if _, err := exec.LookPath(c.Argv[0]); err != nil {
		return fmt.Errorf("%s is not installed: %w", c.Argv[0], err)
	}
	return nil
}

// bridges makes sure that what the network cards are joined to is there.
func (s *Service) bridges(c *cmdline.Command) error {
	for _, t := range c.Taps {
		if _, err := s.bridgeMTU(*t.Net.Bridge); err != nil {
			return fmt.Errorf("netdev %s: %w", t.Option, err)
		}
	}
	return nil
}

// sharedMemory makes the file of memory that several guests see.
func (s *Service) sharedMemory(ctx context.Context, b *boot) error {
	m := b.command.Shared
	if m == nil {
		return nil
	}
	want := int64(m.Size) << 20
	if p := plan.From(ctx); p != nil {
		p.Stepf("make %s of %d MiB", m.Path, m.Size)
		return nil
	}
	f, err := os.OpenFile(m.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() == 0:
		return f.Truncate(want)
	case info.Size() != want:
		return fmt.Errorf("%s has %d bytes already, %d are configured: all guests that share it must agree", m.Path, info.Size(), want)
	}
	return nil
}
