package disks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// importInto makes a volume that holds what the drive is to be imported from.
func (s *Service) importInto(ctx context.Context, r Request, d qemu.Drive, storeid id.Storage, undo *revert.List) (id.Volume, int64, error) {
	source := *d.ImportFrom
	v, err := id.ParseVolume(source)
	if err != nil || strings.HasPrefix(source, "/") {
		return s.importPath(ctx, r, d, storeid, undo)
	}
	to := Target{VM: r.VMID, Key: d.Key(), Storage: storeid, Format: text(d.Format)}
	to.EFI = func() (int64, error) { return s.EFISize(r.Values, d) }
	made, err := s.importVolume(ctx, v, to, r.BWLimit, undo)
	if err != nil {
		return v, 0, fmt.Errorf("cannot import from '%s' - %w", source, err)
	}
	if v, err = id.ParseVolume(made.File); err != nil {
		return v, 0, err
	}
	if made.Size == nil {
		return v, 0, nil
	}
	return v, int64(*made.Size), nil
}

// importPath copies a file of the host.
func (s *Service) importPath(ctx context.Context, r Request, d qemu.Drive, storeid id.Storage, undo *revert.List) (id.Volume, int64, error) {
	format, err := s.format(ctx, storeid, id.Volume{}, text(d.Format))
	if err != nil {
		return id.Volume{}, 0, err
	}
	limit, err := s.Limit(ctx, "clone", r.BWLimit, storeid)
	if err != nil {
		return id.Volume{}, 0, err
	}
	v, err := s.Storage.Copy(ctx, storage.Copy{
		Source: *d.ImportFrom, Storage: storeid, Guest: r.VMID, Format: format, ConvertOptions: storage.ConvertOptions{BWLimit: limit},
	})
	if err != nil {
		return v, 0, err
	}
	s.toFree(undo, v)
	return v, s.sizeOf(ctx, v, 0), nil
}

// ImportFile makes a volume of a VM with what an image in a file of the host holds.
// An empty format is the storage's own.
func (s *Service) ImportFile(ctx context.Context, path string, vmid id.VM, storeid id.Storage, format string, undo *revert.List) (id.Volume, error) {
	format, err := s.format(ctx, storeid, id.Volume{}, format)
	if err != nil {
		return id.Volume{}, err
	}
	v, err := s.Storage.Copy(ctx, storage.Copy{Source: path, Storage: storeid, Guest: vmid, Format: format})
	if err == nil {
		s.toFree(undo, v)
	}
	return v, err
}

// ownerPatience is how long the VM that a volume is imported from may be busy.
const ownerPatience = 30 * time.Second

// importVolume copies a volume. Where it belongs to a VM, that VM is kept from changing
// meanwhile; where the VM runs, its QEMU makes the copy.
func (s *Service) importVolume(ctx context.Context, v id.Volume, to Target, wish *int, undo *revert.List) (qemu.Drive, error) {
	if _, err := s.Storage.Size(ctx, v.String()); err != nil {
		return qemu.Drive{}, err
	}
	plain := qemu.Drive{DriveOptions: qemu.DriveOptions{File: v.String()}}
	if plain.IsCloudInit() {
		return qemu.Drive{}, errors.New("cannot import from cloudinit disk")
	}
	if can, err := s.Storage.Has(ctx, storage.FeatureCopy, v, ""); err != nil || !can {
		return qemu.Drive{}, errors.Join(err, fmt.Errorf("full clone feature is not supported"))
	}
	limit, err := s.Limit(ctx, "clone", wish, v.Storage, to.Storage)
	if err != nil {
		return qemu.Drive{}, err
	}
	to.BWLimit = limit
	n, err := s.Storage.Parse(ctx, v)
	if err == nil && n.Content == storage.Imports { // anybody who may upload has put it there
		err = s.checkUntrusted(ctx, v, n.Format)
	}
	if err != nil {
		return qemu.Drive{}, err
	}
	owner, err := s.owner(ctx, n.Guest)
	if err != nil {
		return qemu.Drive{}, err
	}
	src, err := s.sourceOf(ctx, v, owner)
	if err != nil {
		return qemu.Drive{}, err
	}
	if owner == 0 || owner == to.VM { // whose lock the caller holds
		return s.Copy(ctx, src, to, undo)
	}
	return s.importOwned(ctx, src, to, undo)
}

// checkUntrusted refuses an image that would make us read files of the node.
func (s *Service) checkUntrusted(ctx context.Context, v id.Volume, format string) error {
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return err
	}
	return s.Storage.CheckUntrusted(ctx, path, format)
}

// owner returns the VM of that number, 0 where there is none. It has to be on this
// node.
func (s *Service) owner(ctx context.Context, vmid id.VM) (id.VM, error) {
	if vmid == 0 {
		return 0, nil
	}
	g, err := s.Cluster.Find(ctx, vmid)
	switch {
	case errors.Is(err, cluster.ErrNoGuest), err == nil && g.Kind != cluster.VM:
		return 0, nil
	case err != nil:
		return 0, err
	case g.Node != s.Node:
		return 0, fmt.Errorf("owner VM %s not on local node", vmid)
	}
	return vmid, nil
}

// sourceOf returns the drive of its owner that holds a volume.
func (s *Service) sourceOf(ctx context.Context, v id.Volume, owner id.VM) (Source, error) {
	src := Source{VM: owner, Drive: qemu.Drive{DriveOptions: qemu.DriveOptions{File: v.String()}}}
	if owner == 0 {
		return src, nil
	}
	var err error
	if src.Running, err = s.Running(owner); err != nil {
		return src, err
	}
	doc, err := s.Load(ctx, owner)
	if err != nil {
		return src, err
	}
	for d := range qemu.Drives(doc.Values, qemu.Volumes) {
		if d.File == v.String() {
			src.Drive = d
			break
		}
	}
	return src, nil
}

// importOwned copies a volume of another VM while that one is kept from changing. What
// its guest writes meanwhile is QEMU's to copy, so then nobody else may talk to it.
func (s *Service) importOwned(ctx context.Context, src Source, to Target, undo *revert.List) (d qemu.Drive, err error) {
	o := file.LockOptions{Patience: ownerPatience, Shared: !src.Running, What: "import from VM " + src.VM.String()}
	err = s.Cluster.WithGuest(ctx, cluster.VM, src.VM, o, func(ctx context.Context) error {
		running, err := s.Running(src.VM)
		if err != nil {
			return err
		}
		if running != src.Running {
			return fmt.Errorf("owner VM %s changed state unexpectedly", src.VM)
		}
		d, err = s.Copy(ctx, src, to, undo)
		return err
	})
	return d, err
}
