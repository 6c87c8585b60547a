package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A treeCopy copies what is below one folder into another, on whichever file systems they
// are, with all that files have: owners, modes, times, extended attributes, access lists,
// hard links, holes, and nodes of devices, pipes and sockets. Nothing is followed out of
// the folders. It ends at the first error: half a copy is of no use.
type treeCopy struct {
	pace  *pace
	links map[inode]string // where a file with several names was copied to, below the target
	top   *os.File         // the target
	buf   []byte
	stats treeStats
	tell  func(int64) // is told how many bytes were copied; may be nil
}

// treeStats is what a copy was of.
type treeStats struct {
	files, folders, others int
	bytes                  int64 // of data, without holes
}

func (s treeStats) count() int { return s.files + s.folders + s.others }

type inode struct{ dev, ino uint64 }

// copyTree copies what is below src to below dst, and makes dst itself be like src. bwlimit
// is in KiB/s, 0 for as fast as can be.
func copyTree(ctx context.Context, src, dst *os.File, bwlimit int, tell func(int64)) (treeStats, error) {
	c := &treeCopy{
		pace: newPace(bwlimit), links: map[inode]string{}, buf: make([]byte, copyBlock), tell: tell,
	}
	from, err := openAt(src, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return c.stats, err
	}
	defer from.Close()
	to, err := openAt(dst, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return c.stats, err
	}
	defer to.Close()
	c.top = to
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return c.stats, err
	}
	if err := c.folder(ctx, from, to, &st, ""); err != nil {
		return c.stats, err
	}
	// What did not fit below, as under an image with holes, shows when it is written.
	if err := unix.Syncfs(int(to.Fd())); err != nil {
		return c.stats, fmt.Errorf("write the copy: %w", err)
	}
	return c.stats, nil
}

// folder copies what is in an opened folder, then what the folder itself has: last, so that
// its time stays and what is inside does not inherit its access list. at is its path below
// the top.
func (c *treeCopy) folder(ctx context.Context, from, to *os.File, st *unix.Stat_t, at string) error {
	for {
		names, err := from.Readdirnames(1024)
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := c.entry(ctx, from, to, name, path.Join(at, name)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read /%s: %w", at, err)
		}
	}
	c.stats.folders++
	if err := attributes(from, to, st); err != nil {
		return fmt.Errorf("/%s: %w", at, err)
	}
	return nil
}

// entry copies one thing in a folder.
func (c *treeCopy) entry(ctx context.Context, from, to *os.File, name, at string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("/%s: %w", at, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		done, err := c.linked(to, name, at, &st)
		if done || err != nil {
			return err
		}
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		return c.subfolder(ctx, from, to, name, at, &st)
	case unix.S_IFREG:
		c.stats.files++
		err = c.file(ctx, from, to, name, &st)
	case unix.S_IFLNK:
		c.stats.others++
		err = symlink(from, to, name, &st)
	default:
		c.stats.others++
		err = unix.Mknodat(int(to.Fd()), name, kind|0o600, int(st.Rdev))
	}
	if err == nil && kind != unix.S_IFREG {
		err = attributesAt(from, to, name, &st)
	}
	if err != nil {
		return fmt.Errorf("/%s: %w", at, err)
	}
	return nil
}

// linked gives another name to what was copied under a first one. It tells whether it was.
func (c *treeCopy) linked(to *os.File, name, at string, st *unix.Stat_t) (bool, error) {
	key := inode{st.Dev, st.Ino}
	first, ok := c.links[key]
	if !ok {
		c.links[key] = at
		return false, nil
	}
	err := unix.Linkat(int(c.top.Fd()), first, int(to.Fd()), name, 0)
	if errors.Is(err, unix.EMLINK) || errors.Is(err, unix.ENAMETOOLONG) {
		// As many names as this file system lets a file have: the next ones are of
		// another copy.
		c.links[key] = at
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("/%s: link to /%s: %w", at, first, err)
	}
	return true, nil
}

func (c *treeCopy) subfolder(ctx context.Context, from, to *os.File, name, at string, st *unix.Stat_t) error {
	fail := func(err error) error { return fmt.Errorf("/%s: %w", at, err) }
	// A new file system has a lost+found already.
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return fail(err)
	}
	src, err := openAt(from, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fail(err)
	}
	defer src.Close()
	dst, err := openAt(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return fail(err)
	}
	defer dst.Close()
	return c.folder(ctx, src, dst, st, at)
}

func symlink(from, to *os.File, name string, st *unix.Stat_t) error {
	buf := make([]byte, max(st.Size, 0)+unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, buf)
	if err != nil {
		return err
	}
	return unix.Symlinkat(string(buf[:n]), int(to.Fd()), name)
}

// openAt opens what is in a folder.
func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// A pace keeps a copy from being faster than it may.
type pace struct {
	rate  int64 // bytes a second, 0 for no bound
	start time.Time
	done  int64
}

func newPace(kib int) *pace { return &pace{rate: int64(kib) << 10, start: time.Now()} }

// wait waits until n more bytes may have been copied.
func (p *pace) wait(ctx context.Context, n int64) error {
	p.done += n
	if p.rate <= 0 {
		return ctx.Err()
	}
	due := p.start.Add(time.Duration(float64(p.done) / float64(p.rate) * float64(time.Second)))
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(due)):
		return nil
	}
}

// plainName tells whether an attribute's name belongs to what every file system may have,
// not to what one kind knows alone.
func plainName(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.") ||
		strings.HasPrefix(name, "system.posix_acl_")
}
