package lvm

import (
	"context"
	"errors"
	"io"

	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// ExportFormats returns the formats in which a volume, or a state of it, can be written.
func (p *pool) ExportFormats(_ context.Context, name string, s storage.Stream) []string {
	n, err := p.Parse(name)
	if err != nil || s.All || s.Base != "" || len(s.Snapshots) > 0 || s.Snapshot != "" && n.Format != "qcow2" {
		return nil
	}
	return []string{"raw+size"}
}

// Export writes a volume, or a state of it, as a stream.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	if err := volgroup.CheckExport(p.Env, s); err != nil {
		return err
	}
	if s.Snapshot != "" && n.Format != "qcow2" {
		return errors.New("cannot export a snapshot of a volume that has none")
	}
	path, err := p.Path(name, s.Snapshot)
	if err != nil {
		return err
	}
	if err := p.ActivateVolume(ctx, name, s.Snapshot); err != nil {
		return err
	}
	if n.Format == "qcow2" {
		return storage.ExportImage(ctx, p.Env, w, path, n.Format)
	}
	return storage.ExportRaw(ctx, w, path, s)
}

// ImportFormats returns the formats from which a volume can be made.
func (p *pool) ImportFormats(_ context.Context, name string, s storage.Stream) []string {
	return volgroup.ImportFormats(p, p.Env, name, s)
}

// Import makes a volume from a stream.
func (p *pool) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	if err := storage.CheckRawStream(p, p.Type, name, s); err != nil {
		return "", err
	}
	return storage.Receiver{Pool: p, Taken: p.Taken}.Receive(ctx, r, name, s, rename)
}

var (
	_ storage.Exporter = (*pool)(nil)
	_ storage.Importer = (*pool)(nil)
)
