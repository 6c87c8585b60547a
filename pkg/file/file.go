// Package file writes files so that a reader, or a kill at any moment, meets the old
// content or the new one and never a part, and locks them so that commands, daemons
// and editors on one node live together.
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ErrTooLarge is the error of a file that is larger than the reader allows.
var ErrTooLarge = errors.New("file is too large")

// Read returns the content of a file of at most limit bytes.
//
// It asks the kernel itself: package os makes a file ready for waiting on it, which costs
// more than to read the small files that a node has thousands of.
func Read(path string, limit int64) ([]byte, error) {
	fd, err := retry(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer syscall.Close(fd) //nolint:errcheck // only read
	b := make([]byte, 0, firstRead)
	for {
		n, err := retry(func() (int, error) { return syscall.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return b, nil
		}
		if b = b[:len(b)+n]; int64(len(b)) > limit {
			return nil, fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLarge, limit)
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
	}
}

// firstRead is more than most configurations have.
const firstRead = 4096

// retry does it again where a signal came between.
func retry(do func() (int, error)) (int, error) {
	for {
		n, err := do()
		if err != syscall.EINTR { //nolint:errorlint // as the kernel says it
			return n, err
		}
	}
}

// ReadOptional is [Read] for a file that may be absent, which reads as nil.
func ReadOptional(path string, limit int64) ([]byte, error) {
	b, err := Read(path, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Write replaces the content of a file. The content is on disk when Write returns nil;
// after an error the old file is as it was and nothing new is left beside it. A
// file that exists keeps its mode and owner; a new one gets perm, whatever the umask.
// A link is followed, so that what it points to is replaced.
func Write(path string, data []byte, perm fs.FileMode) error {
	return WriteFunc(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFunc is [Write] for content that fill produces. An error of fill leaves the old
// file in place.
func WriteFunc(path string, perm fs.FileMode, fill func(io.Writer) error) error {
	return write(path, perm, true, fill)
}

// Replace is [Write] without the wait for the disk: a reader still never meets a part,
// but what was written in the seconds before a power failure may be gone. It is for
// what the next boot does not need, where many processes write one after another.
func Replace(path string, data []byte, perm fs.FileMode) error {
	return write(path, perm, false, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func write(path string, perm fs.FileMode, durable bool, fill func(io.Writer) error) error {
	path, err := target(path)
	if err != nil {
		return err
	}
	tmp, err := temp(path, perm)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, explain(err))
	}
	err = fill(tmp)
	if err == nil && durable {
		err = tmp.Sync()
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write %s: %w", path, explain(err))
	}
	if !durable {
		return nil
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// CheckWritable returns why [Write] could not replace the file at path. It leaves all as
// it was.
func CheckWritable(path string) error {
	path, err := target(path)
	if err != nil {
		return err
	}
	tmp, err := temp(path, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, explain(err))
	}
	return errors.Join(tmp.Close(), os.Remove(tmp.Name()))
}

// Create writes a file that must not exist yet, or fails with fs.ErrExist. Of
// several callers at once exactly one succeeds, and a reader never sees a part.
func Create(path string, data []byte, perm fs.FileMode) error {
	tmp, err := temp(path, perm)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, explain(err))
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // the name is a second one by then
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = link(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", path, explain(err))
	}
	return SyncDir(filepath.Dir(path))
}

// link gives the file a second name unless that is taken. The /etc/pve of a cluster
// knows no hard links; there an exclusively made empty file reserves the name.
func link(from, to string) error {
	err := os.Link(from, to)
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// target follows links, also to a file that does not exist yet.
func target(path string) (string, error) {
	for range 40 {
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link, or absent: written as it is named
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("write %s: %w", path, syscall.ELOOP)
}

// temp makes the file that takes the place of path once it is filled.
func temp(path string, perm fs.FileMode) (*os.File, error) {
	old, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && old.IsDir() {
		return nil, syscall.EISDIR
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp.*")
	if err != nil {
		return nil, err
	}
	if old != nil {
		perm = old.Mode().Perm()
		if s, ok := old.Sys().(*syscall.Stat_t); ok {
			// Without the right to give it away the file becomes the writer's.
			_ = tmp.Chown(int(s.Uid), int(s.Gid))
		}
	}
	// A file system with fixed modes, as /etc/pve is in a cluster, refuses this.
	if err := tmp.Chmod(perm); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOSYS) {
		_ = tmp.Close()
		_ = os.Remove(tmp.Name())
		return nil, err
	}
	return tmp, nil
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only read
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	return nil
}

// explain says what to do about the faults an administrator can mend.
func explain(err error) error {
	for _, known := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ENOSPC, "free some space on that file system"},
		{syscall.EDQUOT, "free some space or raise the quota"},
		{syscall.EROFS, "in a cluster this means that quorum is lost"},
	} {
		if errors.Is(err, known.errno) {
			return fmt.Errorf("%w (%s)", err, known.text)
		}
	}
	return err
}

// CleanTemps removes what writers killed in the middle have left beside path.
func CleanTemps(path string) error {
	// Not by a pattern: the folder may have characters in its name that mean something there.
	dir, prefix := filepath.Dir(path), "."+filepath.Base(path)+".tmp."
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	names, err := f.Readdirnames(-1)
	errs := []error{err}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Exists tells whether something of that name is there; a name that cannot be looked
// at counts as absent.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
