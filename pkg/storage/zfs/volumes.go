package zfs

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// What a volume can do is done by its dataset; the names are checked here, since
// datasets can be more than disks. A disk cannot be given to another guest, nor go through
// a stream: neither is upstream's to do.

// Status asks how full the pool is.
func (p *pool) Status(ctx context.Context) (storage.Status, error) { return p.volumes.Status(ctx) }

// List returns the volumes that the filter lets through.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	return p.volumes.List(ctx, f)
}

// Info looks at a volume.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	if _, err := p.Parse(name); err != nil {
		return storage.Info{}, err
	}
	return p.volumes.Info(ctx, name)
}

// Alloc makes a disk and gives it out.
func (p *pool) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	return p.volumes.Alloc(ctx, r)
}

// Free takes a disk back and removes it.
func (p *pool) Free(ctx context.Context, name string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.Free(ctx, name)
}

// CheckUnused returns a [storage.ErrInUse] for a base that has clones.
func (p *pool) CheckUnused(ctx context.Context, name string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.CheckUnused(ctx, name)
}

// Resize sets the size of a disk.
func (p *pool) Resize(ctx context.Context, name string, size int64, running bool) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.Resize(ctx, name, size, running)
}

// Snapshot keeps the state of a disk.
func (p *pool) Snapshot(ctx context.Context, name, snap string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.Snapshot(ctx, name, snap)
}

// DeleteSnapshot forgets a state of a disk.
func (p *pool) DeleteSnapshot(ctx context.Context, name, snap string, running bool) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.DeleteSnapshot(ctx, name, snap, running)
}

// Snapshots lists the states of a disk.
func (p *pool) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	if _, err := p.Parse(name); err != nil {
		return nil, err
	}
	return p.volumes.Snapshots(ctx, name)
}

// CanRollback says why a disk cannot go back to a state.
func (p *pool) CanRollback(ctx context.Context, name, snap string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.CanRollback(ctx, name, snap)
}

// Rollback takes a disk back, brings it to its newest state and gives it out again.
func (p *pool) Rollback(ctx context.Context, name, snap string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.volumes.Rollback(ctx, name, snap)
}

// CreateBase turns a disk into a base.
func (p *pool) CreateBase(ctx context.Context, name string) (string, error) {
	if _, err := p.Parse(name); err != nil {
		return "", err
	}
	return p.volumes.CreateBase(ctx, name)
}

// Clone makes a linked clone and gives it out.
func (p *pool) Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error) {
	if _, err := p.Parse(name); err != nil {
		return "", err
	}
	return p.volumes.Clone(ctx, name, guest, snap)
}

// A door gives out disks as LUNs. Each change is made under the storage's lock, as the
// numbers of LUNs are chosen, and whole configurations written.
type door struct{ pool *pool }

func (d door) device(file string) string { return d.pool.unit.device(d.pool.volumes.Dataset(file)) }

// Open gives out a disk, unless it is.
func (d door) Open(ctx context.Context, file string, again bool) error {
	return d.locked(ctx, func(ctx context.Context) error {
		_, ok, err := d.pool.unit.lun(ctx, d.device(file))
		if err != nil || ok {
			return err
		}
		return d.pool.unit.add(ctx, d.device(file), again)
	})
}

// Close takes a disk back.
func (d door) Close(ctx context.Context, file string) error {
	return d.locked(ctx, func(ctx context.Context) error { return d.pool.unit.remove(ctx, d.device(file)) })
}

// Gone has nothing to do.
func (d door) Gone(context.Context, string) {}

// Resized tells the provider of a new size.
func (d door) Resized(ctx context.Context, file string, size int64) error {
	return d.locked(ctx, func(ctx context.Context) error { return d.pool.unit.resized(ctx, d.device(file), size) })
}

func (d door) locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return d.pool.Lock(ctx, fn)
}

var (
	_ storage.Pool            = (*pool)(nil)
	_ storage.Addresser       = (*pool)(nil)
	_ storage.Imager          = (*pool)(nil)
	_ storage.VolumeActivator = (*pool)(nil)
	_ storage.Resizer         = (*pool)(nil)
	_ storage.Snapshotter     = (*pool)(nil)
	_ storage.Cloner          = (*pool)(nil)
	_ storage.BaseCreator     = (*pool)(nil)
	_ storage.BaseKeeper      = (*pool)(nil)
)
