package power

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/sidecar"
)

// sidecars starts and stops the programs that serve QEMU.
func (s *Service) sidecars(groups []string) sidecar.Host {
	return sidecar.Host{Dir: s.Dir, Run: s.Run, CGroup: groups}
}

// programsBeside starts the TPM and the servers of shared folders.
func (s *Service) programsBeside(ctx context.Context, b *boot) error {
	h := s.sidecars(nil)
	if t := b.command.TPM; t != nil {
		state := t.State
		if t.Volume.Path != "" {
			state = t.Volume.Path
		}
		if err := h.StartTPM(ctx, b.vm, sidecar.TPM{State: state, Version: t.Version}); err != nil {
			return err
		}
	}
	if len(b.command.VirtioFS) == 0 {
		return nil
	}
	server, err := sidecar.FindServer(ctx, s.Run, nil)
	if err != nil {
		return err
	}
	for _, fs := range b.command.VirtioFS {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Ext(fs.Socket), ".virtiofs"))
		if err != nil {
			return fmt.Errorf("socket %s: %w", fs.Socket, err)
		}
		if err := h.StartFolder(ctx, b.vm, n, server, folder(fs)); err != nil {
			return err
		}
	}
	return nil
}

func folder(fs cmdline.VirtioFS) sidecar.Folder {
	is := func(p *bool) bool { return p != nil && *p }
	f := sidecar.Folder{Path: fs.Path, DirectIO: is(fs.Options.DirectIO), XAttr: is(fs.Options.ExposeXAttr), ACL: is(fs.Options.ExposeACL)}
	if fs.Options.Cache != nil {
		f.Cache = *fs.Options.Cache
	}
	return f
}

// takePCI takes devices from the host for the VM.
func (s *Service) takePCI(ctx context.Context, b *boot) error {
	devices := b.command.PCI
	if len(devices) == 0 {
		return nil
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("take PCI devices %s from the host", strings.Join(pciIDs(devices), ", "))
		return nil
	}
	b.record.PCI = devices
	if err := s.note(b.vm, b.record); err != nil {
		return err
	}
	if err := s.reservations().Reserve(ctx, b.vm, pciIDs(devices), reservationPatience); err != nil {
		return err
	}
	p := s.passthrough()
	for _, d := range devices {
		share := host.Share{MDev: d.MDev, NVIDIA: d.NVIDIA, UUID: d.UUID}
		if d.MDev != "" {
			if _, err := p.PrepareAny(ctx, d.IDs, share); err != nil {
				return fmt.Errorf("%s: %w", d.Option, err)
			}
			continue
		}
		if d.Keep && d.NVIDIA == "" {
			continue
		}
		for _, address := range d.IDs {
			if err := p.Prepare(ctx, address, share); err != nil {
				return fmt.Errorf("%s: %w", d.Option, err)
			}
		}
	}
	return nil
}

func (s *Service) passthrough() host.Passthrough { return host.Passthrough{Sys: sys, Run: s.Run} }

func pciIDs(devices []cmdline.PCIDevice) []string {
	var all []string
	for _, d := range devices {
		all = append(all, d.IDs...)
	}
	return all
}

// releasePCI gives back what takePCI has taken.
func (s *Service) releasePCI(ctx context.Context, vmid id.VM, devices []cmdline.PCIDevice) error {
	if len(devices) == 0 {
		return nil
	}
	p := s.passthrough()
	for _, d := range devices {
		if d.UUID != "" && d.MDev != "" {
			if err := p.RemoveMDev(ctx, d.UUID); err != nil {
				return err
			}
		}
		if d.NVIDIA == "" {
			continue
		}
		for _, address := range d.IDs {
			if err := p.ReleaseNVIDIA(ctx, address); err != nil {
				return err
			}
		}
	}
	return s.reservations().Release(ctx, vmid)
}
