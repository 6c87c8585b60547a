package dataset

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// quotaProperty keeps with a state what limit the file system had: ZFS itself does
// not put it back.
const quotaProperty = "pve-storage:refquota"

// Snapshot keeps the state of a volume.
func (v *Volumes) Snapshot(ctx context.Context, name, snap string) error {
	n, dataset, err := v.find(name)
	if err != nil {
		return err
	}
	return v.keep(ctx, n.Format, dataset, snap)
}

func (v *Volumes) keep(ctx context.Context, format, dataset, snap string) error {
	if err := checkSnapshot(snap); err != nil {
		return err
	}
	if format != "subvol" {
		return absent(v.ZFS.Snapshot(ctx, dataset, snap))
	}
	quota := "none"
	if meant(ctx) {
		values, err := v.ZFS.Get(ctx, dataset, "refquota")
		if err != nil {
			return absent(err)
		}
		quota = values[0]
	}
	if err := v.ZFS.Snapshot(ctx, dataset, snap); err != nil {
		return absent(err)
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("destroy "+dataset+"@"+snap, func(ctx context.Context) error { return v.ZFS.DestroySnapshot(ctx, dataset, snap) })
	if err := v.ZFS.Set(ctx, dataset+"@"+snap, quotaProperty, quota); err != nil {
		return err
	}
	undo.Success()
	return nil
}

// DeleteSnapshot forgets a state of a volume.
func (v *Volumes) DeleteSnapshot(ctx context.Context, name, snap string, _ bool) error {
	_, dataset, err := v.find(name)
	if err != nil {
		return err
	}
	if err := checkSnapshot(snap); err != nil {
		return err
	}
	err = v.ZFS.DestroySnapshot(ctx, dataset, snap)
	if errors.Is(err, zfs.ErrClones) {
		return fmt.Errorf("%w: %w", storage.ErrInUse, err)
	}
	return err
}

// Snapshots lists the states of a volume, the oldest first.
func (v *Volumes) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	_, dataset, err := v.find(name)
	if err != nil {
		return nil, err
	}
	list, err := v.ZFS.Snapshots(ctx, dataset)
	if err != nil {
		return nil, absent(err)
	}
	all := make([]storage.Snapshot, len(list))
	for i, s := range list {
		all[i] = storage.Snapshot{Name: s.Name, ID: s.GUID, Created: s.Created}
	}
	return all, nil
}

// CanRollback says why a volume cannot go back to a state: it can only to the newest one.
func (v *Volumes) CanRollback(ctx context.Context, name, snap string) error {
	list, err := v.Snapshots(ctx, name)
	if err != nil {
		return err
	}
	found := false
	var blockers []string
	for _, s := range list {
		switch {
		case s.Name == snap:
			found = true
		case found:
			blockers = append(blockers, s.Name)
		}
	}
	volid := string(v.ID) + ":" + name
	switch {
	case !found:
		return fmt.Errorf("can't rollback, snapshot '%s' does not exist on '%s'", snap, volid)
	case len(blockers) > 0:
		return &storage.BlockedError{
			Text:     fmt.Sprintf("can't rollback, '%s' is not most recent snapshot on '%s'", snap, volid),
			Blockers: blockers,
		}
	}
	return nil
}

// Rollback brings a volume back to its newest state.
func (v *Volumes) Rollback(ctx context.Context, name, snap string) error {
	n, dataset, err := v.find(name)
	if err != nil {
		return err
	}
	if err := checkSnapshot(snap); err != nil {
		return err
	}
	if err := v.shut(ctx, n.File, n.Format); err != nil {
		return err
	}
	err = v.ZFS.Rollback(ctx, dataset, snap)
	// Whatever has come of it, the disk is open again.
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	undo.Add("open "+dataset, func(ctx context.Context) error { return v.open(ctx, n.File, n.Format, true) })
	if err != nil {
		undo.Fail()
		return absent(err)
	}
	undo.Success()
	if n.Format == "subvol" {
		return v.restored(ctx, dataset, snap)
	}
	return v.open(ctx, n.File, n.Format, true)
}

// restored completes the rollback of a file system. It is left unmounted, until it is
// activated again, for the kernel would go on with what it remembers of the other state.
func (v *Volumes) restored(ctx context.Context, dataset, snap string) error {
	if !meant(ctx) {
		return nil
	}
	values, err := v.ZFS.Get(ctx, dataset+"@"+snap, quotaProperty)
	if err != nil {
		return err
	}
	switch quota := values[0]; {
	case quota == "none" || number(quota) > 0 || quota == "0":
		if err := v.ZFS.Set(ctx, dataset, "refquota", quota); err != nil {
			return err
		}
	case quota != "-":
		api.Warnf(ctx, "property for refquota tracking contained unknown value '%s'", quota)
	}
	return v.ZFS.Unmount(ctx, dataset)
}
