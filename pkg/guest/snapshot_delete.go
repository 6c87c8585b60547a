package guest

import (
	"context"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Delete removes a snapshot. With force it is gone from the configuration also where its
// volumes cannot be cleaned up. After an error the configuration stays locked and notes what is
// left, so that a second try goes on.
func (s *Snapshots) Delete(ctx context.Context, name string, force bool) error {
	return s.remove(ctx, name, force, nil)
}

// remove is [Snapshots.Delete]. Only the volumes of the given keys have a snapshot, nil is all;
// with keys it undoes the taking of a snapshot, whose lock it finds.
func (s *Snapshots) remove(ctx context.Context, name string, force bool, only map[string]bool) error {
	snap, err := s.beginRemove(ctx, name, force, only != nil)
	if err != nil {
		return err
	}
	if err := s.removeState(ctx, name, snap, force); err != nil {
		return err
	}
	var freed []string
	for _, v := range s.Guest.Volumes(snap) {
		if only != nil && !only[v.Key] {
			continue
		}
		switch err := s.Guest.DeleteVolumeSnapshot(ctx, v, name); {
		case err == nil:
			freed = append(freed, v.ID)
		case !force:
			return err
		default:
			s.warn(ctx, err.Error())
		}
		if !force {
			if err := s.change(ctx, dropVolume(name, v)); err != nil {
				return err
			}
		}
	}
	return s.change(ctx, s.endRemove(name, freed))
}

// beginRemove notes that the snapshot is being removed and returns what it has.
func (s *Snapshots) beginRemove(ctx context.Context, name string, force, undo bool) (snap schema.Params, err error) {
	err = s.change(ctx, func(ctx context.Context, doc *config.Doc) error {
		if !undo {
			if err := CheckLock(s.Kind, doc); err != nil {
				return err
			}
			if IsTemplate(doc) {
				return fmt.Errorf("you can't delete a snapshot if vm is a template")
			}
		}
		if snap, err = Snapshot(doc, name); err != nil {
			return err
		}
		if err := s.Guest.Activate(ctx, snap, true); err != nil {
			if !force {
				return err
			}
			s.warn(ctx, err.Error())
		}
		if !undo {
			doc.Values[lockKey] = lockDelete
		}
		snap[stateKey] = "delete"
		return nil
	})
	return snap, err
}

// removeState removes the saved state of the guest, where there is one.
func (s *Snapshots) removeState(ctx context.Context, name string, snap schema.Params, force bool) error {
	if snap[ramKey] == "" {
		return nil
	}
	saver, ok := s.Guest.(StateSaver)
	err := errNoState()
	if ok {
		err = saver.RemoveState(ctx, snap)
	}
	switch {
	case err != nil && !force:
		return err
	case err != nil:
		s.warn(ctx, err.Error())
	}
	if force {
		return nil
	}
	return s.change(ctx, func(_ context.Context, doc *config.Doc) error {
		delete(doc.Snapshots[name], ramKey)
		return nil
	})
}

// dropVolume notes that a volume has the snapshot no more.
func dropVolume(name string, v Volume) func(context.Context, *config.Doc) error {
	return func(_ context.Context, doc *config.Doc) error {
		snap, err := Snapshot(doc, name)
		if err != nil {
			return err
		}
		delete(snap, v.Key)
		_, err = AddUnused(snap, v.ID)
		return err
	}
}

// endRemove takes the snapshot out of the configuration. Its children become those of its
// parent, and volumes that only it had are unused.
func (s *Snapshots) endRemove(name string, freed []string) func(context.Context, *config.Doc) error {
	return func(_ context.Context, doc *config.Doc) error {
		snap, err := Snapshot(doc, name)
		if err != nil {
			return err
		}
		parent := snap[upKey]
		delete(doc.Snapshots, name)
		reparent(doc.Values, name, parent)
		for _, other := range doc.Snapshots {
			reparent(other, name, parent)
		}
		delete(doc.Values, lockKey)
		for _, volume := range freed {
			if s.inUse(doc, volume) {
				continue
			}
			if _, err := AddUnused(doc.Values, volume); err != nil {
				return err
			}
		}
		return nil
	}
}

// reparent puts what comes after a snapshot after its parent.
func reparent(values schema.Params, name, parent string) {
	switch {
	case values[upKey] != name:
	case parent == "":
		delete(values, upKey)
	default:
		values[upKey] = parent
	}
}

// inUse tells whether the guest or one of its snapshots names a volume.
func (s *Snapshots) inUse(doc *config.Doc, volume string) bool {
	names := func(values schema.Params) bool {
		return slices.ContainsFunc(s.Guest.Volumes(values), func(v Volume) bool { return v.ID == volume })
	}
	if names(doc.Values) || names(doc.Pending) {
		return true
	}
	for _, snap := range doc.Snapshots {
		if names(snap) {
			return true
		}
	}
	return false
}
