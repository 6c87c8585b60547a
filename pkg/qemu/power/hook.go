package power

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// preStart runs the hook script before anything is made; it may forbid the start.
func (s *Service) preStart(ctx context.Context, b *boot) error {
	return s.hook(ctx, b.vm, b.doc.Values["hookscript"], hook.PreStart)
}

// hook runs the hook script of a VM, a snippet volume, where it has one.
func (s *Service) hook(ctx context.Context, vmid id.VM, volume string, phase hook.Phase) error {
	if volume == "" {
		return nil
	}
	v, err := id.ParseVolume(volume)
	if err != nil {
		return fmt.Errorf("hookscript: %w", err)
	}
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return fmt.Errorf("hookscript: %w", err)
	}
	return hook.Run(ctx, s.Run, hook.Script{Volume: volume, Path: path}, vmid, phase)
}
