package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Chain returns the files of a volume: itself, then its states, the newest first.
func (t *Tree) Chain(ctx context.Context, name string) ([]storage.Link, error) {
	n, path, err := t.find(name)
	if err != nil {
		return nil, err
	}
	if !t.chained(n) {
		return []storage.Link{{Path: path}}, nil
	}
	if err := t.finish(ctx, n, path); err != nil {
		return nil, err
	}
	links, _, err := t.links(ctx, path)
	return links, err
}

// finish does what is left to do of a change that was cut off when the volume had no file.
func (t *Tree) finish(ctx context.Context, n storage.Name, path string) error {
	if !t.chained(n) || plan.From(ctx) != nil {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return nil //nolint:nilerr // whoever opens it will tell
	}
	if _, err := os.Lstat(nextPath(path)); err != nil {
		return nil //nolint:nilerr // the volume does not exist
	}
	return t.locked(ctx, func(ctx context.Context) error { return t.settle(ctx, path) })
}

// settle finishes or undoes a change of the files of a volume that was cut off. It needs the
// lock: what it finds is nobody's work then.
func (t *Tree) settle(ctx context.Context, path string) error {
	if plan.From(ctx) != nil {
		return nil
	}
	next := nextPath(path)
	if _, err := os.Lstat(next); err != nil {
		return gone(err)
	}
	now, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) { // it has become a state already
		return os.Rename(next, path)
	}
	if err != nil {
		return err
	}
	// The volume is what it was, but may have the name of a state too.
	if parent, err := t.parentOf(ctx, next); err == nil && stateOf(path, parent) != "" {
		if state, err := os.Lstat(parent); err == nil && os.SameFile(now, state) {
			if err := gone(os.Remove(parent)); err != nil {
				return err
			}
		}
	}
	return gone(os.Remove(next))
}

// addState keeps the state of a volume: it gets the name of a state, and an empty image on top
// of it takes its place.
func (t *Tree) addState(ctx context.Context, name, snap string) error {
	n, path, err := t.find(name)
	if err != nil {
		return err
	}
	if !snapName.MatchString(snap) || snap == "current" {
		return fmt.Errorf("invalid snapshot name '%s'", snap)
	}
	if n.IsBase {
		return errors.New("can't snapshot a base image")
	}
	state := statePath(path, snap)
	return t.locked(ctx, func(ctx context.Context) error {
		if err := t.settle(ctx, path); err != nil {
			return err
		}
		if err := t.vacate(ctx, n, path, state); err != nil {
			return err
		}
		if err := t.overlay(ctx, path, path, state); err != nil {
			return fmt.Errorf("can't allocate new volume %s with %s backing image: %w", name, snap, err)
		}
		if p := plan.From(ctx); p != nil {
			p.Stepf("mv %s %s", run.Quote(path), run.Quote(state))
			p.Stepf("mv %s %s", run.Quote(nextPath(path)), run.Quote(path))
			return nil
		}
		return t.shift(path, state)
	})
}

// vacate sees to it that the name of a state is free. A file that has it and is nothing that the
// volume lies on is left of a removal that was cut off. It needs the lock.
func (t *Tree) vacate(ctx context.Context, n storage.Name, path, state string) error {
	if !taken(ctx, state) {
		return nil
	}
	links, _, err := t.links(ctx, path)
	if err != nil {
		return err
	}
	left, err := t.leftovers(n, path)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(links, func(l storage.Link) bool { return l.Path == state }) || !slices.Contains(left, state) {
		return storage.Told(fmt.Sprintf("snapshot '%s' of '%s' exists already", stateOf(path, state), imageVolume(n)), storage.ErrExists)
	}
	return t.unlink(ctx, state)
}

// SnapshotOpen is Snapshot: a QEMU that has the file open is not bothered by its names.
func (t *Tree) SnapshotOpen(ctx context.Context, name, snap string) error {
	return t.addState(ctx, name, snap)
}

