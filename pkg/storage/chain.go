package storage

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// A Chainer keeps snapshots of volumes as volumes of their own. The present one is an
// image that holds what has changed since the newest state, which it names as what lies
// below it, and so on down to the oldest.
//
// Of a stopped guest that is the storage's own matter. A running QEMU has all of the chain
// open, knows it by names it was once given, and must be told of changes by whoever makes
// them. It is an optional ability of a [Pool].
type Chainer interface {
	Snapshotter
	// Chained tells whether snapshots of the volume are volumes. It only looks at the text.
	Chained(name string) bool
	// Chain returns what the volume consists of: itself, then its states, the newest first.
	Chain(ctx context.Context, name string) ([]Link, error)
	// SnapshotOpen is Snapshot for a volume that a QEMU has open. That goes on writing to what
	// is the state now, until it is told to use the volume again.
	SnapshotOpen(ctx context.Context, name, snap string) error
	// Widen makes a state large enough for what lies right above it to be merged into it.
	Widen(ctx context.Context, name, snap string) error
	// Replace puts a state in the place of what lies right above it, a newer state or the
	// volume, which goes. The state holds all that was there, or is what a QEMU writes to.
	Replace(ctx context.Context, name, snap string) error
}

// A Link is one part of a chain.
type Link struct {
	Snapshot string // the name of the state; empty for the volume itself
	Path     string
}

// Chained tells whether the snapshots of a volume are volumes of their own.
func (s *Service) Chained(ctx context.Context, v id.Volume) (bool, error) {
	p, err := s.Pool(ctx, v.Storage)
	if err != nil {
		return false, err
	}
	c, ok := p.(Chainer)
	return ok && c.Chained(v.Name), nil
}

// Chain returns what a volume consists of whose snapshots are volumes.
func (s *Service) Chain(ctx context.Context, v id.Volume) ([]Link, error) {
	p, err := ability[Chainer](ctx, s, v, cannotChain)
	if err != nil {
		return nil, err
	}
	return p.Chain(ctx, v.Name)
}

// cannotChain is told of types that keep snapshots otherwise.
const cannotChain = "can't keep snapshots of volumes of type '%s' as volumes"

// SnapshotOpen keeps the state of a volume that a running QEMU has open, see [Chainer].
func (s *Service) SnapshotOpen(ctx context.Context, v id.Volume, snap string) error {
	p, err := ability[Chainer](ctx, s, v, cannotChain)
	if err != nil {
		return err
	}
	return p.SnapshotOpen(ctx, v.Name, snap)
}

// WidenSnapshot makes room in a state for what lies right above it, see [Chainer].
func (s *Service) WidenSnapshot(ctx context.Context, v id.Volume, snap string) error {
	p, err := ability[Chainer](ctx, s, v, cannotChain)
	if err != nil {
		return err
	}
	return p.Widen(ctx, v.Name, snap)
}

// ReplaceBySnapshot puts a state in the place of what lies right above it, see [Chainer].
func (s *Service) ReplaceBySnapshot(ctx context.Context, v id.Volume, snap string) error {
	p, err := ability[Chainer](ctx, s, v, cannotChain)
	if err != nil {
		return err
	}
	return p.Replace(ctx, v.Name, snap)
}
