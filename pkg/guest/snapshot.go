package guest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Store keeps the configuration of one guest.
type Store interface {
	Load(context.Context) (*config.Doc, error)
	Save(context.Context, *config.Doc) error
	// Locked runs a function while nobody else changes the configuration.
	Locked(context.Context, func(context.Context) error) error
}

// A Volume is a volume of a guest and the option that names it.
type Volume struct{ Key, ID string }

// A Snapshotter is what a kind of guest does in its own way where snapshots are
// concerned.
type Snapshotter interface {
	// Volumes lists, in a fixed order, the volumes that a snapshot of a guest with the
	// given values covers.
	Volumes(values schema.Params) []Volume
	// CanSnapshot tells whether all volumes can be snapshot.
	CanSnapshot(ctx context.Context, doc *config.Doc, name string) (bool, error)
	// Activate makes the volumes usable, with their snapshots where that is asked for.
	Activate(ctx context.Context, values schema.Params, snapshots bool) error
	// Begin makes a running guest hold still, or saves its state where snap has a place
	// for it. What it returns lets the guest go on. It is called, where it is not nil, when
	// the volumes are done, and after an error too.
	Begin(ctx context.Context, doc *config.Doc, snap schema.Params) (end func(context.Context), err error)
	SnapshotVolume(ctx context.Context, v Volume, name string) error
	DeleteVolumeSnapshot(ctx context.Context, v Volume, name string) error
	// CheckRollback returns an error where the volume cannot go back to the snapshot.
	CheckRollback(ctx context.Context, v Volume, name string) error
	RollbackVolume(ctx context.Context, v Volume, name string) error
	Running(context.Context) (bool, error)
	// Stop stops the guest at once, where it runs.
	Stop(context.Context) error
	// RolledBack changes what the configuration has become, before it is written: old is
	// what it was, snap what it went back to.
	RolledBack(old, now *config.Doc, snap schema.Params) error
}

// A StateSaver is a [Snapshotter] of guests whose memory can be part of a snapshot.
type StateSaver interface {
	// SaveState makes a place for the state of the running guest and notes in snap where,
	// under "vmstate". The state itself is saved by [Snapshotter.Begin].
	SaveState(ctx context.Context, doc *config.Doc, snap schema.Params, name string) error
	RemoveState(ctx context.Context, snap schema.Params) error
	// Resume starts the guest from the state that snap has.
	Resume(ctx context.Context, doc *config.Doc, snap schema.Params) error
}

// A StateFinisher is a [StateSaver] whose state is whole only after the volumes are done.
type StateFinisher interface {
	// FinishState ends what [Snapshotter.Begin] began to save.
	FinishState(ctx context.Context, snap schema.Params) error
}

// Snapshots takes, removes and goes back to the snapshots of one guest.
type Snapshots struct {
	Kind  cluster.Kind
	ID    id.VM
	Store Store
	Guest Snapshotter
	Now   func() time.Time
}

// Keys of a configuration that snapshots are about.
const (
	lockKey  = "lock"
	stateKey = "snapstate" // what is being done with a snapshot: prepare, delete
	timeKey  = "snaptime"
	ramKey   = "vmstate" // the volume with the state of the guest
	upKey    = "parent"
)

// Locks in a configuration while snapshots are worked on.
const (
	lockSnapshot = "snapshot"
	lockDelete   = "snapshot-delete"
	lockRollback = "rollback"
)

// noSnapshot says that there is no snapshot of that name.
func noSnapshot(name string) error { return fmt.Errorf("snapshot '%s' does not exist", name) }

// Snapshot returns the values that a guest had when the snapshot was taken.
func Snapshot(doc *config.Doc, name string) (schema.Params, error) {
	if snap := doc.Snapshots[name]; snap != nil {
		return snap, nil
	}
	return nil, noSnapshot(name)
}

// change runs do on the configuration while it is locked, and writes it.
func (s *Snapshots) change(ctx context.Context, do func(context.Context, *config.Doc) error) error {
	return s.Store.Locked(ctx, func(ctx context.Context) error {
		doc, err := s.Store.Load(ctx)
		if err != nil {
			return err
		}
		if err := do(ctx, doc); err != nil {
			return err
		}
		return s.Store.Save(ctx, doc)
	})
}

// Create takes a snapshot. With ram the state of a running guest is saved too. After an error
// nothing of the snapshot is left.
func (s *Snapshots) Create(ctx context.Context, name, description string, ram bool) error {
	snap, err := s.Prepare(ctx, name, description, ram)
	if err != nil {
		return err
	}
	taken, err := s.take(ctx, name, snap)
	if err == nil {
		return s.Commit(ctx, name)
	}
	s.warn(ctx, "snapshot create failed: starting cleanup")
	// What was begun is undone also where the user has had enough.
	if undone := s.remove(context.WithoutCancel(ctx), name, true, taken); undone != nil {
		s.warn(ctx, undone.Error())
	}
	return &createError{err}
}

// createError is why a snapshot could not be taken. As upstream's, its message ends in an
// empty line.
type createError struct{ cause error }

func (e *createError) Error() string { return e.cause.Error() + "\n" }

func (e *createError) Unwrap() error { return e.cause }

