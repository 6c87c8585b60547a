package rbd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// base is the state of a base that clones are made of.
const base = "__base__"

// A state is a snapshot as rbd tells of it.
type state struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	Protected string `json:"protected"`
	Created   string `json:"timestamp"`
}

// states lists the snapshots of an image, the oldest first.
func (p *pool) states(ctx context.Context, image string) ([]state, error) {
	var list []state
	if err := p.read(ctx, &list, "snap", "ls", image); err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b state) int { return int(a.ID - b.ID) })
	return list, nil
}

// Snapshot keeps the state of an image. A guest that runs keeps writing, as QEMU
// flushes what it holds back when it hears of it.
func (p *pool) Snapshot(ctx context.Context, name, snap string) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	return p.change(ctx, ceph.Change, "rbd snapshot '"+name+"' error", "snap", "create", "--snap", snap, n.File, "--no-progress")
}

// DeleteSnapshot forgets a state.
func (p *pool) DeleteSnapshot(ctx context.Context, name, snap string, _ bool) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	if err := p.unmap(ctx, n.File, snap); err != nil {
		return err
	}
	i, err := p.look(ctx, n.File, snap)
	if err != nil {
		return err
	}
	if i.Protected == "true" {
		if err := p.unprotect(ctx, n.File, snap); err != nil {
			return err
		}
	}
	return p.change(ctx, ceph.Change, "rbd snapshot '"+name+"' error", "snap", "rm", "--snap", snap, n.File, "--no-progress")
}

// unprotect lets a state go that clones could be made of. One that has some stays.
func (p *pool) unprotect(ctx context.Context, image, snap string) error {
	err := p.change(ctx, ceph.Change, fmt.Sprintf("rbd unprotect %s snap '%s' error", image, snap), "snap", "unprotect", image, "--snap", snap)
	if !ceph.Busy(err) {
		return err
	}
	var clones []parent
	var names []string
	if p.read(ctx, &clones, "children", image, "--snap", snap) == nil {
		for _, c := range clones {
			names = append(names, c.Image)
		}
	}
	what := fmt.Sprintf("snapshot '%s' of volume '%s'", snap, image)
	if snap == base {
		what = fmt.Sprintf("base volume '%s'", image)
	}
	if len(names) > 0 {
		return storage.Told(fmt.Sprintf("%s is still in use by linked clones: %s", what, strings.Join(names, ", ")), storage.ErrInUse)
	}
	return storage.Told(what+" is still in use by linked clones", storage.ErrInUse)
}

// CanRollback says that going back is possible: rbd keeps later states.
func (p *pool) CanRollback(_ context.Context, name, _ string) error {
	_, err := parse(name)
	return err
}

// Rollback brings an image back to a state.
func (p *pool) Rollback(ctx context.Context, name, snap string) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	// A kernel that has the image mapped keeps others from changing it; and it would go on
	// with what it remembers.
	if err := p.unmap(ctx, n.File, ""); err != nil {
		return err
	}
	return p.change(ctx, ceph.Move, fmt.Sprintf("rbd snapshot %s to '%s' error", name, snap), "snap", "rollback", "--snap", snap, n.File, "--no-progress")
}

// Snapshots lists the states of an image, the oldest first, without that of a base.
func (p *pool) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	n, err := parse(name)
	if err != nil {
		return nil, err
	}
	list, err := p.states(ctx, n.File)
	if err != nil {
		return nil, err
	}
	var found []storage.Snapshot
	for _, s := range list {
		if s.Name != base {
			found = append(found, storage.Snapshot{Name: s.Name, ID: fmt.Sprint(s.ID), Created: stamp(s.Created)})
		}
	}
	return found, nil
}

// stamp reads a time as Ceph prints it, in the zone of the program.
func stamp(text string) time.Time {
	at, err := time.ParseInLocation(time.ANSIC, text, time.Local)
	if err != nil {
		return time.Time{}
	}
	return at
}
