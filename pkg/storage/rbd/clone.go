package rbd

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// CreateBase turns an image into a base: renamed, with a state that cannot be removed as
// long as it has clones.
func (p *pool) CreateBase(ctx context.Context, name string) (string, error) {
	n, err := parse(name)
	if err != nil {
		return "", err
	}
	if n.IsBase {
		return "", errors.New("create_base not possible with base image")
	}
	to := n
	to.File, to.IsBase = storage.BaseFile(n.File), true
	err = p.locked(ctx, func(ctx context.Context) error {
		if !p.planned(ctx, n.File) {
			if err := p.mayBase(ctx, name, n); err != nil {
				return err
			}
		}
		undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
		defer undo.Fail()
		if plan.From(ctx) == nil {
			// Before it: an ended rename may have happened.
			undo.Add("rename "+to.File, func(ctx context.Context) error { return p.back(ctx, to.File, n.File) })
		}
		if err := p.rename(ctx, n.File, to.File, "rbd rename '"+n.File+"' error"); err != nil {
			return err
		}
		if err := p.Snapshot(ctx, to.File, base); err != nil {
			return err
		}
		if err := p.protect(ctx, to.File, base); err != nil {
			return err
		}
		undo.Success()
		return nil
	})
	if err != nil {
		return "", err
	}
	return volume(to), nil
}

// mayBase fails when an image cannot become a base.
func (p *pool) mayBase(ctx context.Context, name string, n storage.Name) error {
	i, err := p.look(ctx, n.File, "")
	if err != nil {
		return fmt.Errorf("rbd volume info on '%s' failed: %w", n.File, err)
	}
	if i.Format != 2 {
		return errors.New("rbd image must be at format V2")
	}
	if n.Base != "" && i.Parent.String() != n.Base+"@"+base {
		return fmt.Errorf("volname '%s' contains wrong information about parent %s %s", name, i.Parent, n.Base)
	}
	return nil
}

// back undoes what CreateBase has done.
func (p *pool) back(ctx context.Context, from, to string) error {
	names, err := p.names(ctx)
	if err != nil || !names[from] {
		return err
	}
	states, err := p.states(ctx, from)
	if err != nil {
		return err
	}
	for _, s := range states {
		if s.Name != base {
			continue
		}
		if s.Protected == "true" {
			if err := p.unprotect(ctx, from, base); err != nil {
				return err
			}
		}
		if err := p.change(ctx, ceph.Change, "rbd snapshot '"+from+"' error", "snap", "rm", "--snap", base, from, "--no-progress"); err != nil {
			return err
		}
	}
	return p.rename(ctx, from, to, "rbd rename '"+from+"' error")
}

func (p *pool) protect(ctx context.Context, image, snap string) error {
	return p.change(ctx, ceph.Change, fmt.Sprintf("rbd protect %s snap '%s' error", image, snap), "snap", "protect", image, "--snap", snap)
}

// Clone makes an image that holds only what differs from a base, or from a state of any
// image. The cluster keeps the one from going before the other.
func (p *pool) Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error) {
	n, err := parse(name)
	if err != nil {
		return "", err
	}
	if !n.IsBase && snap == "" {
		return "", fmt.Errorf("%s is not a base image and snapname is not provided", name)
	}
	from := snap
	if from == "" {
		from = base
	} else if err := p.protected(ctx, n.File, snap); err != nil {
		return "", err
	}
	clone, err := p.take(ctx, guest, "", func(ctx context.Context, file string) error {
		if plan.From(ctx) == nil {
			api.Printf(ctx, "clone %s: %s snapname %s to %s\n", name, n.File, from, file)
		}
		op := p.withData([]string{"clone", p.spec(n.File, ""), "--snap", from})
		err := p.change(ctx, ceph.Change, "rbd clone '"+n.File+"' error", append(op, p.spec(file, ""))...)
		if ceph.Missing(err) {
			return storage.Told(fmt.Sprintf("base image '%s' does not exist", p.spec(n.File, from)), errors.Join(storage.ErrNotExist, err))
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if snap == "" {
		clone.Base, clone.BaseGuest = n.File, n.Guest
	}
	return volume(clone), nil
}

// protected makes sure that a state stays as long as it has clones.
func (p *pool) protected(ctx context.Context, image, snap string) error {
	i, err := p.look(ctx, image, snap)
	if err != nil || i.Protected == "true" {
		return err
	}
	err = p.protect(ctx, image, snap)
	if ceph.Busy(err) { // another was faster
		return nil
	}
	return err
}

// CheckUnused returns an ErrInUse for a base that has clones.
func (p *pool) CheckUnused(ctx context.Context, name string) error {
	n, err := parse(name)
	if err != nil || !n.IsBase || p.planned(ctx, n.File) {
		return err
	}
	var clones []parent
	if err := p.read(ctx, &clones, "children", n.File, "--snap", base); err != nil {
		if ceph.Missing(err) {
			return nil
		}
		return err
	}
	if len(clones) > 0 {
		return storage.Told("base volume '"+name+"' is still in use by linked clones", storage.ErrInUse)
	}
	return nil
}
