package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Passthrough takes devices from the host for guests.
type Passthrough struct {
	Sys Sys
	Run run.Runner
	// Write writes to a file of the kernel; nil does it.
	Write func(path, text string) error
}

// A Share is the part of a device that a guest gets.
type Share struct {
	MDev   string // kind of the mediated device; empty for the whole device
	NVIDIA string // number of the kind, made with NVIDIA's own files
	UUID   string // of the mediated device to make
}

// MDevUUID names the mediated device of the hostpci option with the given index.
func MDevUUID(vm id.VM, index int) string {
	return fmt.Sprintf("%08d-0000-0000-0000-%012d", index, vm)
}

// Prepare makes a device, or a share of it, ready to be given to a guest: the device
// and all others of its IOMMU group leave their drivers for vfio.
func (p Passthrough) Prepare(ctx context.Context, address string, share Share) error {
	if !p.Sys.HasIOMMU() {
		return errors.New("cannot prepare PCI pass-through, IOMMU not present")
	}
	d, ok := p.Sys.PCIDevice(address)
	if !ok {
		return fmt.Errorf("no pci device info for device '%s'", address)
	}
	switch {
	case share.NVIDIA != "":
		return p.setNVIDIA(ctx, d, share.NVIDIA)
	case share.MDev != "":
		return p.createMDev(ctx, d, share)
	}
	if err := p.bindGroup(ctx, d); err != nil {
		return err
	}
	if d.Reset && plan.From(ctx) == nil {
		if err := p.write(filepath.Join(p.Sys.pciDir(d.Address), "reset"), "1"); err != nil {
			api.Warnf(ctx, "failed to reset PCI device '%s', but trying to continue as not all devices need a reset", address)
		}
	}
	return nil
}

// PrepareAny makes a mediated device on the first of several devices that can, and
// returns that one's address.
func (p Passthrough) PrepareAny(ctx context.Context, addresses []string, share Share) (string, error) {
	faults := []error{errors.New("could not create mediated device")}
	for _, address := range addresses {
		err := p.Prepare(ctx, address, share)
		if err == nil {
			return address, nil
		}
		faults = append(faults, err)
	}
	return "", errors.Join(faults...)
}

const vfioDriver = "vfio-pci"

// bindGroup binds a device and those it cannot be kept apart from to vfio.
func (p Passthrough) bindGroup(ctx context.Context, d PCIDevice) error {
	members, err := os.ReadDir(filepath.Join(p.Sys.pciDir(d.Address), "iommu_group/devices"))
	if err != nil {
		return fmt.Errorf("cannot open iommu_group: %w", err)
	}
	if err := p.loadVFIO(ctx); err != nil {
		return err
	}
	for _, m := range members {
		member := p.Sys.readPCI(m.Name())
		if member.Bridge || member.Driver == vfioDriver {
			continue // bridges stay with the host
		}
		if pl := plan.From(ctx); pl != nil {
			pl.Stepf("bind PCI device %s to %s", member.Address, vfioDriver)
			continue
		}
		if err := p.bind(member); err != nil {
			return fmt.Errorf("cannot bind %s to vfio: %w", member.Address, err)
		}
	}
	return nil
}

// loadVFIO loads the driver where it is missing.
func (p Passthrough) loadVFIO(ctx context.Context) error {
	driver := filepath.Join(string(p.Sys), "bus/pci/drivers", vfioDriver)
	if exists(driver) {
		return nil
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("modprobe %s", vfioDriver)
		return nil
	}
	err := p.Run.Run(ctx, run.Command("modprobe", vfioDriver))
	if exists(driver) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot find vfio-pci module: %w", err)
	}
	return errors.New("cannot find vfio-pci module")
}

