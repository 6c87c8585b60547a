package outside

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// The abilities that callers find by type assertion. Each is a type of its own, for a
// pool to have those that its program has and no others.
type (
	resizer     struct{ p *pool }
	snapshotter struct{ p *pool }
	cloner      struct{ p *pool }
	renamer     struct{ p *pool }
)

// able gives a pool the abilities of its program.
func able(p *pool) storage.Pool {
	const resize, snapshot, clone, rename = 1, 2, 4, 8
	var has int
	for i, a := range []Ability{Resize, Snapshot, Clone, Rename} {
		if slices.Contains(p.described.Abilities, a) {
			has |= 1 << i
		}
	}
	switch has {
	case resize:
		return struct {
			*pool
			resizer
		}{p, resizer{p}}
	case snapshot:
		return struct {
			*pool
			snapshotter
		}{p, snapshotter{p}}
	case resize | snapshot:
		return struct {
			*pool
			resizer
			snapshotter
		}{p, resizer{p}, snapshotter{p}}
	case clone:
		return struct {
			*pool
			cloner
		}{p, cloner{p}}
	case resize | clone:
		return struct {
			*pool
			resizer
			cloner
		}{p, resizer{p}, cloner{p}}
	case snapshot | clone:
		return struct {
			*pool
			snapshotter
			cloner
		}{p, snapshotter{p}, cloner{p}}
	case resize | snapshot | clone:
		return struct {
			*pool
			resizer
			snapshotter
			cloner
		}{p, resizer{p}, snapshotter{p}, cloner{p}}
	case rename:
		return struct {
			*pool
			renamer
		}{p, renamer{p}}
	case resize | rename:
		return struct {
			*pool
			resizer
			renamer
		}{p, resizer{p}, renamer{p}}
	case snapshot | rename:
		return struct {
			*pool
			snapshotter
			renamer
		}{p, snapshotter{p}, renamer{p}}
	case resize | snapshot | rename:
		return struct {
			*pool
			resizer
			snapshotter
			renamer
		}{p, resizer{p}, snapshotter{p}, renamer{p}}
	case clone | rename:
		return struct {
			*pool
			cloner
			renamer
		}{p, cloner{p}, renamer{p}}
	case resize | clone | rename:
		return struct {
			*pool
			resizer
			cloner
			renamer
		}{p, resizer{p}, cloner{p}, renamer{p}}
	case snapshot | clone | rename:
		return struct {
			*pool
			snapshotter
			cloner
			renamer
		}{p, snapshotter{p}, cloner{p}, renamer{p}}
	case resize | snapshot | clone | rename:
		return struct {
			*pool
			resizer
			snapshotter
			cloner
			renamer
		}{p, resizer{p}, snapshotter{p}, cloner{p}, renamer{p}}
	}
	return p
}

// Resize sets the size of a volume.
func (a resizer) Resize(ctx context.Context, name string, size int64, running bool) error {
	if _, err := a.p.Parse(name); err != nil {
		return err
	}
	return a.p.do(ctx, "resize", volumeArgs{Name: name, Size: &size, Running: running})
}

// Snapshot keeps the state of a volume.
func (a snapshotter) Snapshot(ctx context.Context, name, snap string) error {
	return a.change(ctx, "snapshot", storage.FeatureSnapshot, volumeArgs{Name: name, Snapshot: snap})
}

// DeleteSnapshot forgets a state.
func (a snapshotter) DeleteSnapshot(ctx context.Context, name, snap string, running bool) error {
	return a.change(ctx, "deleteSnapshot", "", volumeArgs{Name: name, Snapshot: snap, Running: running})
}

// Rollback brings a volume back to a state.
func (a snapshotter) Rollback(ctx context.Context, name, snap string) error {
	return a.change(ctx, "rollback", "", volumeArgs{Name: name, Snapshot: snap})
}

func (a snapshotter) change(ctx context.Context, call string, needs storage.Feature, args volumeArgs) error {
	if _, err := a.p.Parse(args.Name); err != nil {
		return err
	}
	if needs != "" && !a.p.Has(needs, args.Name, "") {
		return errors.New("can't snapshot this image format")
	}
	return a.p.do(ctx, call, args)
}

// CanRollback says why a volume cannot go back.
func (a snapshotter) CanRollback(ctx context.Context, name, snap string) error {
	if _, err := a.p.Parse(name); err != nil {
		return err
	}
	return a.p.ask(ctx, "canRollback", volumeArgs{Name: name, Snapshot: snap}, nil)
}

// Snapshots lists the states of a volume.
func (a snapshotter) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	if _, err := a.p.Parse(name); err != nil {
		return nil, err
	}
	var found []snapshotResult
	if err := a.p.ask(ctx, "snapshots", volumeArgs{Name: name}, &found); err != nil {
		return nil, err
	}
	list := make([]storage.Snapshot, 0, len(found))
	for _, s := range found {
		list = append(list, storage.Snapshot{Name: s.Name, ID: s.ID, Created: moment(s.Created)})
	}
	return list, nil
}

// Clone makes a linked clone of a base, or of a state of a volume where the program can.
func (a cloner) Clone(ctx context.Context, name string, guest id.VM, snap string) (made string, err error) {
	n, err := a.p.Parse(name)
	if err != nil {
		return "", err
	}
	if !a.p.Has(storage.FeatureClone, name, snap) {
		if !n.IsBase {
			return "", errors.New("clone_image only works on base images")
		}
		return "", errors.New("can't clone this volume")
	}
	base := ""
	if n.IsBase {
		base = n.File
	}
	// Under the lock, as the base must not go meanwhile.
	err = a.p.locked(ctx, func(ctx context.Context) error {
		made, err = a.p.named(ctx, guest, n.Format, "", base, func(ctx context.Context, name string) error {
			return a.p.create(ctx, "clone", volumeArgs{Name: volume(n), Snapshot: snap, New: name})
		})
		return err
	})
	return made, err
}

// CreateBase turns a volume into a base.
func (a cloner) CreateBase(ctx context.Context, name string) (string, error) {
	n, err := a.p.Parse(name)
	switch {
	case err != nil:
		return "", err
	case n.Content != storage.Images:
		return "", errors.New("create_base on wrong vtype '" + string(n.Content) + "'")
	case n.IsBase:
		return "", errors.New("create_base not possible with base image")
	}
	base := n
	base.File = storage.BaseFile(n.File)
	if rest, ok := strings.CutPrefix(n.File, "subvol-"); ok {
		base.File = "basevol-" + rest
	}
	return volume(base), a.p.do(ctx, "base", volumeArgs{Name: name, New: volume(base)})
}

// Rename gives a volume to another guest, or another name.
func (a renamer) Rename(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	n, err := a.p.Parse(name)
	if err != nil {
		return "", err
	}
	if !a.p.Has(storage.FeatureRename, name, "") {
		return "", errors.New("can't rename this volume")
	}
	return a.p.named(ctx, guest, n.Format, file, n.Base, func(ctx context.Context, to string) error {
		return a.p.do(ctx, "rename", volumeArgs{Name: name, New: to})
	})
}
