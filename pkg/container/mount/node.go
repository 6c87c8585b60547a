package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// AddNode gives a container that runs a device, at the node's own path. Nodes on a /dev that
// the container has mounted itself are of no use, so the node is on a file system of the
// host's, which nobody else sees, and is mounted on an empty file. The rule of the cgroup that
// lets the container use the device is up to the caller.
func (h Host) AddNode(ctx context.Context, c Container, n Node) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("make node %s of the running container: %s %s", n.Path, n.Type(), n.Number())
		return nil
	}
	in, err := h.process(c.Init)
	if err == nil {
		defer in.Close()
		err = onThread(func() error { return n.add(in, c.IDs.Root()) })
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", n.Path, err)
	}
	return nil
}

func (n Node) add(in inside, owner Owner) error {
	node, err := n.detached()
	if err != nil {
		return err
	}
	defer node.Close()
	if err := enter(in.mounts); err != nil {
		return err
	}
	at, err := walk(in.root, "/", path.Dir(n.Path), &owner)
	if err != nil {
		return err
	}
	defer at.Close()
	below, made, err := emptyFile(at.dir, path.Base(n.Path), owner)
	if err != nil {
		return fmt.Errorf("failed to create path: %s: %w", n.Path, err)
	}
	defer below.Close()
	err = unix.MoveMount(int(node.Fd()), "", int(below.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil && made {
		err = errors.Join(err, unix.Unlinkat(int(at.dir.Fd()), path.Base(n.Path), 0))
	}
	return err
}

// detached makes the node on a file system of its own and returns a mount of it alone. The
// thread has a mount namespace of its own after it.
func (n Node) detached() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, err
	}
	const here = "/dev"
	if err := unix.Mount("none", here, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "size=4k,nr_inodes=4,mode=755"); err != nil {
		return nil, err
	}
	dir, err := OpenFolder(here)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := n.make(dir, "node"); err != nil {
		return nil, err
	}
	fd, err := unix.OpenTree(int(dir.Fd()), "node", unix.AT_SYMLINK_NOFOLLOW|unix.OPEN_TREE_CLONE|unix.O_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) {
		err = errors.New("adding a device to a running container needs Linux 5.2 or later")
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), n.Path), nil
}

// emptyFile opens a file to mount a node on, which it makes when there is none. It follows no
// link.
func emptyFile(dir *os.File, name string, owner Owner) (f *os.File, made bool, err error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err == nil {
		made = true
		err = errors.Join(unix.Fchown(fd, owner.UID, owner.GID), unix.Close(fd))
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, made, err
	}
	f, err = openAt(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, made, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, made, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFLNK:
		f.Close()
		return nil, made, errors.New("a folder or a link is in the way")
	}
	return f, made, nil
}

// RemoveNode takes a device that AddNode gave from a container that runs. Who has it open
// keeps it.
func (h Host) RemoveNode(ctx context.Context, c Container, n Node) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("remove node %s of the running container", n.Path)
		return nil
	}
	in, err := h.process(c.Init)
	if err != nil {
		return fmt.Errorf("device %s: %w", n.Path, err)
	}
	defer in.Close()
	err = onThread(func() error {
		if err := enter(in.mounts); err != nil {
			return err
		}
		at, err := walk(in.root, "/", path.Dir(n.Path), nil)
		if err != nil {
			return err
		}
		defer at.Close()
		name := path.Base(n.Path)
		if err := unmountIn(at.dir, name); err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
		return unix.Unlinkat(int(at.dir.Fd()), name, 0)
	})
	if err != nil {
		return fmt.Errorf("device %s: %w", n.Path, err)
	}
	return nil
}
