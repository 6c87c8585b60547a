package destroy

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// removeDir removes the folder that LXC has for a container. Below the place where its root
// is mounted nothing is removed: were it mounted after all, that would be somebody's files.
func (s *Service) removeDir(ctx context.Context, vmid id.VM) error {
	dir := s.Dir(vmid)
	if plan.From(ctx) != nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return errors.Join(err, os.Remove(dir))
}
