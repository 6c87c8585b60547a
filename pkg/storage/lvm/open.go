package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// What a running QEMU needs of a chain. It has the devices open: they may get other
// names meanwhile.

// Chained tells whether snapshots of a volume are volumes of their own.
func (p *pool) Chained(name string) bool {
	n, err := p.Parse(name)
	return err == nil && n.Format == "qcow2"
}

// Chain returns the volume and its states, the newest first.
func (p *pool) Chain(ctx context.Context, name string) ([]storage.Link, error) {
	path, err := p.Path(name, "")
	if err != nil {
		return nil, err
	}
	links := []storage.Link{{Path: path}}
	if !p.Chained(name) {
		return links, nil
	}
	states, err := p.states(ctx, name)
	for _, snap := range states {
		links = append(links, storage.Link{Snapshot: snap, Path: p.Device(volgroup.StateName(name, snap, suffix))})
	}
	return links, err
}

// SnapshotOpen is Snapshot for a volume that a QEMU has open.
func (p *pool) SnapshotOpen(ctx context.Context, name, snap string) error {
	return p.snapshot(ctx, name, snap, true)
}

// Widen makes the logical volume of a state as large as that of what lies above it.
func (p *pool) Widen(ctx context.Context, name, snap string) error {
	state, child, err := p.pair(ctx, name, snap)
	if err != nil || plan.From(ctx) != nil {
		return err
	}
	return p.makeRoom(ctx, state, child)
}

// Replace puts a state in the place of what lies right above it, which goes.
func (p *pool) Replace(ctx context.Context, name, snap string) error {
	state, child, err := p.pair(ctx, name, snap)
	if err != nil {
		return err
	}
	err = p.takeOver(ctx, state, child)
	if errors.Is(err, storage.ErrInUse) { // a QEMU that has not let go yet: the place is taken all the same
		api.Warnf(ctx, "%v", err)
		return nil
	}
	return err
}

// takeOver puts a state in the place of what lies above it.
func (p *pool) takeOver(ctx context.Context, state, child string) error {
	by := volgroup.Merged + child
	if err := p.Locked(context.WithoutCancel(ctx), func(ctx context.Context) error {
		return p.Tool.Rename(ctx, p.VG, state, by)
	}); err != nil {
		return err
	}
	return p.replace(ctx, by, child)
}

// pair returns the logical volumes of a state and of what lies right above it.
func (p *pool) pair(ctx context.Context, name, snap string) (state, child string, err error) {
	if _, err := p.checkChain(name, "delete snapshot for"); err != nil {
		return "", "", err
	}
	states, err := p.states(ctx, name)
	if err != nil {
		return "", "", err
	}
	child = name
	switch i := slices.Index(states, snap); {
	case i < 0:
		return "", "", storage.Told(fmt.Sprintf("snapshot '%s' does not exist on '%s'", snap, name), storage.ErrNotExist)
	case i > 0:
		child = volgroup.StateName(name, states[i-1], suffix)
	}
	return volgroup.StateName(name, snap, suffix), child, nil
}

var _ storage.Chainer = (*pool)(nil)
