package power

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/cloudinit"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// cloudInit writes the disc from which the guest is set up, so that it has what is
// configured now.
func (s *Service) cloudInit(ctx context.Context, b *boot) error {
	if b.command.CloudInit == "" || b.resumes || b.State != "" {
		return nil
	}
	conf := vm.Typed(b.doc.Values)
	drive, _ := conf.Drive(b.command.CloudInit)
	v, err := id.ParseVolume(drive.Volume())
	if err != nil {
		return fmt.Errorf("%s: %w", b.command.CloudInit, err)
	}
	if err := s.makeDisc(ctx, b, v); err != nil {
		return err
	}
	if err := s.WriteSeed(ctx, b.vm, b.doc.Values, v); err != nil {
		return err
	}
	if !cloudinit.HasChanges(b.doc) {
		return nil
	}
	cloudinit.Written(b.doc)
	return s.Save(ctx, b.vm, b.doc)
}

// WriteSeed writes the cloud-init disc of a VM with the given values into a volume that
// is there.
func (s *Service) WriteSeed(ctx context.Context, vmid id.VM, values map[string]string, v id.Volume) error {
	resolver, err := os.ReadFile(filepath.Join(s.Root, "etc/resolv.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	guest := cloudinit.Guest{ID: vmid, Config: vm.Typed(values), Resolver: string(resolver), Snippet: s.snippet}
	content, err := guest.Content(ctx)
	if err != nil {
		return err
	}
	to := cloudinit.Volume{Size: cloudinit.VolumeSize}
	if to.Path, err = s.Storage.Path(ctx, v, ""); err != nil {
		return err
	}
	name, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	to.Format = name.Format
	if plan.From(ctx) == nil {
		info, err := s.Storage.Info(ctx, v)
		if err != nil {
			return err
		}
		to.Size = info.Size
	}
	api.Printf(ctx, "generating cloud-init ISO\n")
	return content.Write(ctx, s.Run, filepath.Join(s.Root, "run/virtsmith"), to)
}

// makeDisc makes the volume of the disc where it is not there.
func (s *Service) makeDisc(ctx context.Context, b *boot, v id.Volume) error {
	_, err := s.Storage.Info(ctx, v)
	if !errors.Is(err, storage.ErrNotExist) {
		return err
	}
	name, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	made, err := s.Storage.Alloc(ctx, v.Storage, storage.Alloc{
		Guest: b.vm, Format: name.Format, File: name.File, Size: cloudinit.VolumeSize >> 10,
	})
	if err != nil {
		return err
	}
	b.undo.Add("free "+made.String(), func(ctx context.Context) error { return s.Storage.Free(ctx, made) })
	return nil
}

// maxSnippet bounds what is read of a snippet; more does not fit on the disc.
const maxSnippet = 4 << 20

// snippet reads a snippet volume.
func (s *Service) snippet(ctx context.Context, volume string) (string, error) {
	v, err := id.ParseVolume(volume)
	if err != nil {
		return "", err
	}
	name, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return "", err
	}
	if name.Content != storage.Snippets {
		return "", fmt.Errorf("%s is no snippet", volume)
	}
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return "", err
	}
	text, err := file.Read(path, maxSnippet)
	return string(text), err
}
