package disks

import (
	"context"
	"errors"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// CheckTemplate returns why a VM cannot become a template. key names the disk that
// is asked for; empty means all.
func (s *Service) CheckTemplate(ctx context.Context, vmid id.VM, key string) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	return s.checkTemplate(vmid, doc, key)
}

func (s *Service) checkTemplate(vmid id.VM, doc *config.Doc, key string) error {
	if err := guest.CheckLock(cluster.VM, doc); err != nil {
		return err
	}
	switch running, err := s.Running(vmid); {
	case len(doc.Snapshots) > 0:
		return errors.New("unable to create template, because VM contains snapshots")
	case guest.IsTemplate(doc) && key == "":
		return errors.New("you can't convert a template to a template")
	case err != nil:
		return err
	case running:
		return errors.New("you can't convert a VM to template if VM is running")
	}
	return nil
}

// Template makes a template of a VM: its disks, or the one named, become bases of
// linked clones. When the first disk cannot be made one the VM is what it was; what
// could be made one after that is written down, and asking again goes on.
func (s *Service) Template(ctx context.Context, vmid id.VM, key string) error {
	return s.Locked(ctx, vmid, "make a template", func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		if err := s.checkTemplate(vmid, doc, key); err != nil {
			return err
		}
		before, changed := doc.Clone(), false
		doc.Values["template"] = "1"
		if err := s.Save(ctx, vmid, doc); err != nil {
			return err
		}
		for d := range qemu.Drives(doc.Values, qemu.Volumes) {
			if key != "" && key != d.Key() {
				continue
			}
			made, err := s.makeBase(ctx, vmid, doc, d)
			if err != nil && !changed {
				return errors.Join(err, s.Save(context.WithoutCancel(ctx), vmid, before))
			}
			if err != nil {
				return err
			}
			changed = changed || made
		}
		return nil
	})
}

// makeBase turns the volume of a drive into a base, where it can be one, and writes its
// new name down.
func (s *Service) makeBase(ctx context.Context, vmid id.VM, doc *config.Doc, d qemu.Drive) (bool, error) {
	v, err := id.ParseVolume(d.Volume())
	if err != nil || d.IsCDROM() {
		return false, nil //nolint:nilerr // a path cannot be one
	}
	able, err := s.Storage.Has(ctx, storage.FeatureTemplate, v, "")
	if err != nil || !able {
		return false, err
	}
	base, err := s.Storage.CreateBase(ctx, v)
	if err != nil {
		return false, err
	}
	d.File = base.String()
	doc.Values[d.Key()] = qemu.PrintDrive(d)
	return true, s.Save(context.WithoutCancel(ctx), vmid, doc)
}
