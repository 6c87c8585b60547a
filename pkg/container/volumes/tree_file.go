package volumes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// How much is copied at once, and how much of zeros becomes a hole.
const (
	copyBlock = 1 << 20
	holeBlock = 64 << 10
)

// file copies a regular file.
func (c *treeCopy) file(ctx context.Context, from, to *os.File, name string, st *unix.Stat_t) error {
	src, err := openAt(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openAt(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer dst.Close()
	if st.Size > 0 {
		if err := c.data(ctx, src, dst, st.Size); err != nil {
			return err
		}
		// The end may be a hole.
		if err := dst.Truncate(st.Size); err != nil {
			return err
		}
	}
	if err := attributes(src, dst, st); err != nil {
		return err
	}
	return dst.Close()
}

// data copies the parts of a file that are no holes.
func (c *treeCopy) data(ctx context.Context, src, dst *os.File, size int64) error {
	for at := int64(0); at < size; {
		begin, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		end := size
		if err == nil {
			end, err = unix.Seek(int(src.Fd()), begin, unix.SEEK_HOLE)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			begin, end, err = at, size, nil // no holes are known here
		}
		if err != nil {
			return err
		}
		if err := c.extent(ctx, src, dst, begin, min(end, size)); err != nil {
			return err
		}
		at = max(end, at+1)
	}
	return nil
}

func (c *treeCopy) extent(ctx context.Context, src, dst *os.File, at, end int64) error {
	for at < end {
		n, err := src.ReadAt(c.buf[:min(int64(len(c.buf)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF // somebody changes it
		}
		if err := writeData(dst, c.buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
		c.stats.bytes += int64(n)
		if c.tell != nil {
			c.tell(c.stats.bytes)
		}
		if err := c.pace.wait(ctx, int64(n)); err != nil {
			return err
		}
	}
	return nil
}

// writeData writes what is not zero.
func writeData(dst *os.File, data []byte, at int64) error {
	for len(data) > 0 {
		// All that comes up to the next hole in one go.
		n := 0
		for n < len(data) && !zeros(data[n:min(n+holeBlock, len(data))]) {
			n = min(n+holeBlock, len(data))
		}
		if n > 0 {
			if _, err := dst.WriteAt(data[:n], at); err != nil {
				return err
			}
		} else {
			n = min(holeBlock, len(data))
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

func zeros(data []byte) bool { return bytes.Count(data, []byte{0}) == len(data) }

// attributes makes an opened file or folder be like another one: owner, extended attributes,
// mode, times. In this order: giving a file away takes its capabilities and some of its mode.
func attributes(from, to *os.File, st *unix.Stat_t) error {
	fd := int(to.Fd())
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	x := xattrs{
		list: func(b []byte) (int, error) { return unix.Flistxattr(int(from.Fd()), b) },
		get:  func(name string, b []byte) (int, error) { return unix.Fgetxattr(int(from.Fd()), name, b) },
		set:  func(name string, b []byte) error { return unix.Fsetxattr(fd, name, b, 0) },
	}
	if err := x.copy(); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
}

// attributesAt is attributes for what cannot be opened: links, devices, pipes, sockets.
func attributesAt(from, to *os.File, name string, st *unix.Stat_t) error {
	const nofollow = unix.AT_SYMLINK_NOFOLLOW
	if err := unix.Fchownat(int(to.Fd()), name, int(st.Uid), int(st.Gid), nofollow); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	src, dst := fmt.Sprintf("/proc/self/fd/%d/%s", from.Fd(), name), fmt.Sprintf("/proc/self/fd/%d/%s", to.Fd(), name)
	x := xattrs{
		list: func(b []byte) (int, error) { return unix.Llistxattr(src, b) },
		get:  func(name string, b []byte) (int, error) { return unix.Lgetxattr(src, name, b) },
		set:  func(name string, b []byte) error { return unix.Lsetxattr(dst, name, b, 0) },
	}
	if err := x.copy(); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(int(to.Fd()), name, st.Mode&0o7777, 0); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	return unix.UtimesNanoAt(int(to.Fd()), name, []unix.Timespec{st.Atim, st.Mtim}, nofollow)
}

// xattrs reads the extended attributes of one thing and sets those of another.
type xattrs struct {
	list func([]byte) (int, error)
	get  func(string, []byte) (int, error)
	set  func(string, []byte) error
}

func (x xattrs) copy() error {
	names, err := grow(x.list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if !plainName(name) {
			continue
		}
		data, err := grow(func(b []byte) (int, error) { return x.get(name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err == nil {
			err = x.set(name, data)
		}
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// grow calls f with room enough for what it returns.
func grow(f func([]byte) (int, error)) ([]byte, error) {
	for {
		n, err := f(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		b := make([]byte, n)
		n, err = f(b)
		if errors.Is(err, unix.ERANGE) {
			continue // it became longer
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
}