// bind hands one function over. The driver is fixed for this function alone, so that
// others with the same ids stay where they are.
func (p Passthrough) bind(d PCIDevice) error {
	dir := p.Sys.pciDir(d.Address)
	if err := p.write(filepath.Join(dir, "driver_override"), vfioDriver); err != nil {
		return err
	}
	if d.Driver != "" {
		if err := p.write(filepath.Join(dir, "driver/unbind"), d.Address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := p.write(filepath.Join(string(p.Sys), "bus/pci/drivers_probe"), d.Address); err != nil {
		return err
	}
	if driver := linked(dir, "driver"); driver != vfioDriver {
		return fmt.Errorf("its driver is %q then", driver)
	}
	return nil
}

// createMDev makes a mediated device, or takes the one that an earlier start has left.
func (p Passthrough) createMDev(ctx context.Context, d PCIDevice, share Share) error {
	dir := p.Sys.pciDir(d.Address)
	kind := filepath.Join(dir, "mdev_supported_types", share.MDev)
	switch {
	case !exists(dir, "mdev_supported_types"):
		return fmt.Errorf("pci device '%s' does not support mediated devices", d.Address)
	case !exists(kind):
		return fmt.Errorf("pci device '%s' has no type '%s'", d.Address, share.MDev)
	case exists(dir, share.UUID):
		if linked(filepath.Join(dir, share.UUID), "mdev_type") != share.MDev {
			return fmt.Errorf("mdev instance '%s' already exits, but type is not '%s'", share.UUID, share.MDev)
		}
		api.Warnf(ctx, "mdev instance '%s' already existed, using it.", share.UUID)
		return nil
	case integer(kind, "available_instances") < 1:
		return fmt.Errorf("pci device '%s' has no available instances of '%s'", d.Address, share.MDev)
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("make mediated device %s of %s", share.UUID, d.Address)
		return nil
	}
	if err := p.write(filepath.Join(kind, "create"), share.UUID); err != nil {
		return fmt.Errorf("could not create '%s' for pci devices '%s': %w", share.MDev, d.Address, err)
	}
	return nil
}

// RemoveMDev removes a mediated device. One that is not there is fine.
func (p Passthrough) RemoveMDev(ctx context.Context, uuid string) error {
	path := filepath.Join(string(p.Sys), "bus/mdev/devices", uuid, "remove")
	if !exists(path) {
		return nil
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("remove mediated device %s", uuid)
		return nil
	}
	if err := p.write(path, "1"); err != nil {
		return fmt.Errorf("remove mediated device %s: %w", uuid, err)
	}
	return nil
}

// setNVIDIA makes a function of an NVIDIA card a virtual one of the given kind.
func (p Passthrough) setNVIDIA(ctx context.Context, d PCIDevice, model string) error {
	dir := p.Sys.pciDir(d.Address)
	current := filepath.Join(dir, "nvidia/current_vgpu_type")
	if !exists(current) {
		return fmt.Errorf("no nvidia sysfs api for '%s'", d.Address)
	}
	had := line(dir, "nvidia/current_vgpu_type")
	if had == model {
		return nil
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("set vgpu type of %s to %s", d.Address, model)
		return nil
	}
	if had != "0" { // only without one are all kinds on offer
		if err := p.write(current, "0"); err != nil {
			return fmt.Errorf("unable to reset vgpu type for '%s': %w", d.Address, err)
		}
	}
	if !slices.ContainsFunc(nvidiaTypes(dir), func(t MDevType) bool { return t.Type == "nvidia-"+model }) {
		return fmt.Errorf("vgpu type '%s' not available for '%s'", model, d.Address)
	}
	if err := p.write(current, model); err != nil {
		return fmt.Errorf("could not set vgpu type to '%s' for '%s': %w", model, d.Address, err)
	}
	return nil
}

// ReleaseNVIDIA takes the kind back that Prepare has set.
func (p Passthrough) ReleaseNVIDIA(ctx context.Context, address string) error {
	dir := p.Sys.pciDir(FullPCIAddress(address))
	if kind := line(dir, "nvidia/current_vgpu_type"); kind == "" || kind == "0" {
		return nil
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("reset vgpu type of %s", address)
		return nil
	}
	if err := p.write(filepath.Join(dir, "nvidia/current_vgpu_type"), "0"); err != nil {
		return fmt.Errorf("unable to reset vgpu type for '%s': %w", address, err)
	}
	return nil
}

func (p Passthrough) write(path, text string) error {
	if p.Write != nil {
		return p.Write(path, text)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
