package rootfs

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Attr is what a written file shall have beside its content; nil means what the file had that
// is replaced, else 0644 and the owner of the root.
type Attr struct {
	Mode     *fs.FileMode // permissions
	UID, GID *int         // as on the disk
}

// WriteFile puts data where name is, at once: a reader sees the old file or the new one. A link
// that stands there is replaced and not followed; a file that stands there gives its mode and
// owner.
//
// Nothing is flushed to the disk: after a crash of the node the file is the old one or the new
// one by the rules of the file system, and the set-up is repeated at the next start anyway.
func (r *Root) WriteFile(name string, data []byte, attr Attr) error {
	_, err := r.WriteFrom(name, bytes.NewReader(data), attr)
	return err
}

// WriteFrom is WriteFile with content that is read while it is written. It returns the number of
// bytes. When the source fails, the file that was there stays.
func (r *Root) WriteFrom(name string, from io.Reader, attr Attr) (int64, error) {
	dir, base, err := r.parent(name)
	if err != nil {
		return 0, fail("write", name, err)
	}
	defer unix.Close(dir)
	mode, owner, err := r.keep(dir, base, attr)
	if err != nil {
		return 0, fail("write", name, err)
	}
	f, temp, err := r.tempIn(dir)
	if err != nil {
		return 0, fail("write", name, err)
	}
	defer f.Close()
	n, err := io.Copy(f, from)
	if err == nil {
		err = unix.Fchown(int(f.Fd()), owner.UID, owner.GID)
	}
	if err == nil { // after the owner: a change of owner takes setuid away
		err = unix.Fchmod(int(f.Fd()), unixMode(mode))
	}
	if err == nil {
		err = r.place(dir, base, f, &temp)
	}
	if err != nil && temp != "" {
		_ = unix.Unlinkat(dir, temp, 0)
	}
	return n, fail("write", name, bare(err))
}

// keep returns mode and owner of a file to be written in place of base.
func (r *Root) keep(dir int, base string, attr Attr) (fs.FileMode, Owner, error) {
	mode, owner := fs.FileMode(0o644), r.owner
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return 0, owner, err
	default:
		was := infoOf(&st)
		if was.IsDir() {
			return 0, owner, unix.EISDIR
		}
		if was.IsRegular() {
			mode, owner = was.Mode.Perm(), Owner{was.UID, was.GID}
		}
	}
	if attr.Mode != nil {
		mode = *attr.Mode
	}
	if attr.UID != nil {
		owner.UID = *attr.UID
	}
	if attr.GID != nil {
		owner.GID = *attr.GID
	}
	return mode, owner, nil
}

// tempIn makes a file in dir: without a name where the file system can do that, so that nothing
// is left when we are killed, else under the name that it returns.
func (r *Root) tempIn(dir int) (*os.File, string, error) {
	fd, err := r.openNew(dir, ".", unix.O_TMPFILE|unix.O_WRONLY)
	if err == nil {
		return os.NewFile(uintptr(fd), "file without a name"), "", nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EINVAL) {
		return nil, "", err
	}
	temp := tempName()
	fd, err = r.openNew(dir, temp, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY)
	if err != nil {
		return nil, "", err
	}
	return os.NewFile(uintptr(fd), temp), temp, nil
}

