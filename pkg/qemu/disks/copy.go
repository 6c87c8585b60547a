package disks

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Source is a drive to copy.
type Source struct {
	VM       id.VM
	Running  bool       // its VM runs: QEMU makes the copy, unless of a snapshot
	Drive    qemu.Drive // its Bus is empty where no drive holds the volume
	Snapshot string     // the state to copy; empty for the present one
}

// A Target is where a copy goes.
type Target struct {
	VM      id.VM
	Key     string                // of the drive that will hold the copy
	Storage id.Storage            // empty for that of the source
	Format  string                // empty for that of the source
	EFI     func() (int64, error) // the size of the variables, asked for an EFI disk
	Mirrors *Mirrors              // to end mirrors of a running VM together; nil ends each at once
	BWLimit int                   // KiB/s, 0 for no limit
	// Allocated, which may be nil, is told of the new volume before it is filled.
	Allocated func(context.Context, id.Volume) error
}

// LinkedClone makes a volume that holds what will differ from the source.
func (s *Service) LinkedClone(ctx context.Context, src Source, to Target, undo *revert.List) (qemu.Drive, error) {
	s.announce(ctx, "linked", src)
	v, err := id.ParseVolume(src.Drive.File)
	if err != nil {
		return qemu.Drive{}, err
	}
	made, err := s.Storage.Clone(ctx, v, to.VM, src.Snapshot)
	if err != nil {
		return qemu.Drive{}, err
	}
	s.toFree(undo, made)
	if err := to.allocated(ctx, made); err != nil {
		return qemu.Drive{}, err
	}
	return s.copied(ctx, src.Drive, made), nil
}

// Copy makes a volume with all that the source holds.
func (s *Service) Copy(ctx context.Context, src Source, to Target, undo *revert.List) (qemu.Drive, error) {
	if err := src.checkTo(to); err != nil {
		return qemu.Drive{}, err
	}
	s.announce(ctx, "full", src)
	a, storeid, err := s.shape(ctx, src, to)
	if err != nil {
		return qemu.Drive{}, err
	}
	made, err := s.Storage.Alloc(ctx, storeid, a)
	if err != nil {
		return qemu.Drive{}, err
	}
	s.toFree(undo, made)
	if plan.From(ctx) == nil {
		api.Printf(ctx, "allocated target volume '%s'\n", made)
	}
	if err := to.allocated(ctx, made); err != nil {
		return qemu.Drive{}, err
	}
	switch {
	case src.Drive.IsCloudInit(): // what is in it is made anew when the VM starts
	case src.mirrors():
		err = s.mirror(ctx, src, to, made)
	default:
		err = s.convert(ctx, src, to, made)
	}
	if err != nil {
		return qemu.Drive{}, err
	}
	return s.copied(ctx, src.Drive, made), nil
}

// mirrors tells whether QEMU makes the copy while the guest goes on.
func (src Source) mirrors() bool {
	return src.Running && src.Snapshot == "" && src.Drive.Bus != "" && src.Drive.Bus != "unused"
}

// checkTo refuses copies between drives of which one is special.
func (src Source) checkTo(to Target) error {
	from := src.Drive.Bus
	if src.mirrors() && from == "tpmstate" {
		return errors.New("cannot move TPM state while VM is running")
	}
	if from == "" || to.Key == "" || src.Drive.Key() == to.Key {
		return nil
	}
	switch {
	case from == "efidisk" || to.Key == "efidisk0":
		return errors.New("cloning from/to EFI disk requires EFI disk")
	case from == "tpmstate" || to.Key == "tpmstate0":
		return errors.New("cloning from/to TPM state requires TPM state")
	case src.mirrors() && src.VM == to.VM:
		return errors.New("cannot change drive name when cloning disk from/to the same VM")
	}
	return nil
}

func (s *Service) announce(ctx context.Context, kind string, src Source) {
	if plan.From(ctx) != nil {
		return
	}
	name := ""
	if src.Drive.Bus != "" {
		name = src.Drive.Key() + " "
	}
	api.Printf(ctx, "create %s clone of drive %s(%s)\n", kind, name, src.Drive.File)
}

func (to Target) allocated(ctx context.Context, v id.Volume) error {
	if to.Allocated == nil {
		return nil
	}
	return to.Allocated(ctx, v)
}

// shape returns what to allocate for a copy, and where.
func (s *Service) shape(ctx context.Context, src Source, to Target) (storage.Alloc, id.Storage, error) {
	a := storage.Alloc{Guest: to.VM}
	v, err := id.ParseVolume(src.Drive.File)
	if err != nil {
		return a, "", err
	}
	storeid := to.Storage
	if storeid == "" {
		storeid = v.Storage
	}
	if a.Format, err = s.format(ctx, storeid, v, to.Format); err != nil {
		return a, "", err
	}
	var size int64
	switch {
	case src.Drive.IsCloudInit():
		size = CloudInitSize
		a.File, a.Format, err = s.cloudInitFile(ctx, storeid, to.VM, a.Format)
	case to.Key == "efidisk0" && to.EFI != nil:
		size, err = to.EFI()
	case to.Key == "tpmstate0":
		size, a.Format = TPMStateSize, "raw"
	default:
		size, err = s.Storage.Size(ctx, v.String())
	}
	a.Size = (size + 1023) / 1024
	return a, storeid, err
}

// format chooses that of a copy: the wish, else that of the source, where the storage has
// it.
func (s *Service) format(ctx context.Context, storeid id.Storage, source id.Volume, wish string) (string, error) {
	usual, possible, err := s.Storage.DefaultFormat(ctx, storeid)
	if err != nil {
		return "", err
	}
	if wish == "" && source.Name != "" {
		n, err := s.Storage.Parse(ctx, source)
		if err != nil {
			return "", err
		}
		wish = n.Format
	}
	for _, format := range possible {
		if format == wish {
			return wish, nil
		}
	}
	return usual, nil
}

// convert copies the data of a volume that no guest writes to.
func (s *Service) convert(ctx context.Context, src Source, to Target, made id.Volume) error {
	o := storage.ConvertOptions{Snapshot: src.Snapshot, BWLimit: to.BWLimit}
	if to.Key == "efidisk0" { // too small to tell of
		o.Progress = func(int64, int64) {}
	}
	var err error
	if o.Zeroed, err = s.Storage.Has(ctx, storage.FeatureSparse, made, ""); err != nil {
		return err
	}
	return s.Storage.Convert(ctx, src.Drive.File, made.String(), o)
}

// copied is the drive that holds the copy of another.
func (s *Service) copied(ctx context.Context, d qemu.Drive, made id.Volume) qemu.Drive {
	d.File, d.Format = made.String(), nil
	if plan.From(ctx) == nil {
		if info, err := s.Storage.Info(ctx, made); err == nil {
			d.Size = new(schema.Size(info.Size))
		}
	}
	return d
}

// Lookup returns the drive of a VM that the user named, as something to copy.
func Lookup(values schema.Params, key string) (qemu.Drive, error) {
	value, ok := values[key]
	if !ok {
		return qemu.Drive{}, fmt.Errorf("disk '%s' does not exist", key)
	}
	return qemu.ParseDrive(key, value)
}
