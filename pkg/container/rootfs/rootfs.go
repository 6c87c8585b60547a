// Package rootfs reads and writes files inside a root that is not ours: that of a container,
// at rest or running.
//
// Whoever owns that root may put there what they like and change it while we look. So every path
// is resolved by the kernel with openat2 and RESOLVE_IN_ROOT: an absolute link and any number of
// ".." mean places inside the root, and the links of /proc that jump elsewhere are not taken.
// What a path leads to is held by a descriptor before anything is done with it, only regular
// files are ever opened for their content (a FIFO would block us, opening a device can act), and
// files are replaced, never written through.
package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrTooLarge is the error of a file with more content than the caller allowed.
	ErrTooLarge = errors.New("file is too large")

	// ErrNotRegular is the error of reading or writing what is no regular file.
	ErrNotRegular = errors.New("not a regular file")

	// ErrNoOpenat2 is the error of a kernel that cannot resolve a path inside a root.
	ErrNoOpenat2 = errors.New("the kernel lacks openat2, Linux 5.6 or later is needed")

	// ErrBusy is the error of a path that is being renamed over and over while we resolve it.
	ErrBusy = errors.New("the path keeps changing while it is resolved")
)

// inRoot is how every path is resolved.
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// attempts bounds how often a lookup is repeated that a rename elsewhere disturbed. The kernel
// gives up on ".." whenever anything on the machine is renamed in between, so it is not few.
const attempts = 4096

// An Owner says who root of the container is on the disk: 0:0, or what its ids are mapped to.
type Owner struct {
	UID, GID int
}

// Root is a directory that is the root of a container.
type Root struct {
	dir   int
	path  string
	owner Owner
}

// Open opens the root at path, which may be /proc/<pid>/root of a running container. What is
// created in it without an owner of its own belongs to owner.
func Open(path string, owner Owner) (*Root, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root %s: %w", path, err)
	}
	r := &Root{dir: fd, path: path, owner: owner}
	// Asked once here, so that a kernel without it is named before anything is written.
	probe, err := r.resolve("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open root %s: %w", path, err)
	}
	unix.Close(probe)
	return r, nil
}

// Close gives the root back.
func (r *Root) Close() error { return unix.Close(r.dir) }

// Path returns where the root was opened.
func (r *Root) Path() string { return r.path }

// Owner returns who owns what is created in the root.
func (r *Root) Owner() Owner { return r.owner }

// resolve opens name inside the root.
func (r *Root) resolve(name string, flags int) (int, error) {
	if name == "" {
		return -1, unix.ENOENT
	}
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: inRoot}
	return openat2(r.dir, name, &how)
}

// openat2 calls the kernel until it neither was interrupted nor lost a race against a rename.
func openat2(dir int, name string, how *unix.OpenHow) (int, error) {
	for n := range attempts {
		fd, err := unix.Openat2(dir, name, how)
		switch err {
		case nil:
			return fd, nil
		case unix.EINTR:
		case unix.EAGAIN:
			if n > attempts/2 {
				time.Sleep(100 * time.Microsecond)
			}
		case unix.ENOSYS:
			return -1, ErrNoOpenat2
		default:
			return -1, err
		}
	}
	return -1, ErrBusy
}

// parent opens the folder that name stands in and returns the last part of name.
func (r *Root) parent(name string) (int, string, error) {
	folder, base, err := split(name)
	if err != nil {
		return -1, "", err
	}
	fd, err := r.resolve(folder, unix.O_PATH|unix.O_DIRECTORY)
	return fd, base, err
}

// split cuts off the last part of a path. The rest is not cleaned: ".." after a link means what
// it means to the kernel.
func split(name string) (folder, base string, err error) {
	name = strings.TrimRight(name, "/")
	folder, base = "/", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		folder, base = name[:i+1], name[i+1:]
	}
	if base == "" || base == "." || base == ".." || strings.ContainsRune(name, 0) {
		return "", "", unix.EINVAL
	}
	return folder, base, nil
}

// fail words an error of a path as a user should read it.
func fail(what, name string, err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		err = fmt.Errorf("the file system of the container is full: %w", err)
	case errors.Is(err, unix.EROFS):
		err = fmt.Errorf("the file system of the container is read-only: %w", err)
	case errors.Is(err, unix.ELOOP):
		err = fmt.Errorf("a link on the way is not to be followed, or there are too many: %w", err)
	}
	return &fs.PathError{Op: what, Path: name, Err: err}
}

// again is the path under which the kernel lets us open a held descriptor once more, now for its content.
func again(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// Info is what is known of a file without opening it.
type Info struct {
	Mode     fs.FileMode // kind and permissions
	Size     int64
	UID, GID int // as they are on the disk
	ModTime  time.Time
	Device   uint64 // the device that a device file stands for
}

// IsRegular tells whether it is a regular file.
func (i Info) IsRegular() bool { return i.Mode.IsRegular() }

// IsDir tells whether it is a directory.
func (i Info) IsDir() bool { return i.Mode.IsDir() }

// IsLink tells whether it is a symbolic link.
func (i Info) IsLink() bool { return i.Mode&fs.ModeSymlink != 0 }

// Stat tells about what name leads to, links followed.
func (r *Root) Stat(name string) (Info, error) {
	fd, err := r.resolve(name, unix.O_PATH)
	if err != nil {
		return Info{}, fail("stat", name, err)
	}
	defer unix.Close(fd)
	info, err := statFD(fd)
	return info, fail("stat", name, err)
}

// Lstat tells about name itself, which may be a link.
func (r *Root) Lstat(name string) (Info, error) {
	if strings.Trim(name, "/") == "" {
		return r.Stat(name)
	}
	dir, base, err := r.parent(name)
	if err != nil {
		return Info{}, fail("lstat", name, err)
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Info{}, fail("lstat", name, err)
	}
	return infoOf(&st), nil
}

func statFD(fd int) (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Info{}, err
	}
	return infoOf(&st), nil
}

func infoOf(st *unix.Stat_t) Info {
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if st.Mode&bit != 0 {
			mode |= flag
		}
	}
	return Info{
		Mode: mode, Size: st.Size, UID: int(st.Uid), GID: int(st.Gid), Device: uint64(st.Rdev),
		ModTime: time.Unix(st.Mtim.Unix()),
	}
}

// unixMode is the number that chmod takes for mode.
func unixMode(mode fs.FileMode) uint32 {
	n := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		n |= unix.S_ISUID
	}
	if mode&fs.ModeSetgid != 0 {
		n |= unix.S_ISGID
	}
	if mode&fs.ModeSticky != 0 {
		n |= unix.S_ISVTX
	}
	return n
}

// regular resolves name and opens it anew with flags, when it is a regular file. The first
// descriptor opens nothing (O_PATH), so looking at a FIFO or a device has no effect.
func (r *Root) regular(name string, flags int) (*os.File, Info, error) {
	held, err := r.resolve(name, unix.O_PATH)
	if err != nil {
		return nil, Info{}, err
	}
	defer unix.Close(held)
	info, err := statFD(held)
	if err != nil {
		return nil, Info{}, err
	}
	if !info.IsRegular() {
		return nil, info, fmt.Errorf("%s: %w", kind(info.Mode), ErrNotRegular)
	}
	fd, err := unix.Open(again(held), flags|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, info, err
	}
	return os.NewFile(uintptr(fd), name), info, nil
}

// kind names what stands where a regular file was wanted.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}
