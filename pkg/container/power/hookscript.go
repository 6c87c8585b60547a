package power

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// hookScript runs the hook script of a container, a snippet volume, where it has one.
func (s *Service) hookScript(ctx context.Context, vmid id.VM, doc *config.Doc, phase hook.Phase) error {
	volume := doc.Values["hookscript"]
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
