package zfspool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dataset"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// ExportFormats returns how a volume can be written: a state of it as ZFS does, with the
// states before, else its data alone.
func (p *pool) ExportFormats(_ context.Context, name string, s storage.Stream) []string {
	n, err := dataset.Parse(name)
	switch {
	case err != nil:
		return nil
	case s.Snapshot != "":
		return []string{"zfs"}
	case s.Base != "" || s.All || len(s.Snapshots) > 0:
		return nil
	case n.Format == "subvol":
		return []string{"tar+size"}
	}
	return []string{"raw+size"}
}

// ImportFormats returns from what a volume can be made.
func (p *pool) ImportFormats(ctx context.Context, name string, s storage.Stream) []string {
	return p.ExportFormats(ctx, name, s)
}

// Export writes a volume as a stream.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	n, err := dataset.Parse(name)
	switch {
	case err != nil:
		return err
	case s.Format == "zfs" && s.Snapshot == "":
		return errors.New("zfspool storage can only export snapshots")
	case !slices.Contains(p.ExportFormats(ctx, name, s), s.Format):
		return storage.NoExport(p.Type, s.Format)
	case s.Format == "zfs":
		return p.send(ctx, w, n, s)
	}
	if err := p.ActivateVolume(ctx, name, ""); err != nil {
		return err
	}
	path, err := p.Path(name, "")
	if err != nil {
		return err
	}
	if n.Format == "subvol" {
		return tree.ExportFolder(ctx, p.Env, w, path)
	}
	return storage.ExportRaw(ctx, w, path, s)
}

// send writes a state of a volume as ZFS does.
func (p *pool) send(ctx context.Context, w io.Writer, n storage.Name, s storage.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, in := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := p.ZFS.Send(ctx, in, api.StreamsOf(ctx).Err, p.Dataset(n.File), zfs.Range{Snapshot: s.Snapshot, Base: s.Base, Between: s.All})
		_ = in.CloseWithError(err) // what reads it sees why it ends
		sent <- err
	}()
	_, err := io.Copy(w, r)
	if err != nil {
		cancel(err)
		_ = r.CloseWithError(err)
	}
	if failed := <-sent; failed != nil && (err == nil || errors.Is(err, failed)) {
		return failed
	}
	return err
}

// Import makes a volume from a stream, or brings one up to date.
func (p *pool) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	n, err := dataset.Parse(name)
	switch {
	case err != nil:
		return "", err
	case !slices.Contains(p.ImportFormats(ctx, name, s), s.Format):
		return "", storage.NoImport(p.Type, s.Format)
	case s.Format == "zfs" && s.Base != "":
		return name, p.update(ctx, r, n, s)
	case s.Format == "zfs":
		return p.receive(ctx, r, n, rename)
	}
	v := storage.Receiver{Pool: p, Taken: func(ctx context.Context, _ string) (string, error) {
		there, err := p.ZFS.Exists(ctx, p.Dataset(n.File))
		if err != nil || !there {
			return "", err
		}
		return fmt.Sprintf("volume '%s' already exists", p.Dataset(n.File)), nil
	}}
	if n.Format == "subvol" {
		v.Fill = func(ctx context.Context, r io.Reader, name string, _ int64) error {
			path, err := p.Path(name, "")
			if err != nil {
				return err
			}
			return tree.ImportFolder(ctx, p.Env, r, path)
		}
	}
	return v.Receive(ctx, r, name, s, rename)
}

// receive makes a volume of a stream of ZFS. The name is taken by zfs, which makes no
// dataset where there is one: so nothing of others is lost, whoever comes first.
func (p *pool) receive(ctx context.Context, r io.Reader, n storage.Name, rename bool) (string, error) {
	file := n.File
	there, err := p.ZFS.Exists(ctx, p.Dataset(file))
	switch {
	case err != nil:
		return "", err
	case there && !rename:
		return "", storage.Told(fmt.Sprintf("volume '%s' already exists", p.Dataset(file)), storage.ErrExists)
	case there:
		fmt.Fprintf(api.StreamsOf(ctx).Err, "volume '%s' already exists - importing with a different name\n", p.Dataset(file))
		if file, err = p.Choose(ctx, n.Guest, n.Format); err != nil {
			return "", err
		}
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	err = p.ZFS.Receive(ctx, r, api.StreamsOf(ctx).Err, p.Dataset(file), false)
	if errors.Is(err, zfs.ErrExists) {
		return "", storage.Told(fmt.Sprintf("volume '%s' already exists", p.Dataset(file)), storage.ErrExists)
	}
	undo.Add("destroy "+p.Dataset(file), func(ctx context.Context) error {
		if err := p.ZFS.Destroy(ctx, p.Dataset(file)); !errors.Is(err, zfs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	if n.Format == "raw" && plan.From(ctx) == nil {
		if err := p.changed(ctx, file); err != nil {
			return "", err
		}
	}
	undo.Success()
	return file, nil
}

// update brings a volume up to date that has the state which the stream builds on. When
// that fails, it is as it was in that state.
func (p *pool) update(ctx context.Context, r io.Reader, n storage.Name, s storage.Stream) error {
	base := p.Dataset(n.File) + "@" + s.Base
	switch there, err := p.ZFS.Exists(ctx, base); {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("base snapshot '%s' doesn't exist", base)
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("roll back to "+base, func(ctx context.Context) error { return p.ZFS.RollbackOver(ctx, p.Dataset(n.File), s.Base) })
	if err := p.ZFS.Receive(ctx, r, api.StreamsOf(ctx).Err, p.Dataset(n.File), true); err != nil {
		return err
	}
	undo.Success()
	if n.Format == "raw" && plan.From(ctx) == nil {
		return p.changed(ctx, n.File)
	}
	return nil
}

var (
	_ storage.Exporter        = (*pool)(nil)
	_ storage.Importer        = (*pool)(nil)
	_ storage.Configurer      = (*pool)(nil)
	_ storage.VolumeActivator = (*pool)(nil)
	_ storage.Resizer         = (*pool)(nil)
	_ storage.Snapshotter     = (*pool)(nil)
	_ storage.Cloner          = (*pool)(nil)
	_ storage.BaseCreator     = (*pool)(nil)
	_ storage.BaseKeeper      = (*pool)(nil)
	_ storage.Renamer         = (*pool)(nil)
)