// warn tells the user of a fault that does not end the work.
func (s *Snapshots) warn(ctx context.Context, text string) {
	fmt.Fprintln(api.StreamsOf(ctx).Err, text)
}

// take makes the snapshots of the volumes and returns the keys of those that are done.
func (s *Snapshots) take(ctx context.Context, name string, snap schema.Params) (taken map[string]bool, err error) {
	taken = map[string]bool{}
	doc, err := s.Store.Load(ctx)
	if err != nil {
		return taken, err
	}
	if err := s.Guest.Activate(ctx, doc.Values, false); err != nil {
		return taken, err
	}
	end, err := s.Guest.Begin(ctx, doc, snap)
	if end != nil {
		defer end(context.WithoutCancel(ctx))
	}
	if err != nil {
		return taken, err
	}
	for _, v := range s.Guest.Volumes(snap) {
		if err := context.Cause(ctx); err != nil {
			return taken, err
		}
		if err := s.Guest.SnapshotVolume(ctx, v, name); err != nil {
			return taken, err
		}
		taken[v.Key] = true
	}
	if f, ok := s.Guest.(StateFinisher); ok && snap[ramKey] != "" {
		return taken, f.FinishState(ctx, snap)
	}
	return taken, nil
}

// Prepare notes in the configuration that a snapshot is being taken, and returns what is
// noted. The configuration stays locked until [Snapshots.Commit].
func (s *Snapshots) Prepare(ctx context.Context, name, description string, ram bool) (snap schema.Params, err error) {
	err = s.change(ctx, func(ctx context.Context, doc *config.Doc) error {
		snap, err = s.prepare(ctx, doc, name, description, ram)
		return err
	})
	if saver, ok := s.Guest.(StateSaver); ok && err != nil && snap[ramKey] != "" {
		// The configuration could not be written: nothing else knows of the volume.
		err = errors.Join(err, saver.RemoveState(context.WithoutCancel(ctx), snap))
	}
	return snap, err
}

func (s *Snapshots) prepare(ctx context.Context, doc *config.Doc, name, description string, ram bool) (schema.Params, error) {
	if IsTemplate(doc) {
		return nil, fmt.Errorf("you can't take a snapshot if it's a template")
	}
	if err := CheckLock(s.Kind, doc); err != nil {
		return nil, err
	}
	if doc.Snapshots[name] != nil {
		return nil, fmt.Errorf("snapshot name '%s' already used", name)
	}
	able, err := s.Guest.CanSnapshot(ctx, doc, name)
	if err != nil {
		return nil, err
	}
	if !able {
		return nil, fmt.Errorf("snapshot feature is not available")
	}
	s.breakCycles(ctx, doc, name)
	snap := schema.Params{}
	if ram {
		if err := s.saveState(ctx, doc, snap, name); err != nil {
			return nil, err
		}
	}
	copyValues(snap, doc.Values)
	snap[stateKey], snap[timeKey] = "prepare", strconv.FormatInt(s.Now().Unix(), 10)
	if description != "" {
		snap[config.Description] = description
	}
	doc.Values[lockKey] = lockSnapshot
	doc.Snapshots[name] = snap
	return snap, nil
}

// breakCycles removes references to a parent of the new snapshot's name that is no more.
func (s *Snapshots) breakCycles(ctx context.Context, doc *config.Doc, name string) {
	for _, other := range slices.Sorted(maps.Keys(doc.Snapshots)) {
		if doc.Snapshots[other][upKey] == name {
			s.warn(ctx, fmt.Sprintf("deleting parent '%s' reference from '%s' to avoid bogus snapshot cycle.", name, other))
			delete(doc.Snapshots[other], upKey)
		}
	}
}

// saveState makes the place for the state of the guest, where it runs.
func (s *Snapshots) saveState(ctx context.Context, doc *config.Doc, snap schema.Params, name string) error {
	running, err := s.Guest.Running(ctx)
	if err != nil || !running {
		return err
	}
	saver, ok := s.Guest.(StateSaver)
	if !ok {
		return errNoState()
	}
	return saver.SaveState(ctx, doc, snap, name)
}

// errNoState is what upstream says where a guest has no state to save.
func errNoState() error { return fmt.Errorf("implement me - save vmstate") }

// copyValues copies what belongs into a snapshot, or from one into the configuration.
func copyValues(to, from schema.Params) {
	for key, value := range from {
		switch key {
		case stateKey, timeKey, ramKey, lockKey, config.Description:
			continue
		}
		if !IsUnused(key) {
			to[key] = value
		}
	}
}

// Commit ends the taking of a snapshot.
func (s *Snapshots) Commit(ctx context.Context, name string) error {
	return s.change(ctx, func(_ context.Context, doc *config.Doc) error {
		if doc.Values[lockKey] != lockSnapshot {
			return fmt.Errorf("missing snapshot lock")
		}
		snap, err := Snapshot(doc, name)
		if err != nil {
			return err
		}
		if snap[stateKey] != "prepare" {
			return fmt.Errorf("wrong snapshot state")
		}
		delete(snap, stateKey)
		delete(doc.Values, lockKey)
		doc.Values[upKey] = name
		return nil
	})
}
