package mount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Stack is the root of a container and what is mounted below it.
type Stack struct {
	Root    string
	Mounted []Mounted // in the order in which it was done
	host    Host
}

// Mounted is a point that is mounted.
type Mounted struct {
	Point  Point
	Path   string // of the host
	Device string // the block device that has the file system, "" for folders
	at     place
}

// Mount mounts points on the folder root and below it, that of the root first and each after
// those it is inside of. Folders that are missing are made and given to the root of ids. When
// one cannot be mounted none is.
//
// The stack holds folders open. Unmount gives them back, and so does Release, which leaves
// the mounts.
func (h Host) Mount(ctx context.Context, root string, ids IDs, points []Point) (*Stack, error) {
	s := &Stack{Root: filepath.Clean(root), host: h}
	if p := plan.From(ctx); p != nil {
		for _, point := range inOrder(points) {
			p.Stepf("mount %s on %s", point.Source, filepath.Join(s.Root, point.Target))
		}
		return s, nil
	}
	if err := s.mount(ctx, ids, inOrder(points)); err != nil {
		return nil, errors.Join(err, s.Unmount(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// inOrder sorts points so that each comes after those it is inside of.
func inOrder(points []Point) []Point {
	return slices.SortedStableFunc(slices.Values(points), func(a, b Point) int {
		return cmp.Compare(depth(a.Target), depth(b.Target))
	})
}

func (s *Stack) mount(ctx context.Context, ids IDs, points []Point) error {
	base, err := openRoot(s.Root)
	if err != nil {
		return err
	}
	defer func() { base.Close() }()
	for _, p := range points {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := s.one(ctx, base, ids, p); err != nil {
			return fmt.Errorf("%s: %w", p.name(), err)
		}
		if depth(p.Target) > 0 {
			continue
		}
		// From here on the folder is that of the root's volume.
		top, err := openDir(base.parent, base.name)
		if err != nil {
			return err
		}
		base.dir.Close()
		base.dir = top
	}
	return nil
}

// openRoot opens the folder that becomes the root. It is the host's, so links before it are
// followed.
func openRoot(root string) (place, error) {
	if !filepath.IsAbs(root) || root == "/" {
		return place{}, fmt.Errorf("'%s' cannot be the root of a container", root)
	}
	parent, err := OpenFolder(filepath.Dir(root))
	if err != nil {
		return place{}, err
	}
	at := place{parent: parent, name: filepath.Base(root), shown: root}
	if at.dir, err = openDir(parent, at.name); err != nil {
		parent.Close()
		return place{}, fmt.Errorf("cannot open directory %s: %w", root, err)
	}
	return at, nil
}

// one mounts one point below base.
func (s *Stack) one(ctx context.Context, base place, ids IDs, p Point) error {
	t, err := s.host.prepare(ctx, p, ids)
	if err != nil {
		return err
	}
	defer t.Close()
	var at place
	if depth(p.Target) == 0 {
		at, err = openRoot(s.Root)
	} else {
		owner := ids.Root()
		at, err = walk(base.dir, s.Root, p.Target, &owner)
	}
	if err != nil {
		return err
	}
	if err := t.attach(at); err != nil {
		at.Close()
		return err
	}
	// The folder below the mount keeps nothing busy but is of no use any more.
	at.dir.Close()
	at.dir = nil
	s.Mounted = append(s.Mounted, Mounted{
		Point: p, Path: filepath.Join(s.Root, p.Target), Device: t.source.device, at: at,
	})
	return nil
}

// Release gives back what the stack holds open and leaves the mounts where they are.
func (s *Stack) Release() {
	for i := range s.Mounted {
		s.Mounted[i].at.Close()
		s.Mounted[i].at = place{}
	}
}

// Unmount unmounts the stack, the last mount first. One that stays in use is taken out of
// the tree nonetheless, with a warning that tells by whom: it goes with its last user.
func (s *Stack) Unmount(ctx context.Context) error {
	var errs []error
	for i := len(s.Mounted) - 1; i >= 0; i-- {
		m := &s.Mounted[i]
		if m.at.parent == nil {
			continue // released
		}
		if err := s.host.unmount(ctx, below(m.at), m.Path); err != nil {
			errs = append(errs, err)
		}
		m.at.Close()
		m.at = place{}
	}
	s.Mounted = nil
	return errors.Join(errs...)
}

// UnmountTree unmounts all that is mounted on the folder root and below it, by whomever it
// was mounted, the last one first.
func (h Host) UnmountTree(ctx context.Context, root string) error {
	mounts, err := h.mountsBelow(root)
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		for _, m := range slices.Backward(mounts) {
			p.Stepf("unmount %s", m)
		}
		return nil
	}
	var errs []error
	for _, m := range slices.Backward(mounts) {
		errs = append(errs, h.unmount(ctx, m, m))
	}
	return errors.Join(errs...)
}

// mountsBelow returns where something is mounted on the folder root and below it, in the
// order in which it was done.
func (h Host) mountsBelow(root string) ([]string, error) {
	root, err := filepath.EvalSymlinks(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(h.proc() + "/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountPoints(string(text), root), nil
}
