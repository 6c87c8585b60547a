package disks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Move says which disk goes to which storage.
type Move struct {
	VM      id.VM
	Key     string
	Storage id.Storage
	Format  string  // empty keeps the format where the storage has it
	Delete  bool    // remove the source, which else stays as an unused disk
	Digest  *string // of the configuration that the wish is based on
	BWLimit *int    // KiB/s
}

// CheckMove returns why a disk cannot move. It touches nothing.
func (s *Service) CheckMove(ctx context.Context, o Move) error {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return err
	}
	def, err := s.Storage.Lookup(ctx, o.Storage)
	if err != nil {
		return err
	}
	if !def.Has(storage.Images) {
		return api.BadParam("storage", "storage '%s' does not support vm images", o.Storage)
	}
	_, _, err = s.movable(ctx, o, doc)
	return err
}

// movable returns the drive that is to move, and whether a snapshot holds its volume.
func (s *Service) movable(ctx context.Context, o Move, doc *config.Doc) (d qemu.Drive, snapshotted bool, err error) {
	if err := guest.CheckLock(cluster.VM, doc); err != nil {
		return d, false, err
	}
	if err := guest.CheckDigest(doc, o.Digest); err != nil {
		return d, false, err
	}
	if d, err = Lookup(doc.Values, o.Key); err != nil {
		return d, false, err
	}
	switch {
	case d.IsDisc() || none(d.File):
		return d, false, errors.New("you can't move a cdrom")
	case d.Volume() == "":
		return d, false, fmt.Errorf("disk '%s' has no associated volume", o.Key)
	}
	v, err := id.ParseVolume(d.File)
	if err != nil {
		return d, false, err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return d, false, err
	}
	if v.Storage == o.Storage && (o.Format == "" || n.Format == "" || n.Format == o.Format) {
		return d, false, errors.New("you can't move to the same storage with same format")
	}
	snapshotted = inSnapshot(doc, d.File)
	if snapshotted && o.Delete {
		return d, false, errors.New("you can't move a disk with snapshots and delete the source")
	}
	return d, snapshotted, nil
}

// inSnapshot tells whether a snapshot of the VM names a volume.
func inSnapshot(doc *config.Doc, volume string) bool {
	for _, values := range doc.Snapshots {
		for d := range qemu.Drives(values, qemu.Volumes) {
			if d.File == volume {
				return true
			}
		}
	}
	return false
}

// movePatience is how long a move waits for another command on the VM.
const movePatience = 10 * time.Second

// Move copies a disk to another storage, or into another format, and lets the VM go on
// with the copy. When it fails the VM has what it had.
func (s *Service) Move(ctx context.Context, o Move) error {
	lock := file.LockOptions{Patience: movePatience, What: "move " + o.Key + " of VM " + o.VM.String()}
	return s.Cluster.WithGuest(ctx, cluster.VM, o.VM, lock, func(ctx context.Context) error {
		doc, err := s.Load(ctx, o.VM)
		if err != nil {
			return err
		}
		d, snapshotted, err := s.movable(ctx, o, doc)
		if err != nil {
			return err
		}
		v, err := id.ParseVolume(d.File)
		if err != nil {
			return err
		}
		tell(ctx, "copying volume '%s' from current storage '%s' to target storage '%s'\n", v, v.Storage, o.Storage)
		if snapshotted {
			api.Warnf(ctx, "moving disk with snapshots, snapshots will not be moved!")
		}
		if err := s.move(ctx, o, doc, d, v); err != nil {
			return fmt.Errorf("storage migration failed: %w", err)
		}
		if o.Delete {
			return s.freeSource(ctx, o.VM, doc, v)
		}
		return nil
	})
}

// tell tells the user of a step, which a dry run does not take.
func tell(ctx context.Context, format string, args ...any) {
	if plan.From(ctx) == nil {
		api.Printf(ctx, format, args...)
	}
}

