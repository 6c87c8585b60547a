package lvmthin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// Snapshot keeps the state of a volume as a volume of its own.
func (p *pool) Snapshot(ctx context.Context, name, snap string) error {
	if err := p.able(name, snap); err != nil {
		return err
	}
	return p.Locked(ctx, func(ctx context.Context) error {
		return p.Exist(name, p.Tool.Snapshot(ctx, p.VG, name, volume(name, snap)))
	})
}

// able fails where a volume cannot have snapshots.
func (p *pool) able(name, snap string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	if !volgroup.SnapName(snap) {
		return fmt.Errorf("invalid snapshot name '%s'", snap)
	}
	if n.IsBase {
		return fmt.Errorf("can't snapshot base volume '%s'", name)
	}
	return nil
}

// DeleteSnapshot forgets a state, whether the guest runs or not.
func (p *pool) DeleteSnapshot(ctx context.Context, name, snap string, _ bool) error {
	if err := p.able(name, snap); err != nil {
		return err
	}
	lv := volume(name, snap)
	return p.Locked(ctx, func(ctx context.Context) error { return p.InUse(lv, p.Tool.Remove(ctx, p.VG, lv)) })
}

// CanRollback says whether the state is there.
func (p *pool) CanRollback(ctx context.Context, name, snap string) error {
	_, err := p.back(ctx, name, snap)
	return err
}

// back returns the volume that is to go back to a state which is there.
func (p *pool) back(ctx context.Context, name, snap string) (lvm.Volume, error) {
	if err := p.able(name, snap); err != nil {
		return lvm.Volume{}, err
	}
	v, all, err := p.Find(ctx, name)
	if err != nil {
		return v, err
	}
	if _, ok := volgroup.Lookup(all, volume(name, snap)); !ok {
		return v, fmt.Errorf("can't rollback, snapshot '%s' does not exist on '%s'", snap, name)
	}
	return v, nil
}

// Rollback brings a volume back to a state. What takes the place of the volume is made
// first, so that there always is one.
func (p *pool) Rollback(ctx context.Context, name, snap string) error {
	v, err := p.back(ctx, name, snap)
	if err != nil {
		return err
	}
	if v.Open() {
		return p.InUse(name, lvm.ErrInUse)
	}
	next, buried := volgroup.Next+name, ""
	err = p.Locked(ctx, func(ctx context.Context) error {
		if plan.From(ctx) == nil {
			all, err := p.All(ctx)
			if err != nil {
				return err
			}
			if _, left := volgroup.Lookup(all, next); left { // of a rollback that was cut off
				if err := p.Tool.Remove(ctx, p.VG, next); err != nil {
					return err
				}
			}
		}
		if err := p.Tool.Fork(ctx, p.VG, volume(name, snap), next); err != nil {
			return fmt.Errorf("lvm rollback '%s/%s' error: %w", p.VG, volume(name, snap), err)
		}
		// From here on it is brought to its end.
		buried, err = p.TakePlace(context.WithoutCancel(ctx), next, name)
		return err
	})
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	err = p.Tool.NoAutoActivation(ctx, p.VG, name)
	if buried != "" {
		err = errors.Join(err, p.Tool.Remove(ctx, p.VG, buried))
	}
	return err
}

// Snapshots lists the states of a volume, the oldest first.
func (p *pool) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	if _, err := p.Parse(name); err != nil {
		return nil, err
	}
	_, all, err := p.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	// Those of the same second are told apart by their numbers in the pool.
	slices.SortStableFunc(all, func(a, b lvm.Volume) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ThinID, b.ThinID))
	})
	var found []storage.Snapshot
	for _, lv := range all {
		if snap := volgroup.StateOf(all, lv.Name, name, ""); snap != "" && p.Mine(lv) {
			found = append(found, storage.Snapshot{Name: snap, ID: lv.Name, Created: lv.Created})
		}
	}
	return found, nil
}
