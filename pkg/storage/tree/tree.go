// Package tree keeps volumes as files in a folder, in the layout that all storages
// with a path have: images below images/<guest>, discs below template/iso, and so on.
//
// Types of storage that end in a folder, wherever it is mounted from, embed a [Tree]
// and add how the folder comes to be there. What is said here holds on any file
// system; a type with a better way overrides the method.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Tree is a folder that holds volumes.
type Tree struct {
	storage.Env
	Root          string            // the folder
	ContentDirs   map[string]string // folders of contents that are not where they usually are
	Preallocation string            // off, metadata, falloc, full; empty for what is usual
	MakeBase      bool              // make the folder itself when it is missing
	MakeSubdirs   bool              // make the folders of the contents

	// Remote says that the folder may be another machine's: it can hang, and is asked
	// whether it answers in a way that can be given up, before anything is done with it.
	Remote bool
	// Server names that machine, where it is known.
	Server string

	// StateFiles says that snapshots of qcow2 images are files of their own, see
	// [storage.Chainer].
	StateFiles bool
	// step is told in tests what is about to be done.
	step func(what string)
}

// Subdir returns the folder of a content.
func (t *Tree) Subdir(c storage.Content) (string, error) {
	usual := map[storage.Content]string{
		storage.Images: "images", storage.Rootdir: "private", storage.ISO: "template/iso",
		storage.Templates: "template/cache", storage.Backups: "dump", storage.Snippets: "snippets", storage.Imports: "import",
	}
	sub, ok := usual[c]
	if !ok {
		return "", fmt.Errorf("unknown vtype '%s'", c)
	}
	if other, ok := t.ContentDirs[string(c)]; ok {
		sub = strings.TrimPrefix(other, "/")
	}
	return filepath.Join(t.Root, sub), nil
}

// Path returns where a volume lies.
func (t *Tree) Path(name, snap string) (string, error) {
	n, err := t.Parse(name)
	if err != nil {
		return "", err
	}
	if snap != "" && n.Format != "qcow2" {
		return "", errors.New("can't snapshot this image format")
	}
	path, err := t.path(n)
	if err == nil && snap != "" && t.chained(n) {
		path = statePath(path, snap)
	}
	return path, err
}

// path returns where the volume that n is the name of lies.
func (t *Tree) path(n storage.Name) (string, error) {
	dir, err := t.Subdir(n.Content)
	if err != nil {
		return "", err
	}
	if n.Content == storage.Images {
		dir = filepath.Join(dir, n.Guest.String())
	}
	return filepath.Join(dir, n.File), nil
}

// How long a file system may take to answer that it is there. What is another machine's
// has been asked already, and may be busy.
const (
	patience       = 2 * time.Second
	remotePatience = 20 * time.Second
)

// Activate checks that the folder is there and makes those of the contents.
func (t *Tree) Activate(ctx context.Context) error {
	if t.Root == "" {
		return errors.New("storage definition has no path")
	}
	if err := t.Answers(ctx); err != nil {
		return err
	}
	return t.bounded(ctx, fmt.Sprintf("unable to activate storage '%s' - directory '%s'", t.ID, t.Root), func() error {
		if p := plan.From(ctx); p != nil {
			return nil // what is missing is made by the work that is only told of
		}
		if t.MakeBase {
			if err := os.MkdirAll(t.Root, 0o755); err != nil {
				return fmt.Errorf("unable to activate storage '%s' - %w", t.ID, err)
			}
		}
		if st, err := os.Stat(t.Root); err != nil || !st.IsDir() {
			return fmt.Errorf("unable to activate storage '%s' - directory '%s' does not exist or is unreachable", t.ID, t.Root)
		}
		return t.makeSubdirs()
	})
}

func (t *Tree) makeSubdirs() error {
	if !t.MakeSubdirs {
		return nil
	}
	seen := map[string]storage.Content{}
	for _, c := range t.Contents {
		dir, err := t.Subdir(c)
		if err != nil {
			continue // none
		}
		if other, ok := seen[dir]; ok {
			return fmt.Errorf("storage '%s' uses directory %s for multiple content types: %s and %s", t.ID, dir, other, c)
		}
		seen[dir] = c
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("unable to activate storage '%s' - %w", t.ID, err)
		}
	}
	return nil
}

// Deactivate has nothing to do.
func (t *Tree) Deactivate(context.Context) error { return nil }

// ActivateVolume checks that the volume is there.
func (t *Tree) ActivateVolume(ctx context.Context, name, snap string) error {
	path, err := t.Path(name, snap)
	if err != nil {
		return err
	}
	if n, image, err := t.find(name); err == nil {
		if err := t.finish(ctx, n, image); err != nil {
			return err
		}
	}
	return t.Bounded(ctx, func() error {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return storage.ErrNotExist
		}
		return err
	})
}

// DeactivateVolume has nothing to do.
func (t *Tree) DeactivateVolume(context.Context, string, string) error { return nil }

// Status asks the file system.
func (t *Tree) Status(ctx context.Context) (storage.Status, error) {
	probe := storage.ProbeHere
	switch {
	case !t.Remote:
		ctx = storage.WithPatience(ctx, patience)
	case t.Probe != nil:
		probe = t.Probe
	}
	st, err := probe(ctx, t.ID, t.Root)
	if err != nil {
		return st, t.unreachable(err)
	}
	return st, nil
}

// Bounded runs fn, which looks at the file system, no longer than a tree waits.
func (t *Tree) Bounded(ctx context.Context, fn func() error) error {
	return t.bounded(ctx, "storage '"+string(t.ID)+"'", fn)
}

// bounded runs fn, which may hang in the kernel when a server is gone, and leaves it
// behind when it does.
func (t *Tree) bounded(ctx context.Context, what string, fn func() error) error {
	patience := patience
	if t.Remote {
		patience = remotePatience
	}
	done := make(chan error, 1)
	go func() { done <- fn() }()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	case <-timeout.C:
		return fmt.Errorf("%s is unreachable: no answer in %s", what, patience)
	}
}
