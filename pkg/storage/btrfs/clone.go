package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Clone makes a volume that shares with another, or a state of it, what neither has
// changed. Neither needs the other to stay.
func (p *pool) Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error) {
	n, from, err := p.find(name)
	switch {
	case err != nil:
		return "", err
	case !own(n):
		return p.Tree.Clone(ctx, name, guest, snap)
	case !p.Has(storage.FeatureClone, name, snap):
		return "", errors.New("clone_image only works on base images")
	}
	if snap != "" {
		if err := has(ctx, name, from, snap); err != nil {
			return "", err
		}
		from += "@" + snap
	}
	if !taken(ctx, from) {
		return "", storage.Told("base image '"+from+"' does not exist", storage.ErrNotExist)
	}
	var clone storage.Name
	err = p.locked(ctx, func(ctx context.Context) (err error) {
		clone, _, err = p.reserve(ctx, guest, n.Format, "", func(subvol string) error {
			if err := p.btrfs(ctx, "subvolume", "snapshot", "--", from, subvol); err != nil {
				p.drop(ctx, subvol)
				return fmt.Errorf("unable to create image: %w", err)
			}
			return nil
		})
		return err
	})
	if err != nil {
		return "", err
	}
	return volume(clone), nil
}

// CheckUnused knows of no clone of a subvolume that would need it.
func (p *pool) CheckUnused(ctx context.Context, name string) error {
	if n, err := p.Parse(name); err != nil || own(n) {
		return err
	}
	return p.Tree.CheckUnused(ctx, name)
}

// CreateBase turns a volume into a base: renamed and read-only.
func (p *pool) CreateBase(ctx context.Context, name string) (string, error) {
	n, from, err := p.find(name)
	switch {
	case err != nil:
		return "", err
	case !own(n):
		return p.Tree.CreateBase(ctx, name)
	case n.IsBase:
		return "", errors.New("create_base not possible with base image")
	}
	base := n
	base.File, base.IsBase = storage.BaseFile(n.File), true
	base.Base, base.BaseGuest = "", 0
	to, err := p.subvolume(base)
	if err != nil {
		return "", err
	}
	if err := p.locked(ctx, func(ctx context.Context) error { return p.move(ctx, from, to) }); err != nil {
		return "", err
	}
	if err := p.btrfs(ctx, "property", "set", "--", to, "ro", "true"); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return volume(base), nil
}

// move gives a volume and its snapshots a name that must be free. It needs the lock.
func (p *pool) move(ctx context.Context, from, to string) error {
	if taken(ctx, to) {
		return storage.Told(fmt.Sprintf("target volume '%s' already exists", to), storage.ErrExists)
	}
	if !taken(ctx, from) {
		return storage.Told(fmt.Sprintf("disk image '%s' does not exist", from), storage.ErrNotExist)
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("mv %s %s", run.Quote(from), run.Quote(to))
		pl.Write(from, nil)
		pl.Write(to, new(""))
		return nil
	}
	snaps, err := p.ordered(ctx, from)
	if err != nil {
		return err
	}
	// What is read-only cannot leave its folder, so the snapshots are made anew; they keep
	// what increments know them by.
	for _, s := range snaps {
		if err := p.inFolder(filepath.Dir(to), func() error { return p.keep(ctx, from+"@"+s.Name, to+"@"+s.Name) }); err != nil {
			return errors.Join(err, p.forget(context.WithoutCancel(ctx), to, snaps))
		}
	}
	if err := p.inFolder(filepath.Dir(to), func() error { return os.Rename(from, to) }); err != nil {
		if link, ok := errors.AsType[*os.LinkError](err); ok {
			err = fmt.Errorf("rename '%s' to '%s' failed: %w", from, to, link.Err)
		}
		return errors.Join(err, p.forget(context.WithoutCancel(ctx), to, snaps))
	}
	if err := p.forget(ctx, from, snaps); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	_ = os.Remove(filepath.Dir(from)) // fails as long as something is in it
	return nil
}

// ordered lists the snapshots of a subvolume, the oldest first.
func (p *pool) ordered(ctx context.Context, subvol string) ([]storage.Snapshot, error) {
	files, err := beside(subvol)
	if err != nil {
		return nil, err
	}
	var found []storage.Snapshot
	for _, file := range files {
		s, err := p.describe(ctx, filepath.Join(filepath.Dir(subvol), file))
		if err != nil {
			return nil, err
		}
		s.Name = strings.TrimPrefix(file, filepath.Base(subvol)+"@")
		found = append(found, s)
	}
	oldestFirst(found)
	return found, nil
}

// forget removes those of some snapshots that a volume has.
func (p *pool) forget(ctx context.Context, subvol string, snaps []storage.Snapshot) error {
	args := []string{"subvolume", "delete", "--"}
	for _, s := range snaps {
		if isSubvolume(subvol + "@" + s.Name) {
			args = append(args, subvol+"@"+s.Name)
		}
	}
	if len(args) == 3 {
		return nil
	}
	return p.btrfs(ctx, args...)
}

// Rename gives a volume to a guest.
func (p *pool) Rename(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	n, from, err := p.find(name)
	switch {
	case err != nil:
		return "", err
	case !own(n):
		return p.Tree.Rename(ctx, name, guest, file)
	}
	var renamed storage.Name
	err = p.locked(ctx, func(ctx context.Context) error {
		top, err := p.Subdir(storage.Images)
		if err != nil {
			return err
		}
		if file == "" {
			if file, err = p.free(ctx, filepath.Join(top, guest.String()), guest, n.Format); err != nil {
				return err
			}
		}
		if renamed, err = p.Parse(guest.String() + "/" + file); err != nil {
			return err
		}
		if renamed.Format != n.Format {
			return fmt.Errorf("illegal name '%s' - wrong extension for format ('%s' != '%s')", file, renamed.Format, n.Format)
		}
		to, err := p.subvolume(renamed)
		if err != nil {
			return err
		}
		return p.move(ctx, from, to)
	})
	if err != nil {
		return "", err
	}
	return volume(renamed), nil
}
