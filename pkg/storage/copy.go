package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// Copy says what to copy into a new volume.
type Copy struct {
	Source  string     // a volume, or a path of the host
	Storage id.Storage // where the copy goes
	Guest   id.VM
	Format  string // of the copy; empty for the default of the storage
	File    string // the last part of its name; empty lets the storage choose
	ConvertOptions
	// Allocated is told of the new volume before the data is copied. It may be nil.
	Allocated func(id.Volume)
}

// Copy makes a new volume with the content of another, or of a file. What a failed or
// ended copy has begun is gone.
func (s *Service) Copy(ctx context.Context, c Copy) (id.Volume, error) {
	size, err := s.Size(ctx, c.Source)
	if err != nil {
		return id.Volume{}, err
	}
	v, err := s.Alloc(ctx, c.Storage, Alloc{Guest: c.Guest, Format: c.Format, File: c.File, Size: (size + 1023) / 1024})
	if err != nil {
		return id.Volume{}, err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("free "+v.String(), func(ctx context.Context) error { return s.Free(ctx, v) })
	if c.Allocated != nil {
		c.Allocated(v)
	}
	if c.Zeroed, err = s.Has(ctx, FeatureSparse, v, ""); err != nil {
		return id.Volume{}, err
	}
	if err := s.Convert(ctx, c.Source, v.String(), c.ConvertOptions); err != nil {
		return id.Volume{}, err
	}
	undo.Success()
	return v, nil
}

// Size returns the size of the disk that text, a volume or a path of the host, holds.
func (s *Service) Size(ctx context.Context, text string) (int64, error) {
	if plan.From(ctx) == nil {
		if v, err := id.ParseVolume(text); err == nil {
			if err := s.Activate(ctx, v.Storage); err != nil {
				return 0, err
			}
		}
	}
	img, err := s.Image(ctx, text, "", false)
	if err != nil {
		return 0, err
	}
	size, err := s.sizeOf(ctx, text, img)
	if errors.Is(err, ErrNotExist) {
		return 0, Told("could not get size of "+text, err) // which file was told already
	}
	if err != nil {
		return 0, fmt.Errorf("could not get size of %s: %w", text, err)
	}
	return size, nil
}
