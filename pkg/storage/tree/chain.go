package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A volume whose snapshots are files of their own consists of, in the folder of its guest,
//
//	vm-100-disk-0.qcow2              the volume: what has changed since the newest state
//	snap-NAME-vm-100-disk-0.qcow2    a state; the oldest holds what is older than all of them
//	.next-vm-100-disk-0.qcow2        what is to take the place of the volume
//
// Each names what lies below it without the folder.

// nextPrefix stands before the name of what is to take the place of a volume.
const nextPrefix = ".next-"

func nextPath(path string) string {
	return filepath.Join(filepath.Dir(path), nextPrefix+filepath.Base(path))
}

// statePath returns the file of a state of the volume at a path.
func statePath(path, snap string) string {
	return filepath.Join(filepath.Dir(path), "snap-"+snap+"-"+filepath.Base(path))
}

// snapName is how snapshots may be named.
var snapName = pattern.New(`^[a-zA-Z][a-zA-Z0-9_-]*$`)

// stateOf returns which state of the volume at a path a file would be; empty for none.
func stateOf(path, file string) string {
	snap, ok := strings.CutPrefix(filepath.Base(file), "snap-")
	snap, ends := strings.CutSuffix(snap, "-"+filepath.Base(path))
	if !ok || !ends || filepath.Dir(file) != filepath.Dir(path) || !snapName.MatchString(snap) {
		return ""
	}
	return snap
}

// chained tells whether snapshots of a volume are files of their own.
func (t *Tree) chained(n storage.Name) bool {
	return t.StateFiles && n.Content == storage.Images && n.Format == "qcow2"
}

// Chained tells whether snapshots of a volume are files of their own.
func (t *Tree) Chained(name string) bool {
	n, err := Parse(name)
	return err == nil && t.chained(n)
}

// parentOf returns the path of what an image lies on; empty for nothing.
func (t *Tree) parentOf(ctx context.Context, path string) (string, error) {
	info, err := storage.ImageInfo(silent(ctx), t.Env, path, "qcow2")
	if err != nil || info.Parent == "" {
		return "", err
	}
	if filepath.IsAbs(info.Parent) {
		return filepath.Clean(info.Parent), nil
	}
	return filepath.Join(filepath.Dir(path), info.Parent), nil
}

// silent keeps what is not there from being told: it may well be so.
func silent(ctx context.Context) context.Context {
	return api.WithStreams(ctx, api.Streams{Out: io.Discard, Err: io.Discard})
}

// mostLinks bounds how long a chain may be.
const mostLinks = 1000

// links returns the files of a volume, itself first, then the newest state, and what the
// last of them lies on: the base of a linked clone, or nothing.
func (t *Tree) links(ctx context.Context, path string) (found []storage.Link, base string, err error) {
	found = []storage.Link{{Path: path}}
	for {
		last := found[len(found)-1].Path
		parent, err := t.parentOf(ctx, last)
		if err != nil {
			return nil, "", err
		}
		snap := stateOf(path, parent)
		if snap == "" {
			return found, parent, nil
		}
		if len(found) > mostLinks || slices.ContainsFunc(found, func(l storage.Link) bool { return l.Path == parent }) {
			return nil, "", fmt.Errorf("image '%s' is backed by itself", path)
		}
		found = append(found, storage.Link{Snapshot: snap, Path: parent})
	}
}

// lowest returns how what all of an image lies on is named in it: of an image with states that
// is said by the oldest.
func (t *Tree) lowest(ctx context.Context, n storage.Name, path, parent string) string {
	if !t.chained(n) || parent == "" || stateOf(path, filepath.Join(filepath.Dir(path), parent)) == "" {
		return parent
	}
	links, _, err := t.links(ctx, path)
	if err != nil {
		return parent
	}
	info, err := storage.ImageInfo(silent(ctx), t.Env, links[len(links)-1].Path, "qcow2")
	if err != nil {
		return parent
	}
	return info.Parent
}