// openNew makes a file and opens it.
func (r *Root) openNew(dir int, name string, flags int) (fd int, err error) {
	err = r.making(func() (err error) {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

func tempName() string { return ".virtsmith-" + rand.Text() }

// place gives the written file its name; temp is the name it has until then, empty for none.
func (r *Root) place(dir int, base string, f *os.File, temp *string) error {
	if *temp == "" {
		link := func(name string) error {
			return r.making(func() error {
				return unix.Linkat(unix.AT_FDCWD, again(int(f.Fd())), dir, name, unix.AT_SYMLINK_FOLLOW)
			})
		}
		err := link(base)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		// Only a rename can take the place of what is there.
		name := tempName()
		if err := link(name); err != nil {
			return err
		}
		*temp = name
	}
	if err := r.making(func() error { return unix.Renameat(dir, *temp, dir, base) }); err != nil {
		return err
	}
	*temp = ""
	return nil
}

// Create makes a new file and returns it open for writing. What stands there already, even a
// link that leads nowhere, is an error.
func (r *Root) Create(name string, attr Attr) (*os.File, error) {
	dir, base, err := r.parent(name)
	if err != nil {
		return nil, fail("create", name, err)
	}
	defer unix.Close(dir)
	fd, err := r.openNew(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_WRONLY)
	if err != nil {
		return nil, fail("create", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	mode, owner := fs.FileMode(0o644), r.owner
	if attr.Mode != nil {
		mode = *attr.Mode
	}
	if attr.UID != nil {
		owner.UID = *attr.UID
	}
	if attr.GID != nil {
		owner.GID = *attr.GID
	}
	err = unix.Fchown(fd, owner.UID, owner.GID)
	if err == nil {
		err = unix.Fchmod(fd, unixMode(mode))
	}
	if err != nil {
		_ = unix.Unlinkat(dir, base, 0)
		f.Close()
		return nil, fail("create", name, err)
	}
	return f, nil
}

// MkdirAll makes a folder and those above it that are missing; they belong to the root's owner.
func (r *Root) MkdirAll(name string, perm fs.FileMode) error {
	return r.mkdir(name, name, perm, 0)
}

// deepest bounds how many folders are made for one path.
const deepest = 256

func (r *Root) mkdir(whole, name string, perm fs.FileMode, depth int) error {
	fd, err := r.resolve(name, unix.O_PATH)
	if err == nil {
		info, err := statFD(fd)
		unix.Close(fd)
		if err == nil && !info.IsDir() {
			err = unix.ENOTDIR
		}
		return fail("mkdir", whole, err)
	}
	if !errors.Is(err, unix.ENOENT) || depth == deepest {
		return fail("mkdir", whole, err)
	}
	folder, base, err := split(name)
	if err != nil {
		return fail("mkdir", whole, err)
	}
	if folder != "/" {
		if err := r.mkdir(whole, folder, perm, depth+1); err != nil {
			return err
		}
	}
	dir, err := r.resolve(folder, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return fail("mkdir", whole, err)
	}
	defer unix.Close(dir)
	if err := r.making(func() error { return unix.Mkdirat(dir, base, 0o700) }); errors.Is(err, unix.EEXIST) {
		return fail("mkdir", whole, fmt.Errorf("%s is there already and is no folder: %w", name, unix.ENOTDIR))
	} else if err != nil {
		return fail("mkdir", whole, err)
	}
	// Whoever put another folder there meanwhile gets that one handed over; a mount, or a link
	// out of this folder, is not touched.
	fd, err = openat2(dir, base, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fail("mkdir", whole, err)
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, r.owner.UID, r.owner.GID); err != nil {
		return fail("mkdir", whole, err)
	}
	return fail("mkdir", whole, unix.Fchmod(fd, unixMode(perm)))
}

// Symlink makes a link that says target; it is an error when something stands there.
func (r *Root) Symlink(target, name string) error {
	dir, base, err := r.parent(name)
	if err != nil {
		return fail("symlink", name, err)
	}
	defer unix.Close(dir)
	return fail("symlink", name, r.link(target, dir, base))
}

// ReplaceLink makes a link that says target, in place of a file or link that stands there.
func (r *Root) ReplaceLink(target, name string) error {
	dir, base, err := r.parent(name)
	if err != nil {
		return fail("symlink", name, err)
	}
	defer unix.Close(dir)
	temp := tempName()
	if err := r.link(target, dir, temp); err != nil {
		return fail("symlink", name, err)
	}
	if err := r.making(func() error { return unix.Renameat(dir, temp, dir, base) }); err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
		return fail("symlink", name, err)
	}
	return nil
}

func (r *Root) link(target string, dir int, base string) error {
	if err := r.making(func() error { return unix.Symlinkat(target, dir, base) }); err != nil {
		return err
	}
	return unix.Fchownat(dir, base, r.owner.UID, r.owner.GID, unix.AT_SYMLINK_NOFOLLOW)
}
