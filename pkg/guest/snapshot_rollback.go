package guest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Rollback makes the guest what it was when the snapshot was taken. A guest that runs is
// stopped; one whose state was saved runs afterwards. After an error in the middle the
// configuration stays locked: some volumes have gone back then and others have not.
func (s *Snapshots) Rollback(ctx context.Context, name string) error {
	doc, err := s.Store.Load(ctx)
	if err != nil {
		return err
	}
	snap, err := rollbackTo(doc, name)
	if err != nil {
		return err
	}
	if err := s.Guest.Activate(ctx, snap, true); err != nil {
		return err
	}
	volumes := s.Guest.Volumes(snap)
	for _, v := range volumes {
		if err := s.Guest.CheckRollback(ctx, v, name); err != nil {
			return err
		}
	}
	if err := s.change(ctx, s.beginRollback(name)); err != nil {
		return err
	}
	for _, v := range volumes {
		if err := s.Guest.RollbackVolume(ctx, v, name); err != nil {
			return err
		}
	}
	return s.endRollback(ctx, name)
}

func rollbackTo(doc *config.Doc, name string) (schema.Params, error) {
	if IsTemplate(doc) {
		return nil, fmt.Errorf("you can't rollback if vm is a template")
	}
	return Snapshot(doc, name)
}

// beginRollback stops the guest and locks its configuration.
func (s *Snapshots) beginRollback(name string) func(context.Context, *config.Doc) error {
	return func(ctx context.Context, doc *config.Doc) error {
		snap, err := rollbackTo(doc, name)
		if err != nil {
			return err
		}
		if state := snap[stateKey]; state != "" {
			return fmt.Errorf("unable to rollback to incomplete snapshot (snapstate = %s)", state)
		}
		if err := CheckLock(s.Kind, doc); err != nil {
			return err
		}
		if err := s.Guest.Stop(ctx); err != nil {
			return err
		}
		if err := s.checkStopped(ctx); err != nil {
			return err
		}
		doc.Values[lockKey] = lockRollback
		return nil
	}
}

func (s *Snapshots) checkStopped(ctx context.Context) error {
	running, err := s.Guest.Running(ctx)
	if err == nil && running {
		err = fmt.Errorf("unable to rollback vm %s: vm is running", s.ID)
	}
	return err
}

// endRollback writes the configuration of the snapshot and starts a guest whose state was saved.
func (s *Snapshots) endRollback(ctx context.Context, name string) error {
	return s.Store.Locked(ctx, func(ctx context.Context) error {
		old, err := s.Store.Load(ctx)
		if err != nil {
			return err
		}
		snap, err := rollbackTo(old, name)
		if err != nil {
			return err
		}
		if err := s.checkStopped(ctx); err != nil {
			return err
		}
		if old.Values[lockKey] != lockRollback {
			return fmt.Errorf("got wrong lock")
		}
		now, err := s.rolledBack(old, snap, name)
		if err != nil {
			return err
		}
		if err := s.Store.Save(ctx, now); err != nil {
			return err
		}
		if snap[ramKey] == "" {
			return nil
		}
		saver, ok := s.Guest.(StateSaver)
		if !ok {
			return errNoState()
		}
		return saver.Resume(ctx, now, snap)
	})
}

// rolledBack returns what the configuration becomes. Its notes and its list of unused volumes
// stay, and volumes that the snapshot does not know come to the latter.
func (s *Snapshots) rolledBack(old *config.Doc, snap schema.Params, name string) (*config.Doc, error) {
	now := &config.Doc{Values: schema.Params{}, Snapshots: old.Snapshots, Special: map[string]schema.Params{}, Digest: old.Digest}
	maps.Copy(now.Values, old.Values)
	maps.DeleteFunc(now.Values, func(key, _ string) bool { return key != config.Description && !IsUnused(key) })
	copyValues(now.Values, snap)
	now.Values[upKey] = name
	then := s.Guest.Volumes(snap)
	for _, v := range s.Guest.Volumes(old.Values) {
		if slices.ContainsFunc(then, func(t Volume) bool { return t.ID == v.ID }) {
			continue
		}
		if _, err := AddUnused(now.Values, v.ID); err != nil {
			return nil, err
		}
	}
	if err := s.Guest.RolledBack(old, now, snap); err != nil {
		return nil, err
	}
	return now, nil
}