// overlay makes what is to take the place of the volume at a path: an empty image of the size
// of another, on top of a state. It needs the lock, by which others know that it is nothing
// that was left behind.
func (t *Tree) overlay(ctx context.Context, path, like, state string) error {
	size := "0"
	if plan.From(ctx) == nil {
		info, err := storage.ImageInfo(ctx, t.Env, like, "qcow2")
		if err != nil {
			return err
		}
		size = strconv.FormatInt(info.Size, 10)
	}
	next := nextPath(path)
	// No extended_l2, and so nothing allocated beforehand: QEMU before 8.2 ends where it has to copy
	// into such an image of a running guest.
	t.about("make next")
	err := t.show(ctx, "create", "-q", "-f", "qcow2", "-u", "-b", filepath.Base(state), "-F", "qcow2", next, size)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && plan.From(ctx) == nil {
		t.about("sync next")
		err = t.adopt(path, next)
	}
	if err != nil && plan.From(ctx) == nil {
		_ = os.Remove(next)
	}
	return err
}

// adopt gives a new file what the volume has of owner and mode, and has it written down.
func (t *Tree) adopt(path, next string) error {
	f, err := os.OpenFile(next, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // Sync has said what there is to say
	if st, err := os.Stat(path); err == nil {
		_ = f.Chmod(st.Mode().Perm()) // shares may know no modes
	}
	return f.Sync()
}

// shift makes the volume a state and what was made for it the volume. It needs the lock.
func (t *Tree) shift(path, state string) error {
	next := nextPath(path)
	t.about("name state")
	err := os.Link(path, state) // so that the volume has a file at each moment
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EMLINK) {
		err = os.Rename(path, state)
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(next)))
	}
	t.about("name next")
	if err := os.Rename(next, path); err != nil {
		// Back to where it was; a rename to another name of the same file does nothing.
		return errors.Join(err, os.Rename(state, path), gone(os.Remove(state)), gone(os.Remove(next)))
	}
	return syncFolder(path)
}

// syncFolder has the names in the folder of a file written down.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only read
	// Some file systems have nothing to be written down.
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}

// canReturn says why a volume cannot go back: only the newest state can be gone back to, as
// the others are what it lies on.
func (t *Tree) canReturn(ctx context.Context, name, snap string) error {
	links, err := t.Chain(ctx, name)
	if err != nil {
		return err
	}
	links = links[1:]
	switch i := slices.IndexFunc(links, func(l storage.Link) bool { return l.Snapshot == snap }); {
	case i < 0:
		return storage.Told(fmt.Sprintf("can't rollback, snapshot '%s' does not exist on '%s'", snap, name), storage.ErrNotExist)
	case i > 0:
		var newer []string
		for _, l := range slices.Backward(links[:i]) {
			newer = append(newer, l.Snapshot)
		}
		return &storage.BlockedError{Text: fmt.Sprintf("can't rollback, '%s' is not most recent snapshot on '%s'", snap, name), Blockers: newer}
	}
	return nil
}

// returnTo puts an empty image on top of the newest state in the place of the volume.
func (t *Tree) returnTo(ctx context.Context, name, snap string) error {
	if err := t.canReturn(ctx, name, snap); err != nil {
		return err
	}
	_, path, err := t.find(name)
	if err != nil {
		return err
	}
	if err := t.closed(ctx, path); err != nil {
		return err
	}
	state := statePath(path, snap)
	return t.locked(ctx, func(ctx context.Context) error {
		if err := t.settle(ctx, path); err != nil {
			return err
		}
		if err := t.overlay(ctx, path, state, state); err != nil {
			return fmt.Errorf("can't allocate new volume %s: %w", name, err)
		}
		return t.rename(ctx, nextPath(path), path)
	})
}

