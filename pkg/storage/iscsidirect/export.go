package iscsidirect

import (
	"context"
	"io"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// ExportFormats returns the formats in which a LUN can be written as a stream.
func (p *pool) ExportFormats(_ context.Context, name string, s storage.Stream) []string {
	if _, err := p.Parse(name); err != nil || s.Snapshot != "" || s.All || s.Base != "" || len(s.Snapshots) > 0 {
		return nil
	}
	return []string{"raw+size"}
}

// Export writes a LUN as a stream.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	if err := storage.CheckRawExport(p.Type, "from iscsi storage", s); err != nil {
		return err
	}
	if err := p.ActivateVolume(ctx, name, s.Snapshot); err != nil {
		return err
	}
	img, err := p.Image(ctx, name, s.Snapshot, false)
	if err != nil {
		return err
	}
	return storage.ExportDisk(ctx, p.Env, w, img)
}
