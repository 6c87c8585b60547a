package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	bufferSize = 1 << 20
	holeSize   = 4096
	// mostSparse is the size from which a file with holes is refused: no file system we
	// make holds it, and its zeros would be counted for hours.
	mostSparse = 1 << 44
)

func (w *writer) file(r io.Reader, in *stream, at string, h *tar.Header) error {
	uid, gid, err := w.owner(h)
	if err != nil {
		return err
	}
	fd := -1
	err = w.try(at, func() (err error) {
		fd, err = unix.Open(at, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	err = w.fill(fd, r, in, h)
	if err == nil {
		err = w.finishFile(fd, uid, gid, h)
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	return err
}

// finishFile sets what a file has beside its content. A change of the owner takes
// capabilities and the set-user-id bit away, so it is the first one.
func (w *writer) finishFile(fd, uid, gid int, h *tar.Header) error {
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, mode(h)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := w.attributes(fd, h); err != nil {
		return err
	}
	return setTimes(fd, h)
}

// fill writes the content.
func (w *writer) fill(fd int, r io.Reader, in *stream, h *tar.Header) error {
	if w.buffer == nil {
		w.buffer = make([]byte, bufferSize)
	}
	if isSparse(h) {
		return w.fillSparse(fd, r, in, h)
	}
	for left := h.Size; left > 0; {
		n, err := io.ReadFull(r, w.buffer[:min(left, bufferSize)])
		if werr := writeAll(fd, w.buffer[:n]); werr != nil {
			return werr
		}
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for _, key := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size"} {
		if _, ok := h.PAXRecords[key]; ok {
			return true
		}
	}
	return false
}

// fillSparse writes a file with holes where the archive has holes, or zeros for a whole
// block. What the reader gave without reading from the archive is a hole, at once.
func (w *writer) fillSparse(fd int, r io.Reader, in *stream, h *tar.Header) error {
	if h.Size > mostSparse {
		return fmt.Errorf("it has holes and is %d bytes long, which is too much", h.Size)
	}
	if err := unix.Ftruncate(fd, h.Size); err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	for at := int64(0); at < h.Size; {
		before := in.n
		n, err := io.ReadFull(r, w.buffer[:min(h.Size-at, bufferSize)])
		if in.n != before {
			if werr := w.writeData(fd, at, w.buffer[:n]); werr != nil {
				return werr
			}
		}
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// writeData writes the blocks that are not zero.
func (w *writer) writeData(fd int, at int64, p []byte) error {
	var zero [holeSize]byte
	for off := 0; off < len(p); {
		end, next := off, off
		for next < len(p) {
			end = next
			next = min(end+holeSize, len(p))
			if bytes.Equal(p[end:next], zero[:next-end]) {
				break
			}
			end = next
		}
		if err := pwriteAll(fd, p[off:end], at+int64(off)); err != nil {
			return err
		}
		off = next
	}
	return nil
}

func pwriteAll(fd int, p []byte, at int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, at)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		n = max(n, 0)
		p, at = p[n:], at+int64(n)
	}
	return nil
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("write: %w", err)
		}
		p = p[max(n, 0):]
	}
	return nil
}

func (w *writer) symlink(at string, h *tar.Header) error {
	uid, gid, err := w.owner(h)
	if err != nil {
		return err
	}
	if err := w.try(at, func() error { return unix.Symlink(h.Linkname, at) }); err != nil {
		return err
	}
	if err := unix.Lchown(at, uid, gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return setLinkTimes(at, h)
}

// link makes a hard link. Both ends are found inside the root.
func (w *writer) link(at string, h *tar.Header) error {
	to, err := place(h.Linkname)
	if err != nil {
		return fmt.Errorf("a link to '%s', which leads out of the root", h.Linkname)
	}
	if to == at || inDev(to) {
		return nil
	}
	err = w.try(at, func() error {
		var a, b unix.Stat_t
		if unix.Lstat(at, &a) == nil && unix.Lstat(to, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino {
			return nil
		}
		return unix.Link(to, at)
	})
	if err != nil {
		return fmt.Errorf("link to '%s': %w", h.Linkname, err)
	}
	return nil
}

// node makes a device node or a FIFO.
func (w *writer) node(at string, h *tar.Header) error {
	kind := uint32(unix.S_IFIFO)
	switch h.Typeflag {
	case tar.TypeChar:
		kind = unix.S_IFCHR
	case tar.TypeBlock:
		kind = unix.S_IFBLK
	}
	if kind != unix.S_IFIFO && !w.ids.Privileged() {
		if w.result.LeftOut++; len(w.nodes) < 5 {
			w.nodes = append(w.nodes, at)
		}
		return nil
	}
	uid, gid, err := w.owner(h)
	if err != nil {
		return err
	}
	device := 0
	if kind != unix.S_IFIFO {
		device = int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	if err := w.try(at, func() error { return unix.Mknod(at, kind|0o600, device) }); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	if err := unix.Lchown(at, uid, gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Chmod(at, mode(h)); err != nil { // just made, so it is no link
		return fmt.Errorf("chmod: %w", err)
	}
	return setLinkTimes(at, h)
}

func times(h *tar.Header) [2]unix.Timespec {
	spec := func(t time.Time) unix.Timespec {
		ts, err := unix.TimeToTimespec(t)
		if err != nil {
			return unix.Timespec{}
		}
		return ts
	}
	access := h.AccessTime
	if access.IsZero() {
		access = h.ModTime
	}
	return [2]unix.Timespec{spec(access), spec(h.ModTime)}
}

// setTimes sets the times of what is open, which takes no path: utimensat without one.
func setTimes(fd int, h *tar.Header) error {
	ts := times(h)
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("set times: %w", errno)
	}
	return nil
}

func setLinkTimes(at string, h *tar.Header) error {
	ts := times(h)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, ts[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

// attributes sets the extended attributes that are kept: those of users, the capabilities
// of programs, and ACLs. A file system without them is told of once.
func (w *writer) attributes(fd int, h *tar.Header) error {
	for key, value := range h.PAXRecords {
		name, data, err := w.attribute(key, value)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		err = unix.Fsetxattr(fd, name, data, 0)
		if errors.Is(err, syscall.EOPNOTSUPP) {
			w.warnOnce(name, "the file system does not keep %s: left out for '%s' and what else has it", name, h.Name)
			continue
		}
		if err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// attribute returns the extended attribute that a record of a header stands for.
func (w *writer) attribute(key, value string) (name string, data []byte, err error) {
	switch key {
	case "SCHILY.acl.access":
		data, err = w.acl(value)
		return "system.posix_acl_access", data, err
	case "SCHILY.acl.default":
		data, err = w.acl(value)
		return "system.posix_acl_default", data, err
	}
	name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
	switch {
	case !ok:
		return "", nil, nil
	case name == "security.capability":
		data, err = w.capability([]byte(value))
		return name, data, err
	case strings.HasPrefix(name, "user."):
		return name, []byte(value), nil
	}
	return "", nil, nil
}
