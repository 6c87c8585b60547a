package outside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// ExportFormats returns the formats in which an image can be written: what QEMU can read
// can be written as a raw disk.
func (p *pool) ExportFormats(_ context.Context, name string, s storage.Stream) []string {
	n, err := p.Parse(name)
	if err != nil || n.Content != storage.Images || n.Format == "subvol" || s.All || s.Base != "" || len(s.Snapshots) > 0 {
		return nil
	}
	if s.Snapshot != "" && !p.Has(storage.FeatureCopy, name, s.Snapshot) {
		return nil
	}
	return []string{"raw+size"}
}

// Export writes an image, or a state of it, as a stream.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	n, err := p.Parse(name)
	switch {
	case err != nil:
		return err
	case s.Format != "raw+size":
		return storage.NoExport(p.Type, s.Format)
	case len(p.ExportFormats(ctx, name, s)) == 0:
		return fmt.Errorf("storage '%s' cannot write this of '%s' as a stream", p.ID, name)
	}
	if err := p.ActivateVolume(ctx, name, s.Snapshot); err != nil {
		return err
	}
	path, err := p.Path(name, s.Snapshot)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil && n.Format == "raw" {
		return storage.ExportRaw(ctx, w, path, s)
	}
	return storage.ExportImage(ctx, p.Env, w, path, n.Format)
}

// ImportFormats returns the formats from which an image can be made.
func (p *pool) ImportFormats(_ context.Context, name string, s storage.Stream) []string {
	s.Format = "raw+size"
	if p.described.Existing || storage.CheckRawStream(p, p.Type, name, s) != nil {
		return nil
	}
	return []string{s.Format}
}

// Import makes an image from a stream.
func (p *pool) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	if err := storage.CheckRawStream(p, p.Type, name, s); err != nil {
		return "", err
	}
	v := storage.Receiver{Pool: p, Taken: func(ctx context.Context, name string) (string, error) {
		switch _, err := p.Info(ctx, name); {
		case err == nil:
			return fmt.Sprintf("volume '%s:%s' already exists", p.ID, name), nil
		case errors.Is(err, storage.ErrNotExist):
			return "", nil
		default:
			return "", err
		}
	}}
	return v.Receive(ctx, r, name, s, rename)
}
