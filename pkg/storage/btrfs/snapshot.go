package btrfs

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Snapshot keeps the state of a volume as a read-only subvolume beside it.
func (p *pool) Snapshot(ctx context.Context, name, snap string) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.Snapshot(ctx, name, snap)
	}
	to := subvol + "@" + snap
	if taken(ctx, to) { // the tool would put it inside
		return storage.Told("snapshot '"+snap+"' of '"+name+"' already exists", storage.ErrExists)
	}
	return p.keep(ctx, subvol, to)
}

// keep makes a read-only copy of a subvolume.
func (p *pool) keep(ctx context.Context, from, to string) error {
	return p.btrfs(ctx, "subvolume", "snapshot", "-r", "--", from, to)
}

// DeleteSnapshot forgets a state.
func (p *pool) DeleteSnapshot(ctx context.Context, name, snap string, running bool) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.DeleteSnapshot(ctx, name, snap, running)
	}
	return p.btrfs(ctx, "subvolume", "delete", "--", subvol+"@"+snap)
}

// CanRollback says whether the state is there.
func (p *pool) CanRollback(ctx context.Context, name, snap string) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.CanRollback(ctx, name, snap)
	}
	return has(ctx, name, subvol, snap)
}

// has fails unless a volume has a state.
func has(ctx context.Context, name, subvol, snap string) error {
	if plan.From(ctx) == nil && !isSubvolume(subvol+"@"+snap) {
		return fmt.Errorf("snapshot '%s' of '%s' does not exist", snap, name)
	}
	return nil
}

// Rollback brings a volume back to a state. At each moment there is a volume with that
// name: the old state or the new.
func (p *pool) Rollback(ctx context.Context, name, snap string) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.Rollback(ctx, name, snap)
	}
	if err := has(ctx, name, subvol, snap); err != nil {
		return err
	}
	return p.replace(ctx, subvol, subvol+"@"+snap)
}

// replace puts a writable copy of a subvolume in the place of a volume's.
func (p *pool) replace(ctx context.Context, subvol, from string) error {
	fresh := subvol + replacing
	if isSubvolume(fresh) { // of one that was killed
		if err := p.btrfs(ctx, "subvolume", "delete", "--", fresh); err != nil {
			return err
		}
	}
	if err := p.btrfs(ctx, "subvolume", "snapshot", "--", from, fresh); err != nil {
		return err
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("mv --exchange %s %s", run.Quote(fresh), run.Quote(subvol))
	} else if err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, subvol, unix.RENAME_EXCHANGE); err != nil {
		err = fmt.Errorf("failed to rotate '%s' into place at '%s': %w", fresh, subvol, err)
		if e := p.btrfs(context.WithoutCancel(ctx), "subvolume", "delete", "--", fresh); e != nil {
			api.Warnf(ctx, "%v", e)
		}
		return err
	}
	if err := p.btrfs(context.WithoutCancel(ctx), "subvolume", "delete", "--", fresh); err != nil {
		api.Warnf(ctx, "failed to remove '%s' subvolume: %v", fresh, err)
	}
	return nil
}

// Snapshots lists the states of a volume, the oldest first.
func (p *pool) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return nil, err
	case !own(n):
		return p.Tree.Snapshots(ctx, name)
	}
	files, err := beside(subvol)
	if err != nil {
		return nil, err
	}
	var found []storage.Snapshot
	for _, file := range files {
		path := filepath.Join(filepath.Dir(subvol), file)
		snap := strings.TrimPrefix(file, filepath.Base(subvol)+"@")
		if strings.HasPrefix(snap, ":") || !isSubvolume(path) {
			continue
		}
		s, err := p.describe(ctx, path)
		if err != nil {
			return nil, err
		}
		s.Name = snap
		found = append(found, s)
	}
	oldestFirst(found)
	return found, nil
}

// oldestFirst sorts by the numbers of subvolumes, which only grow.
func oldestFirst(list []storage.Snapshot) {
	slices.SortStableFunc(list, func(a, b storage.Snapshot) int {
		x, _ := strconv.ParseInt(a.ID, 10, 64)
		y, _ := strconv.ParseInt(b.ID, 10, 64)
		return cmp.Compare(x, y)
	})
}

// describe asks for the number and the age of a subvolume.
func (p *pool) describe(ctx context.Context, path string) (storage.Snapshot, error) {
	text, err := p.tells(ctx, "subvolume", "show", "--", path)
	if err != nil {
		return storage.Snapshot{}, err
	}
	created, _ := time.Parse("2006-01-02 15:04:05 -0700", told(text, "Creation time"))
	return storage.Snapshot{ID: told(text, "Subvolume ID"), Created: created}, nil
}
