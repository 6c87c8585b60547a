package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Remove takes away a file, a link (not what it leads to) or an empty folder.
func (r *Root) Remove(name string) error {
	dir, base, err := r.parent(name)
	if err != nil {
		return fail("remove", name, err)
	}
	defer unix.Close(dir)
	err = unix.Unlinkat(dir, base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	}
	return fail("remove", name, err)
}

// Rename gives a file another name on the same file system, in place of what has that name.
func (r *Root) Rename(from, to string) error {
	dir, base, err := r.parent(from)
	if err != nil {
		return fail("rename", from, err)
	}
	defer unix.Close(dir)
	toDir, toBase, err := r.parent(to)
	if err != nil {
		return fail("rename", to, err)
	}
	defer unix.Close(toDir)
	return fail("rename", from, r.making(func() error { return unix.Renameat(dir, base, toDir, toBase) }))
}

// Chmod sets the permissions of what name leads to.
func (r *Root) Chmod(name string, mode fs.FileMode) error {
	fd, err := r.resolve(name, unix.O_PATH)
	if err != nil {
		return fail("chmod", name, err)
	}
	defer unix.Close(fd)
	return fail("chmod", name, unix.Chmod(again(fd), unixMode(mode)))
}

// Chown sets the owner of what name leads to, in ids of the disk; -1 leaves one as it is.
func (r *Root) Chown(name string, uid, gid int) error {
	fd, err := r.resolve(name, unix.O_PATH)
	if err != nil {
		return fail("chown", name, err)
	}
	defer unix.Close(fd)
	return fail("chown", name, unix.Fchownat(fd, "", uid, gid, unix.AT_EMPTY_PATH))
}

// Lock takes the file lock on name, which is made when it is missing, and returns what gives it
// back. Programs of the container may hold it as long as they like, so it waits until ctx ends.
func (r *Root) Lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := r.OpenFile(name, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = r.Create(name, Attr{Mode: new(fs.FileMode(0o600))})
		if errors.Is(err, fs.ErrExist) { // somebody was quicker
			f, err = r.OpenFile(name, os.O_RDWR)
		}
	}
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fail("lock", name, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fail("lock", name, fmt.Errorf("a program of the container holds it: %w", context.Cause(ctx)))
		case <-tick.C:
		}
	}
}
