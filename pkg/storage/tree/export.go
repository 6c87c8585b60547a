package tree

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// ExportFormats returns how a volume can be written: one format or none. States inside
// an image go only with all of it.
func (t *Tree) ExportFormats(ctx context.Context, name string, s storage.Stream) []string {
	n, err := Parse(name)
	if err != nil || n.Content != storage.Images || s.Snapshot != "" || s.Base != "" || len(s.Snapshots) > 0 {
		return nil
	}
	switch {
	case s.All && t.inParts(ctx, n):
		return nil // they would be left behind
	case s.All && (n.Format == "qcow2" || n.Format == "vmdk"):
		return []string{n.Format + "+size"}
	case s.All:
		return nil
	case n.Format == "subvol":
		return []string{"tar+size"}
	}
	return []string{"raw+size"}
}

// Export writes a volume as a stream.
func (t *Tree) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	n, path, err := t.find(name)
	if err != nil {
		return err
	}
	formats := t.ExportFormats(ctx, name, s)
	if len(formats) == 0 || formats[0] != s.Format {
		return storage.NoExport(t.Type, s.Format)
	}
	if _, err := os.Stat(path); err != nil {
		return gonePath(err)
	}
	switch {
	case n.Format == "subvol":
		return ExportFolder(ctx, t.Env, w, path)
	case n.Format == "raw":
		return storage.ExportRaw(ctx, w, path, s)
	case s.All:
		info, err := storage.ImageInfo(ctx, t.Env, path, n.Format)
		if err != nil {
			return err
		}
		return storage.ExportFile(ctx, w, path, info.Size, s)
	}
	return storage.ExportImage(ctx, t.Env, w, path, n.Format)
}

// ExportFolder writes a tar+size stream of a folder, which has no size to announce.
func ExportFolder(ctx context.Context, env storage.Env, w io.Writer, path string) error {
	if err := storage.WriteHeader(w, 0); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	return storage.Tool(env.Runner.Run(ctx, run.Cmd{
		Path: "tar", Args: append(tarFlags(), "-cf", "-", "-C", path, "."), Env: []string{"LC_ALL=C"},
		Stdout: storage.ProgramOutput(ctx, w), Stderr: api.StreamsOf(ctx).Err, ReadOnly: true,
	}))
}

// ImportFolder fills a folder with what ExportFolder has written, after the size.
func ImportFolder(ctx context.Context, env storage.Env, r io.Reader, path string) error {
	return storage.Tool(env.Run(ctx, run.Cmd{
		Path: "tar", Args: append(tarFlags(), "-C", path, "-xf", "-"), Env: []string{"LC_ALL=C"},
		Stdin: storage.ProgramInput(ctx, r), Stdout: api.StreamsOf(ctx).Out, Stderr: api.StreamsOf(ctx).Err,
	}))
}

// tarFlags keep of the files of a container all that it can tell apart.
func tarFlags() []string {
	return []string{
		"--one-file-system", "-p", "--sparse", "--numeric-owner", "--acls", "--xattrs",
		"--xattrs-include=user.*", "--xattrs-include=security.capability", "--warning=no-file-ignored", "--warning=no-xattr-write",
	}
}