// leftovers returns the states of a volume and what was to take its place, by their names
// alone. What could be a state of two volumes is that of the longer name.
func (t *Tree) leftovers(n storage.Name, path string) ([]string, error) {
	if !t.chained(n) {
		return nil, nil
	}
	dir := filepath.Dir(path)
	files, err := names(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, file := range files {
		full := filepath.Join(dir, file)
		if full == nextPath(path) {
			found = append(found, full)
		}
		if stateOf(path, full) == "" || slices.ContainsFunc(files, func(other string) bool {
			return len(other) > len(n.File) && other != file && !strings.HasPrefix(other, "snap-") && stateOf(filepath.Join(dir, other), full) != ""
		}) {
			continue
		}
		found = append(found, full)
	}
	return found, nil
}

// leftBehind says that a name cannot be taken.
func leftBehind(files []string) error {
	if len(files) == 0 {
		return nil
	}
	return storage.Told(fmt.Sprintf("'%s' is left of a volume with this name: look whether it is needed, or free that volume", files[0]), storage.ErrExists)
}

// freeStates removes the states of a volume, the volume being removed last: as long as it is
// there it is listed, and can be removed again. It needs the lock.
func (t *Tree) freeStates(ctx context.Context, n storage.Name, path string) error {
	files, err := t.leftovers(n, path)
	if err != nil {
		return err
	}
	for _, file := range files {
		t.about("free " + filepath.Base(file))
		if err := t.unlink(ctx, file); err != nil {
			return err
		}
	}
	if len(files) > 0 && plan.From(ctx) == nil && !taken(ctx, path) {
		_ = os.Remove(filepath.Dir(path)) // the folder, when nothing else is in it
	}
	return nil
}

// unlink removes a file.
func (t *Tree) unlink(ctx context.Context, path string) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("rm %s", run.Quote(path))
		return nil
	}
	if err := gone(os.Remove(path)); err != nil {
		return fmt.Errorf("unlink '%s' failed - %w", path, errors.Unwrap(err))
	}
	return nil
}

// about tells a test what comes next.
func (t *Tree) about(what string) {
	if t.step != nil {
		t.step(what)
	}
}

// inParts tells whether a volume has states that are files of their own.
func (t *Tree) inParts(ctx context.Context, n storage.Name) bool {
	path, err := t.path(n)
	return err == nil && t.noStatesAt(ctx, n, path) != nil
}

// noStatesAt fails where the image at a path has states that are files of their own.
func (t *Tree) noStatesAt(ctx context.Context, n storage.Name, path string) error {
	if !t.chained(n) || plan.From(ctx) != nil {
		return nil
	}
	links, _, err := t.links(ctx, path)
	if err == nil && len(links) > 1 {
		err = errStates
	}
	return err
}

// errStates says why a volume with snapshots stays where it is.
var errStates = errors.New("we can't rename volume if a snapshot backed by a volume-chain exists")

// mayMove fails where a volume has states that would lose it. It needs the lock.
func (t *Tree) mayMove(ctx context.Context, n storage.Name, path string) error {
	if !t.chained(n) || plan.From(ctx) != nil {
		return nil
	}
	if err := t.settle(ctx, path); err != nil {
		return err
	}
	if err := t.noStatesAt(ctx, n, path); !errors.Is(err, storage.ErrNotExist) {
		return err
	}
	return nil
}

// noStates fails where an image that lies on parent has states that are files of their own.
func (t *Tree) noStates(n storage.Name, parent, cannot string) error {
	path, err := t.path(n)
	if err != nil || !t.chained(n) || parent == "" || stateOf(path, filepath.Join(filepath.Dir(path), parent)) == "" {
		return err
	}
	return errors.New(cannot)
}

// states lists the states of a volume, the oldest first.
func (t *Tree) states(ctx context.Context, name string) ([]storage.Snapshot, error) {
	links, err := t.Chain(ctx, name)
	if err != nil {
		return nil, err
	}
	var found []storage.Snapshot
	for _, l := range slices.Backward(links[1:]) {
		s := storage.Snapshot{Name: l.Snapshot, ID: filepath.Base(l.Path)}
		// The last thing that was written to it before; that is the best known.
		if st, err := os.Stat(l.Path); err == nil {
			s.Created = st.ModTime()
		}
		found = append(found, s)
	}
	return found, nil
}
