package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Free removes a volume, and the folder of its guest when nothing is left there.
func (t *Tree) Free(ctx context.Context, name string) error {
	n, path, err := t.find(name)
	if err != nil {
		return err
	}
	if n.Content == storage.Backups && file.Exists(protection(path)) {
		return fmt.Errorf("cannot remove protected volume '%s' on '%s'", name, t.ID)
	}
	return t.locked(ctx, func(ctx context.Context) error {
		if n.IsBase {
			if err := t.unused(ctx, n, name, path); err != nil {
				return err
			}
		}
		if err := t.freeStates(ctx, n, path); err != nil {
			return err
		}
		if !taken(ctx, path) {
			fmt.Fprintf(api.StreamsOf(ctx).Err, "disk image '%s' does not exist\n", path)
			return nil
		}
		if p := plan.From(ctx); p != nil {
			p.Stepf("rm %s", run.Quote(path))
			p.Write(path, nil)
			return nil
		}
		return t.remove(n, path)
	})
}

func (t *Tree) remove(n storage.Name, path string) error {
	if n.IsBase && !t.Disposable {
		_ = immutable(path, false)
	}
	remove := os.Remove
	if n.Format == "subvol" {
		remove = os.RemoveAll
	}
	if err := remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unlink '%s' failed - %w", path, errors.Unwrap(err))
	}
	switch n.Content {
	case storage.Images:
		_ = os.Remove(filepath.Dir(path)) // fails as long as something is in it
	case storage.Backups:
		_ = os.Remove(notes(path))
		_ = os.Remove(backupExt.ReplaceAllString(path, ".log"))
	}
	return nil
}

// backupExt is what the log of a backup has other than the backup.
var backupExt = pattern.New(`\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)$`)

// unused fails when a base has clones.
func (t *Tree) unused(ctx context.Context, base storage.Name, name, path string) error {
	inUse := storage.Told("base volume '"+name+"' is still in use by linked clones", storage.ErrInUse)
	if kept(path) {
		return inUse
	}
	// A clone may be the oldest state of a volume, too.
	return t.eachFile(0, func(_, clone string) error {
		if filepath.Ext(clone) != ".qcow2" || !taken(ctx, clone) {
			return nil
		}
		if st, err := os.Stat(clone); err == nil && st.Size() == 0 {
			return nil // it is being made; of a clone kept has told
		}
		info, err := storage.ImageInfo(ctx, t.Env, clone, "qcow2")
		switch {
		case errors.Is(err, storage.ErrNotExist): // it has just been removed
			return nil
		case err != nil: // rather a base too many than a clone without one
			return fmt.Errorf("cannot tell whether '%s' is a clone of base volume '%s': %w", clone, name, err)
		case info.Parent == "":
			return nil
		}
		parent := info.Parent
		if !filepath.IsAbs(parent) {
			parent = filepath.Join(filepath.Dir(clone), parent)
		}
		if filepath.Clean(parent) == filepath.Clean(path) {
			return inUse
		}
		return nil
	})
}

// immutable sets or clears the flag that keeps even root from changing a file.
func immutable(path string, on bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only its flags are changed
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	const flag = 0x10 // FS_IMMUTABLE_FL
	flags &^= flag
	if on {
		flags |= flag
	}
	return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags))
}
