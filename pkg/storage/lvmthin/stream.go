package lvmthin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// ExportFormats returns the formats in which a volume, or a state of it, can be written.
func (p *pool) ExportFormats(_ context.Context, name string, s storage.Stream) []string {
	if _, err := p.Parse(name); err != nil || s.All || s.Base != "" || len(s.Snapshots) > 0 {
		return nil
	}
	return []string{"raw+size"}
}

// Export writes a volume, or a state of it, as a stream.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	if err := volgroup.CheckExport(p.Env, s); err != nil {
		return err
	}
	path, err := p.Path(name, s.Snapshot)
	if err != nil {
		return err
	}
	if err := p.ActivateVolume(ctx, name, s.Snapshot); err != nil {
		return err
	}
	if s.Snapshot != "" {
		defer func() { _ = p.DeactivateVolume(context.WithoutCancel(ctx), name, s.Snapshot) }()
	}
	return storage.ExportRaw(ctx, w, path, s)
}

// ImportFormats returns the formats from which a volume can be made.
func (p *pool) ImportFormats(_ context.Context, name string, s storage.Stream) []string {
	return volgroup.ImportFormats(p, p.Env, name, s)
}

// Import makes a volume from a stream. A base becomes one when it is whole.
func (p *pool) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	if err := storage.CheckRawStream(p, p.Type, name, s); err != nil {
		return "", err
	}
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	if !n.IsBase {
		return p.receiver().Receive(ctx, r, name, s, rename)
	}
	// It is the base whose name counts: its volume has another number where that is taken.
	receiver := p.receiver()
	receiver.Taken = func(ctx context.Context, _ string) (string, error) { return p.Taken(ctx, name) }
	made, err := receiver.Receive(ctx, r, "vm-"+strings.TrimPrefix(name, "base-"), s, rename)
	if err != nil {
		return "", err
	}
	base, err := p.CreateBase(ctx, made)
	if err != nil {
		return "", errors.Join(fmt.Errorf("make '%s' a base: %w", made, err), p.Free(context.WithoutCancel(ctx), made))
	}
	return base, nil
}

func (p *pool) receiver() storage.Receiver {
	return storage.Receiver{Pool: p, Taken: p.Taken}
}

var (
	_ storage.Exporter = (*pool)(nil)
	_ storage.Importer = (*pool)(nil)
)