// rename gives a file the place of another. It needs the lock.
func (t *Tree) rename(ctx context.Context, from, to string) error {
	t.about("rename " + filepath.Base(from))
	if p := plan.From(ctx); p != nil {
		p.Stepf("mv %s %s", run.Quote(from), run.Quote(to))
		return nil
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFolder(to)
}

// closed fails where a QEMU writes to an image: it would go on with the file that is no longer
// the volume's.
func (t *Tree) closed(ctx context.Context, path string) error {
	if plan.From(ctx) != nil {
		return nil
	}
	_, err := run.OutputOf(ctx, t.Runner, run.Cmd{
		Path: t.QEMUImg, Args: []string{"info", "--output=json", "-f", "qcow2", path}, Env: []string{"LC_ALL=C"}, ReadOnly: true,
	})
	return err
}

// deleteState forgets a state. Where the guest is running, its QEMU has merged it already
// into what lies above it, and only the file is removed.
func (t *Tree) deleteState(ctx context.Context, name, snap string, running bool) error {
	_, path, err := t.find(name)
	if err != nil {
		return err
	}
	state := statePath(path, snap)
	if plan.From(ctx) != nil {
		return t.show(ctx, "rebase", "-f", "qcow2", path) // or a commit: that is seen when the chain is read
	}
	if err := t.locked(ctx, func(ctx context.Context) error { return t.settle(ctx, path) }); err != nil {
		return err
	}
	links, _, err := t.links(ctx, path)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(links, func(l storage.Link) bool { return l.Snapshot == snap })
	switch {
	case i < 0 && !taken(ctx, state):
		return storage.Told(fmt.Sprintf("snapshot '%s' does not exist on '%s'", snap, name), storage.ErrNotExist)
	case i < 0: // merged, or left by a removal that was cut off
		return t.dropState(ctx, state)
	case running:
		return fmt.Errorf("can't delete snapshot %s of volume %s: it is still what '%s' lies on", snap, name, filepath.Base(links[i-1].Path))
	case i == len(links)-1:
		return t.commit(ctx, name, links[i], links[i-1])
	}
	return t.rebase(ctx, name, links[i], links[i-1], links[i+1])
}

func (t *Tree) dropState(ctx context.Context, state string) error {
	t.about("drop state")
	return t.locked(ctx, func(ctx context.Context) error { return t.unlink(ctx, state) })
}

// commit writes what lies above the oldest state into that, which then takes its place: the
// oldest is the one that holds most. Until then what lies above is whole.
func (t *Tree) commit(ctx context.Context, name string, state, above storage.Link) error {
	api.Printf(ctx, "%s: deleting snapshot '%s' by committing snapshot '%s'\n", name, state.Snapshot, called(above))
	t.about("commit")
	if err := t.show(ctx, "commit", "-d", "-f", "qcow2", above.Path); err != nil {
		return fmt.Errorf("snapshot '%s' cannot be gone back to any more, only be deleted again; '%s' is as it was: %w", state.Snapshot, called(above), err)
	}
	return t.locked(context.WithoutCancel(ctx), func(ctx context.Context) error { return t.rename(ctx, state.Path, above.Path) })
}

// rebase has what lies above a state hold what the state holds.
func (t *Tree) rebase(ctx context.Context, name string, state, above, below storage.Link) error {
	api.Printf(ctx, "%s: deleting snapshot '%s' by rebasing '%s' on top of '%s'\n", name, state.Snapshot, called(above), below.Snapshot)
	t.about("rebase")
	if err := t.show(ctx, "rebase", "-f", "qcow2", "-b", filepath.Base(below.Path), "-F", "qcow2", above.Path); err != nil {
		return fmt.Errorf("rebase '%s' on top of '%s': %w", called(above), below.Snapshot, err)
	}
	return t.dropState(context.WithoutCancel(ctx), state.Path)
}

// called is how users know a part of a chain.
func called(l storage.Link) string {
	if l.Snapshot == "" {
		return "current"
	}
	return l.Snapshot
}

// Widen has nothing to do: files grow.
func (t *Tree) Widen(context.Context, string, string) error { return nil }

// Replace puts a state in the place of what lies right above it.
func (t *Tree) Replace(ctx context.Context, name, snap string) error {
	_, path, err := t.find(name)
	if err != nil {
		return err
	}
	return t.locked(ctx, func(ctx context.Context) error {
		if err := t.settle(ctx, path); err != nil {
			return err
		}
		links, _, err := t.links(ctx, path)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(links, func(l storage.Link) bool { return l.Snapshot == snap })
		if snap == "" || i < 0 {
			return storage.Told(fmt.Sprintf("snapshot '%s' does not exist on '%s'", snap, name), storage.ErrNotExist)
		}
		return t.rename(ctx, links[i].Path, links[i-1].Path)
	})
}

var _ storage.Chainer = (*Tree)(nil)
