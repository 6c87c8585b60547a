package rootfs

import (
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// entries bounds how many names of a folder are read.
const entries = 100_000

// ReadFile returns the content of a regular file that has at most limit bytes.
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	f, info, err := r.regular(name, unix.O_RDONLY)
	if err != nil {
		return nil, fail("read", name, err)
	}
	defer f.Close()
	if info.Size > limit {
		return nil, fail("read", name, ErrTooLarge)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fail("read", name, bare(err))
	}
	return data, nil
}

// bare takes the path off an error that gets ours.
func bare(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

// OpenFile opens a regular file that exists: flag is os.O_RDONLY, os.O_WRONLY or os.O_RDWR, with
// os.O_APPEND or os.O_TRUNC if wished. Files are made by [Root.WriteFrom] and [Root.Create].
func (r *Root) OpenFile(name string, flag int) (*os.File, error) {
	if flag&^(os.O_RDONLY|os.O_WRONLY|os.O_RDWR|os.O_APPEND|os.O_TRUNC) != 0 {
		return nil, fail("open", name, unix.EINVAL)
	}
	f, _, err := r.regular(name, flag)
	if err != nil {
		return nil, fail("open", name, err)
	}
	return f, nil
}

// Readlink returns what the link name says. The text is the container's word: a path to resolve
// in the root, never one to open on the host.
func (r *Root) Readlink(name string) (string, error) {
	dir, base, err := r.parent(name)
	if err != nil {
		return "", fail("readlink", name, err)
	}
	defer unix.Close(dir)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, base, buf)
	if err != nil {
		return "", fail("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// ReadDir returns the names in a folder, sorted.
func (r *Root) ReadDir(name string) ([]string, error) {
	fd, err := r.resolve(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fail("readdir", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(entries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fail("readdir", name, bare(err))
	}
	if len(names) == entries {
		return nil, fail("readdir", name, ErrTooLarge)
	}
	slices.Sort(names)
	return names, nil
}
