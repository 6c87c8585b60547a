package app

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline/probe"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/qemu/hotplug"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
)

// edit joins what makes and changes the configurations of VMs.
func (a *App) edit(d *disks.Service) *edit.Service {
	e := &edit.Service{
		Host: a.VMs, Disks: d, Random: rand.Reader, Seed: a.Power.WriteSeed,
		Version: func(ctx context.Context) (string, error) {
			capabilities, err := a.Power.QEMU(ctx, power.Arch())
			if errors.Is(err, probe.ErrMissing) {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			return capabilities.Version, nil
		},
		Start: func(ctx context.Context, vmid id.VM) error { return a.Power.Start(ctx, vmid, power.StartOptions{}) },
	}
	e.Plugger = &hotplug.Service{Power: a.Power, Volumes: e}
	a.Power.ApplyPending = e.Apply
	return e
}
