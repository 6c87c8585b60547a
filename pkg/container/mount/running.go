package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Container is one that runs.
type Container struct {
	Init int // its first process, as the host numbers it
	IDs  IDs // its map; nil for a privileged one

	// Monitor is a process of the host whose mount namespace lives as long as the container:
	// what is added is kept there too, in Staging/NAME, so that the container cannot make us
	// give a loop device to somebody else by unmounting it. 0 does without.
	Monitor int
	Staging string
}

// Add mounts a point in a container that runs, and returns the block device that has its file
// system, "" for folders. Whatever the container does meanwhile, it gets the point at the
// target, or at a folder of its own that was there, or not at all.
func (h Host) Add(ctx context.Context, c Container, p Point) (string, error) {
	if depth(p.Target) == 0 {
		return "", fmt.Errorf("%s: the root of a running container cannot be mounted", p.name())
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("mount %s on %s of the running container", p.Source, p.Target)
		return "", nil
	}
	device, err := h.add(ctx, c, p)
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.name(), err)
	}
	return device, nil
}

func (h Host) add(ctx context.Context, c Container, p Point) (string, error) {
	inside, err := h.process(c.Init)
	if err != nil {
		return "", err
	}
	defer inside.Close()
	t, err := h.prepare(ctx, p, c.IDs)
	if err != nil {
		return "", err
	}
	defer t.Close()
	if t.mount == nil || !t.options {
		return "", errors.New("mounting in a running container needs Linux 5.12 or later")
	}
	if err := t.source.unchanged(); err != nil {
		return "", fmt.Errorf("detected mount path change at: %s: %w", p.Source, err)
	}
	if len(c.IDs) > 0 && p.attributes() != 0 {
		if t.mount, err = locked(t.mount); err != nil {
			return "", err
		}
	}
	unpin := func() error { return nil }
	if c.Monitor != 0 {
		if unpin, err = h.pin(c, t); err != nil {
			return "", err
		}
	}
	owner := c.IDs.Root()
	err = onThread(func() error {
		if err := enter(inside.mounts); err != nil {
			return err
		}
		return t.insert(inside.root, p.Target, &owner)
	})
	if err != nil {
		return "", errors.Join(err, unpin())
	}
	return t.source.device, nil
}

// insert mounts the tree at a path below root, from a thread in root's mount namespace.
func (t *tree) insert(root *os.File, target string, owner *Owner) error {
	at, err := walk(root, "/", target, owner)
	if err != nil {
		return err
	}
	defer at.Close()
	if err := t.keepAttributes(at.dir, t.mount); err != nil {
		return err
	}
	return t.onto(at)
}

// pin mounts the tree in the mount namespace of the monitor and goes on with a copy. The
// returned function takes it out again.
func (h Host) pin(c Container, t *tree) (func() error, error) {
	monitor, err := h.process(c.Monitor)
	if err != nil {
		return nil, err
	}
	defer monitor.Close()
	err = onThread(func() error {
		if err := enter(monitor.mounts); err != nil {
			return err
		}
		staging, err := walk(monitor.root, "/", filepath.Join(c.Staging, pinName(t.point.name())), &Owner{})
		if err != nil {
			return err
		}
		defer staging.Close()
		if err := t.onto(staging); err != nil {
			return err
		}
		fd, err := unix.OpenTree(int(t.mount.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.O_CLOEXEC)
		if err != nil {
			return fmt.Errorf("clone mount: %w", err)
		}
		t.mount.Close()
		t.mount = os.NewFile(uintptr(fd), t.point.name())
		return nil
	})
	unpin := func() error { return h.Unpin(c, t.point.name()) }
	if err != nil {
		return nil, fmt.Errorf("keep mount: %w", errors.Join(err, unpin()))
	}
	return unpin, nil
}

// Unpin lets go what Add has kept for the point of the given name. It is no error when there
// is nothing.
func (h Host) Unpin(c Container, name string) error {
	if c.Monitor == 0 {
		return nil
	}
	name = pinName(name)
	monitor, err := h.process(c.Monitor)
	if err != nil {
		return err
	}
	defer monitor.Close()
	return onThread(func() error {
		if err := enter(monitor.mounts); err != nil {
			return err
		}
		staging, err := walk(monitor.root, "/", c.Staging, nil)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer staging.Close()
		if err := unmountIn(staging.dir, name); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return err
		}
		err = unix.Unlinkat(int(staging.dir.Fd()), name, unix.AT_REMOVEDIR)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	})
}

// pinName makes the name of a point, which may be its target, one of a folder.
func pinName(name string) string { return strings.ReplaceAll(strings.Trim(name, "/"), "/", "-") }

// unmountIn unmounts what is on a folder in dir, with dir as the working folder of the
// thread: /proc may be somebody else's here.
func unmountIn(dir *os.File, name string) error {
	if err := unix.Fchdir(int(dir.Fd())); err != nil {
		return err
	}
	return unix.Unmount("./"+name, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
}

// Remove unmounts what is mounted at a target in a container that runs, and lets go what Add
// has kept of it under the point's name. Processes of the container that use it keep it until
// they end.
func (h Host) Remove(ctx context.Context, c Container, p Point) error {
	if depth(p.Target) == 0 {
		return fmt.Errorf("%s: the root of a running container cannot be unmounted", p.name())
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("unmount %s of the running container", p.Target)
		return nil
	}
	inside, err := h.process(c.Init)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	defer inside.Close()
	err = onThread(func() error {
		if err := enter(inside.mounts); err != nil {
			return err
		}
		at, err := walk(inside.root, "/", p.Target, nil)
		if err != nil {
			return err
		}
		defer at.Close()
		if err := unmountIn(at.parent, at.name); err != nil {
			return fmt.Errorf("unmount %s: %w", p.Target, err)
		}
		return nil
	})
	if err == nil {
		err = h.Unpin(c, p.name())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	return nil
}

// inside is what is needed of a process to work in its place.
type inside struct{ root, mounts *os.File }

// Close closes what is open.
func (i inside) Close() {
	i.root.Close()
	i.mounts.Close()
}

// process opens the root and the mount namespace of a process, and makes sure that both are
// of the same one: numbers are used again.
func (h Host) process(pid int) (inside, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return inside{}, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	proc := filepath.Join(h.proc(), strconv.Itoa(pid))
	mounts, err := os.Open(proc + "/ns/mnt")
	if err != nil {
		return inside{}, err
	}
	root, err := OpenFolder(proc + "/root")
	if err != nil {
		mounts.Close()
		return inside{}, err
	}
	i := inside{root: root, mounts: mounts}
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		i.Close()
		return inside{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return i, nil
}
