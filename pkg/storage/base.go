package storage

import (
	"context"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// A BaseKeeper knows whether a base has clones. It is an optional ability of a [Pool].
type BaseKeeper interface {
	// CheckUnused returns an ErrInUse for a base that has clones, nil for all else.
	CheckUnused(ctx context.Context, name string) error
}

// BaseFile returns what an image is called as a base: base-100-disk-0 for vm-100-disk-0.
func BaseFile(file string) string {
	return "base-" + strings.TrimPrefix(file, "vm-")
}

// CheckUnused returns an [ErrInUse] where a volume is a base that has linked clones.
func (s *Service) CheckUnused(ctx context.Context, v id.Volume) error {
	p, err := s.use(ctx, v.Storage)
	if err != nil {
		return err
	}
	if k, ok := p.(BaseKeeper); ok {
		return k.CheckUnused(ctx, v.Name)
	}
	return nil
}
