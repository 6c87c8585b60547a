package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// ImportFormats returns of what a volume can be made: one format or none.
func (t *Tree) ImportFormats(_ context.Context, name string, s storage.Stream) []string {
	n, err := Parse(name)
	if err != nil || n.Content != storage.Images || s.Base != "" {
		return nil
	}
	switch {
	case n.Format == "raw" && !s.All:
		return []string{"raw+size"}
	case n.Format == "subvol" && !s.All:
		return []string{"tar+size"}
	case (n.Format == "qcow2" || n.Format == "vmdk") && s.All:
		return []string{n.Format + "+size"}
	}
	return nil
}

// Import makes a volume from a stream.
func (t *Tree) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	n, err := Parse(name)
	if err != nil {
		return "", err
	}
	if err := CheckStream(t.Type, n, s); err != nil {
		return "", err
	}
	v := storage.Receiver{Pool: t, Taken: t.taken, Fill: t.fill}
	return v.Receive(ctx, r, name, s, rename)
}

// CheckStream fails unless a volume that is a file can be made from the stream.
func CheckStream(storageType string, n storage.Name, s storage.Stream) error {
	data, ok := strings.CutSuffix(s.Format, "+size")
	inside := data == "qcow2" || data == "vmdk"
	switch {
	case !ok:
		return storage.NoImport(storageType, s.Format)
	case inside && !s.All:
		return fmt.Errorf("format %s cannot be imported without snapshots", s.Format)
	case !inside && (s.All || len(s.Snapshots) > 0):
		return fmt.Errorf("format %s cannot be imported with snapshots", s.Format)
	case n.Content != storage.Images:
		return fmt.Errorf("cannot import format %s into a volume of content '%s'", s.Format, n.Content)
	case data != n.Format && (data != "tar" || n.Format != "subvol"):
		return fmt.Errorf("cannot import format %s into a file of format %s", s.Format, n.Format)
	case s.Base != "":
		return fmt.Errorf("cannot import format %s as an increment of '%s'", s.Format, s.Base)
	}
	return nil
}

// taken tells that a volume is there.
func (t *Tree) taken(ctx context.Context, name string) (string, error) {
	_, path, err := t.find(name)
	if err != nil || !taken(ctx, path) {
		return "", err
	}
	return "file '" + path + "' already exists", nil
}

// fill puts the data of a stream into a new volume.
func (t *Tree) fill(ctx context.Context, r io.Reader, name string, size int64) error {
	n, path, err := t.find(name)
	if err != nil {
		return err
	}
	switch n.Format {
	case "subvol":
		return ImportFolder(ctx, t.Env, r, path)
	case "raw":
		return storage.FillFile(ctx, r, path, storage.Filling{Size: size, Zeroed: true})
	}
	if err := storage.FillFile(ctx, r, path, storage.Filling{Size: size, Whole: true}); err != nil {
		return err
	}
	return t.checkReceived(ctx, n, path, size)
}

// checkReceived fails where an image that came in a stream is not what was announced, or
// leads QEMU to files that are none of the storage's.
func (t *Tree) checkReceived(ctx context.Context, n storage.Name, path string, size int64) error {
	info, err := storage.ImageInfo(ctx, t.Env, path, n.Format)
	if err != nil {
		return fmt.Errorf("import: the stream holds no %s image: %w", n.Format, err)
	}
	if info.Format != n.Format || info.Size != size {
		return fmt.Errorf("import: the stream announces %d bytes but holds a %s image of %d", size, info.Format, info.Size)
	}
	known := ""
	if backing.MatchString(info.Parent) { // a linked clone, if the base is here
		if c, _ := t.Locate(ctx, filepath.Join(filepath.Dir(path), info.Parent)); c == storage.Images {
			known = info.Parent
		}
	}
	if err := storage.CheckUntrusted(ctx, t.Env, path, n.Format, known); err != nil {
		return err
	}
	return t.checkWhole(ctx, n, path)
}

// checkWhole fails where a part of an image is missing: such streams have no end that could
// be told from a connection that was cut.
func (t *Tree) checkWhole(ctx context.Context, n storage.Name, path string) error {
	const leaks, unknown = 3, 63
	err := t.Runner.Run(ctx, run.Cmd{
		Path: t.QEMUImg, Args: []string{"check", "-q", "-f", n.Format, path}, Env: []string{"LC_ALL=C"}, ReadOnly: true,
	})
	if code := run.ExitCode(err); err == nil || code == leaks || code == unknown {
		return nil
	}
	return fmt.Errorf("import: the %s image in the stream is damaged or cut off: %w", n.Format, err)
}

// gonePath says of a file that is not there that the volume is not.
func gonePath(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", storage.ErrNotExist, err)
	}
	return err
}

var (
	_ storage.Exporter = (*Tree)(nil)
	_ storage.Importer = (*Tree)(nil)
)