func (s *Service) move(ctx context.Context, o Move, doc *config.Doc, d qemu.Drive, v id.Volume) error {
	running, err := s.Running(o.VM)
	if err != nil {
		return err
	}
	limit, err := s.Limit(ctx, "move", o.BWLimit, v.Storage, o.Storage)
	if err != nil {
		return err
	}
	if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
		return err
	}
	undo := undoList(ctx)
	defer undo.Fail()
	src := Source{VM: o.VM, Running: running, Drive: d}
	moved, err := s.Copy(ctx, src, Target{
		VM: o.VM, Key: o.Key, Storage: o.Storage, Format: o.Format, BWLimit: limit,
		EFI:       func() (int64, error) { return s.EFISize(doc.Values, d) },
		Allocated: func(ctx context.Context, v id.Volume) error { return s.note(ctx, o.VM, doc, v, undo) },
	}, undo)
	if doubt, ok := errors.AsType[*doubtError](err); ok {
		undo.Success()
		return fmt.Errorf("%w: look which of %s and %s is newer before VM %s is started", doubt, v, doubt.target, o.VM)
	}
	if err != nil {
		return err
	}
	if src.mirrors() {
		// The guest writes there by now: whatever comes, it must stay.
		undo.Success()
		ctx = context.WithoutCancel(ctx)
	}
	if err := s.moved(ctx, o, doc, moved, v, undo); err != nil {
		if src.mirrors() {
			err = fmt.Errorf("%w: VM %s goes on with %s, which %s must be set to before it is started again", err, o.VM, moved.File, o.Key)
		}
		return err
	}
	undo.Success()
	if running {
		s.trim(ctx, o.VM, vm.Typed(doc.Values).Agent)
	}
	return nil
}

// note names a new volume as unused while it is filled, so that it is not forgotten
// when the command dies. It also shows that the configuration can be written, before a
// running VM is changed.
func (s *Service) note(ctx context.Context, vmid id.VM, doc *config.Doc, v id.Volume, undo *revert.List) error {
	if plan.From(ctx) != nil {
		return nil
	}
	before, noted := doc.Clone(), doc.Clone()
	if _, err := guest.AddUnused(noted.Values, v.String()); err != nil {
		return err
	}
	undo.Add("write the configuration of VM "+vmid.String(), func(ctx context.Context) error { return s.Save(ctx, vmid, before) })
	return s.Save(ctx, vmid, noted)
}

// moved writes down where a disk has gone.
func (s *Service) moved(ctx context.Context, o Move, doc *config.Doc, d qemu.Drive, old id.Volume, undo *revert.List) error {
	if guest.IsTemplate(doc) {
		v, err := s.toBase(ctx, d, undo)
		if err != nil {
			return err
		}
		d.File = v
	}
	doc.Values[o.Key] = qemu.PrintDrive(d)
	if !o.Delete {
		key, err := guest.AddUnused(doc.Values, old.String())
		if err != nil {
			return err
		}
		tell(ctx, "adding source volume '%s' as '%s' to config\n", old, key)
	}
	return s.Save(ctx, o.VM, doc)
}

// toBase turns the volume of a drive into a base, where it can be one, and returns its
// name. It was the last thing to undo.
func (s *Service) toBase(ctx context.Context, d qemu.Drive, undo *revert.List) (string, error) {
	v, err := id.ParseVolume(d.Volume())
	if err != nil {
		return d.File, nil //nolint:nilerr // a path cannot be one
	}
	able, err := s.Storage.Has(ctx, storage.FeatureTemplate, v, "")
	if err != nil || !able {
		return d.File, err
	}
	base, err := s.Storage.CreateBase(ctx, v)
	if err != nil {
		return d.File, err
	}
	undo.Success()
	s.toFree(undo, base)
	return base.String(), nil
}

// freeSource removes what a disk has moved away from. Where that fails, it becomes an
// unused disk.
func (s *Service) freeSource(ctx context.Context, vmid id.VM, doc *config.Doc, v id.Volume) error {
	tell(ctx, "removing source volume '%s'\n", v)
	err := s.Storage.Free(ctx, v)
	if err == nil {
		return nil
	}
	api.Warnf(ctx, "%v", err)
	if _, err := guest.AddUnused(doc.Values, v.String()); err != nil {
		return err
	}
	return s.Save(ctx, vmid, doc)
}
