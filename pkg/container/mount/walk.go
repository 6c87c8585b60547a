package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// An Owner is a user and a group of the host.
type Owner struct{ UID, GID int }

// A place is a folder that was opened without following a link, and the folder that it is in.
type place struct {
	dir    *os.File // the folder itself, as it is below what gets mounted on it
	parent *os.File // nil for where the walk began
	name   string   // in parent
	shown  string   // the path for messages
}

// Close closes what the place holds open.
func (p place) Close() {
	if p.dir != nil {
		p.dir.Close()
	}
	if p.parent != nil {
		p.parent.Close()
	}
}

// walk opens the folder at the given path below dir, which messages call shown, one component
// after the other, and follows no link. Folders that are missing are made and given to owner,
// unless owner is nil.
func walk(dir *os.File, shown, path string, owner *Owner) (place, error) {
	at := place{shown: shown}
	var err error
	if at.dir, err = openDir(dir, "."); err != nil {
		return place{}, fmt.Errorf("cannot open directory %s: %w", shown, err)
	}
	for component := range strings.SplitSeq(path, "/") {
		if component == "" || component == "." {
			continue
		}
		at.shown = strings.TrimRight(at.shown, "/") + "/" + component
		if component == ".." {
			at.Close()
			return place{}, fmt.Errorf("path leads upwards at: %s", at.shown)
		}
		next, err := step(at, component, owner)
		if err != nil {
			at.Close()
			return place{}, err
		}
		if at.parent != nil {
			at.parent.Close()
		}
		at.parent, at.dir, at.name = at.dir, next, component
	}
	return at, nil
}

// step opens a component in the folder that a walk has come to.
func step(at place, component string, owner *Owner) (*os.File, error) {
	next, err := openDir(at.dir, component)
	switch {
	case err == nil:
		return next, nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, noFolder(at, component)
	case owner == nil || !errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("cannot open directory %s: %w", at.shown, err)
	}
	// Another container may make the same folder just now. A link that is put here instead
	// is caught by opening it.
	made := makeDir(at.dir, component, *owner)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return nil, fmt.Errorf("failed to create path: %s: %w", at.shown, made)
	}
	next, err = openDir(at.dir, component)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return nil, noFolder(at, component)
	}
	if err == nil && made == nil {
		err = giveNew(next, *owner)
		if err != nil {
			next.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("failed to create path: %s: %w", at.shown, err)
	}
	return next, nil
}

// noFolder says what stands in the way of a walk.
func noFolder(at place, component string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(at.dir.Fd()), component, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return fmt.Errorf("not a directory: %s", at.shown)
	}
	return fmt.Errorf("symlink encountered at: %s", at.shown)
}

// openDir opens a folder in another one for no more than finding things in it.
func openDir(dir *os.File, name string) (*os.File, error) {
	return openAt(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// OpenFolder opens a folder of the host for no more than finding things in it. Links are followed.
func OpenFolder(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// makeDir makes a folder. Where the owners on disk are mapped, those of the host have no
// number there, so the folder is made by one who has.
func makeDir(dir *os.File, name string, owner Owner) error {
	err := unix.Mkdirat(int(dir.Fd()), name, 0o755)
	if !errors.Is(err, unix.EOVERFLOW) {
		return err
	}
	return asOwner(owner, func() error { return unix.Mkdirat(int(dir.Fd()), name, 0o755) })
}

// asOwner runs f with the rights of the given owner to files.
func asOwner(owner Owner, f func() error) error {
	return onThread(func() error {
		if err := unix.Setfsgid(owner.GID); err != nil {
			return err
		}
		if err := unix.Setfsuid(owner.UID); err != nil {
			return err
		}
		return f()
	})
}

// giveNew gives a folder that we have just made to its owner, with the mode that a umask
// may have cut. A folder of somebody else's that was put in its place stays his.
func giveNew(dir *os.File, owner Owner) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if int(st.Uid) != owner.UID && int(st.Uid) != os.Geteuid() {
		return nil
	}
	f, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chown(owner.UID, owner.GID); err != nil {
		return err
	}
	return f.Chmod(0o755)
}

// sameFolder tells whether two descriptors are of one folder.
func sameFolder(a, b *os.File) (bool, error) {
	var x, y unix.Stat_t
	if err := unix.Fstat(int(a.Fd()), &x); err != nil {
		return false, err
	}
	if err := unix.Fstat(int(b.Fd()), &y); err != nil {
		return false, err
	}
	return x.Dev == y.Dev && x.Ino == y.Ino, nil
}
