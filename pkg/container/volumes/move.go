package volumes

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// Move says which volume goes to which storage.
type Move struct {
	VM      id.VM
	Key     string
	Storage id.Storage
	Delete  bool    // remove the source, which else stays as an unused volume
	Digest  *string // of the configuration that the wish is based on
	BWLimit *int    // KiB/s
}

// CheckMove returns why a volume cannot move. It touches nothing.
func (s *Service) CheckMove(ctx context.Context, o Move) error {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return err
	}
	if _, err := s.movable(ctx, o, doc); err != nil {
		return err
	}
	_, err = s.room(ctx, o.Storage)
	return err
}

// movable returns the mount point whose volume is to move.
func (s *Service) movable(ctx context.Context, o Move, doc *config.Doc) (container.Point, error) {
	if err := guest.CheckLock(cluster.Container, doc); err != nil {
		return container.Point{}, err
	}
	switch running, err := s.Running(ctx, o.VM); {
	case err != nil:
		return container.Point{}, err
	case running:
		return container.Point{}, errors.New("cannot move volumes of a running container")
	case guest.IsUnused(o.Key):
		return container.Point{}, fmt.Errorf("cannot move volume '%s', only configured volumes can be moved to another storage", o.Key)
	}
	p, err := lookup(doc, o.Key)
	if err != nil {
		return p, err
	}
	if p.Kind() != container.VolumeSource {
		return p, fmt.Errorf("cannot copy volumes of type %s", p.Kind())
	}
	if o.Delete && inSnapshot(doc, p.Volume) {
		return p, errors.New("you can't move a volume with snapshots and delete the source")
	}
	return p, checkDigest(doc, o.Digest)
}

// moveLock is what a container is locked for while one of its volumes moves.
const moveLock = "disk"

// Move copies a volume to another storage, file by file, and lets the container go on with
// the copy. Until then it has what it had. A command that dies on the way leaves the lock,
// and the copy as an unused volume.
func (s *Service) Move(ctx context.Context, o Move) error {
	if plan.From(ctx) != nil {
		return s.moveDry(ctx, o)
	}
	var p container.Point
	err := s.Change(ctx, o.VM, "move "+o.Key, func(ctx context.Context, doc *config.Doc) error {
		var err error
		if p, err = s.movable(ctx, o, doc); err != nil {
			return err
		}
		doc.Values["lock"] = moveLock
		return nil
	})
	if err != nil {
		return err
	}
	undo := undoList(ctx)
	undo.Add("unlock container "+o.VM.String(), func(ctx context.Context) error { return s.unlock(ctx, o.VM, moveLock, nil) })
	defer undo.Fail()
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return err
	}
	var noted id.Volume
	moved, err := s.copyMoved(ctx, o, p, func(ctx context.Context, made id.Volume) error {
		noted = made
		return s.note(ctx, o.VM, made, undo)
	}, undo)
	if err != nil {
		return err
	}
	// From here on the container has the copy.
	err = s.unlock(ctx, o.VM, moveLock, func(doc *config.Doc) error {
		forget(doc, noted)
		return moveTo(doc, moved, o.Delete)
	})
	if err != nil {
		return err
	}
	undo.Success()
	return s.clearMoved(ctx, o, v)
}

// copyMoved makes the copy. noted is told of it before it is filled.
func (s *Service) copyMoved(ctx context.Context, o Move, p container.Point, noted func(context.Context, id.Volume) error, undo *revert.List) (container.Point, error) {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return p, err
	}
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return p, err
	}
	to := Target{VM: o.VM, Storage: o.Storage, Values: doc.Values, Allocated: noted}
	if to.BWLimit, err = s.limit(ctx, "move", o.BWLimit, v.Storage, o.Storage); err != nil {
		return p, err
	}
	moved, err := s.Copy(ctx, Source{Point: p}, to, undo)
	if err != nil || !guest.IsTemplate(doc) {
		return moved, err
	}
	made, err := id.ParseVolume(moved.Volume)
	if err != nil {
		return moved, err
	}
	base, err := s.Storage.CreateBase(ctx, made)
	if err != nil {
		return moved, err
	}
	s.toFree(undo, base)
	moved.Volume = base.String()
	return moved, nil
}

// note names a new volume as unused while it is filled, so that it is not forgotten when the
// command dies.
func (s *Service) note(ctx context.Context, vmid id.VM, made id.Volume, undo *revert.List) error {
	undo.Add("forget "+made.String(), func(ctx context.Context) error {
		return s.Change(ctx, vmid, "move", func(_ context.Context, doc *config.Doc) error {
			forget(doc, made)
			return nil
		})
	})
	return s.Change(ctx, vmid, "move", func(_ context.Context, doc *config.Doc) error {
		_, err := guest.AddUnused(doc.Values, made.String())
		return err
	})
}

// forget takes an unused volume out of a configuration.
func forget(doc *config.Doc, v id.Volume) {
	for key, text := range doc.Values {
		if guest.IsUnused(key) && container.VolumeOf(text) == v.String() {
			delete(doc.Values, key)
		}
	}
}

// moveTo writes down where a volume has gone. Without gone, what it was stays as unused.
func moveTo(doc *config.Doc, p container.Point, gone bool) error {
	old := container.VolumeOf(doc.Values[p.Key])
	doc.Values[p.Key] = p.Value()
	if gone {
		return nil
	}
	_, err := guest.AddUnused(doc.Values, old)
	return err
}

// clearMoved removes what a volume has moved away from, where that is wished. Where it fails,
// it becomes an unused volume.
func (s *Service) clearMoved(ctx context.Context, o Move, v id.Volume) error {
	err := s.Storage.DeactivateVolumes(ctx, "", v)
	if err == nil && o.Delete {
		err = s.Storage.Free(ctx, v)
	}
	if err == nil {
		return nil
	}
	api.Warnf(ctx, "%v", err)
	if !o.Delete {
		return nil
	}
	return s.Change(context.WithoutCancel(ctx), o.VM, "move", func(_ context.Context, doc *config.Doc) error {
		_, err := guest.AddUnused(doc.Values, v.String())
		return err
	})
}

// moveDry tells the steps of a move.
func (s *Service) moveDry(ctx context.Context, o Move) error {
	return s.Change(ctx, o.VM, "move "+o.Key, func(ctx context.Context, doc *config.Doc) error {
		p, err := s.movable(ctx, o, doc)
		if err != nil {
			return err
		}
		v, err := id.ParseVolume(p.Volume)
		if err != nil {
			return err
		}
		undo := undoList(ctx)
		defer undo.Success()
		moved, err := s.Copy(ctx, Source{Point: p}, Target{VM: o.VM, Storage: o.Storage, Values: doc.Values}, undo)
		if err != nil {
			return err
		}
		if err := moveTo(doc, moved, o.Delete); err != nil {
			return err
		}
		if o.Delete {
			return s.Storage.Free(ctx, v)
		}
		return nil
	})
}
