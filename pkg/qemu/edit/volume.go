package edit

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cloudinit"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// owned returns the volume that text names where it belongs to the VM.
func (s *Service) owned(ctx context.Context, vmid id.VM, text string) (v id.Volume, ok bool) {
	v, err := id.ParseVolume(text)
	if err != nil {
		return v, false
	}
	name, err := s.Storage.Parse(ctx, v)
	return v, err == nil && name.Guest == vmid
}

// Detach notes the volume of a drive that goes away as unused. A cloud-init image,
// which can be made again, is removed; the media of CD drives are left alone.
func (s *Service) Detach(ctx context.Context, vmid id.VM, doc *config.Doc, d qemu.Drive) error {
	v, ok := s.owned(ctx, vmid, d.Volume())
	switch {
	case !ok:
		return nil
	case d.IsCloudInit():
		if err := s.Storage.Free(ctx, v); err != nil {
			api.Warnf(ctx, "%v", err) // the drive goes away all the same
		}
		delete(doc.Special, "cloudinit")
		return nil
	case d.IsCDROM():
		return nil
	}
	_, err := guest.AddUnused(doc.Values, v.String())
	return err
}

// Free removes the volume that the VM has under key, which goes away. A volume that
// is not the VM's own stays, one that is in use is an error.
func (s *Service) Free(ctx context.Context, vmid id.VM, doc *config.Doc, key, volume string) error {
	v, ok := s.owned(ctx, vmid, volume)
	if !ok {
		return nil
	}
	if inUse(doc, key, v.String()) {
		return fmt.Errorf("unable to delete '%s' - volume is still in use (snapshot?)", v)
	}
	return s.Storage.Free(ctx, v)
}

// inUse tells whether doc names a volume elsewhere than under key.
func inUse(doc *config.Doc, key, volume string) bool {
	if names(doc.Values, key, volume) || names(doc.Pending, key, volume) {
		return true
	}
	for _, values := range doc.Snapshots {
		if names(values, "", volume) || values["vmstate"] == volume {
			return true
		}
	}
	return false
}

func names(values schema.Params, but, volume string) bool {
	for d := range qemu.Drives(values, qemu.AllDrives) {
		if d.Key() != but && d.Volume() == volume {
			return true
		}
	}
	return values["vmstate"] == volume && but != "vmstate"
}

// remove ends the life of a drive in doc: its volume is freed by force, else noted as
// unused.
func (s *Service) remove(ctx context.Context, vmid id.VM, doc *config.Doc, key string, force bool) error {
	d, err := qemu.ParseDrive(key, doc.Values[key])
	if err != nil {
		return nil //nolint:nilerr // what cannot be read names no volume
	}
	if force && !d.IsCDROM() {
		return s.Free(ctx, vmid, doc, key, d.Volume())
	}
	return s.Detach(ctx, vmid, doc, d)
}

// WriteCloudInit writes what the VM is configured with to its cloud-init drive, where
// it has one.
func (s *Service) WriteCloudInit(ctx context.Context, vmid id.VM) error {
	return s.Change(ctx, vmid, "cloud-init of VM "+vmid.String(), func(ctx context.Context, doc *config.Doc) error {
		for d := range qemu.Drives(doc.Values, qemu.Disks) {
			if !d.IsCloudInit() {
				continue
			}
			if err := s.reseed(ctx, vmid, doc, d); err != nil {
				return err
			}
			cloudinit.Written(doc)
			return nil
		}
		return vm.ErrUnchanged
	})
}

// reseed writes the cloud-init drive d. A running guest is shown a new disc.
func (s *Service) reseed(ctx context.Context, vmid id.VM, doc *config.Doc, d qemu.Drive) error {
	v, err := id.ParseVolume(d.Volume())
	if err != nil {
		return err
	}
	write := func(ctx context.Context) error { return s.Seed(ctx, vmid, doc.Values, v) }
	running, err := s.Running(vmid)
	if err != nil {
		return err
	}
	if !running || s.Plugger == nil || plan.From(ctx) != nil {
		return write(ctx)
	}
	return s.Plugger.Reload(ctx, vmid, doc, d.Key(), write)
}
