package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A source is what a point shows, opened: from here on it does not matter what becomes of its path.
type source struct {
	dir    *os.File // a folder
	path   *walked  // how it was found, nil when the caller had opened it: dir is his then
	dev    *os.File // a device, a loop device too
	device string   // its path
	fstype []string // file systems to try on it
}

// walked is a path that was walked without following links, but for those in base.
type walked struct{ base, rest string }

// open opens the folder.
func (w walked) open() (*os.File, error) {
	top, err := OpenFolder(w.base)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	at, err := walk(top, w.base, w.rest, nil)
	if err != nil {
		return nil, err
	}
	if at.parent != nil {
		at.parent.Close()
	}
	return at.dir, nil
}

// unchanged refuses a folder whose path leads elsewhere since it was opened: what gets
// mounted would be the right one, but whoever does that to a path means harm.
func (s *source) unchanged() error {
	if s.path == nil {
		return nil
	}
	now, err := s.path.open()
	if err != nil {
		return fmt.Errorf("%w", ErrChanged)
	}
	defer now.Close()
	if same, err := sameFolder(now, s.dir); err != nil || !same {
		return errors.Join(ErrChanged, err)
	}
	return nil
}

// Close closes what is open. A loop device that nothing else has open is let go by the kernel.
func (s *source) Close() {
	if s.dir != nil && s.path != nil {
		s.dir.Close()
	}
	if s.dev != nil {
		s.dev.Close()
	}
}

// openSource opens what the point shows. It comes back when ctx ends, also when a dead
// storage does not answer.
func (h Host) openSource(ctx context.Context, p Point) (*source, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	// Only a process that ends can leave a call that a dead server holds up. So somebody
	// else asks first; what he sees does not matter, he may be in another mount namespace.
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = os.Stat(p.Source)
	}()
	select {
	case <-answered:
		return h.source(ctx, p)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s does not answer: %w", p.Source, context.Cause(ctx))
	}
}

func (h Host) source(ctx context.Context, p Point) (*source, error) {
	if p.folder() {
		if p.Folder != nil {
			return &source{dir: p.Folder}, nil
		}
		w, err := p.walked()
		if err != nil {
			return nil, err
		}
		return w.source(p)
	}
	return h.openDevice(ctx, p)
}

// walked tells how the folder of a point is to be found.
func (p Point) walked() (walked, error) {
	if !filepath.IsAbs(p.Source) {
		return walked{}, fmt.Errorf("path '%s' is not absolute", p.Source)
	}
	if p.Trusted == "" {
		return walked{"/", p.Source}, nil
	}
	base := strings.TrimRight(filepath.Clean(p.Trusted), "/")
	rest, ok := strings.CutPrefix(filepath.Clean(p.Source)+"/", base+"/")
	if !ok {
		return walked{}, fmt.Errorf("%s is not below %s", p.Source, p.Trusted)
	}
	return walked{base + "/", rest}, nil
}

func (w walked) source(p Point) (*source, error) {
	dir, err := w.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("directory '%s' does not exist", p.Source)
	}
	if err != nil {
		return nil, err
	}
	return &source{dir: dir, path: &w}, nil
}

// openDevice opens the block device that has the file system, after making one of an image.
func (h Host) openDevice(ctx context.Context, p Point) (*source, error) {
	flags := os.O_RDWR
	if p.readOnly() {
		flags = os.O_RDONLY
	}
	// The real path: what mounts show, and what is looked for in them later.
	path, err := filepath.EvalSymlinks(p.Source)
	if err != nil {
		return nil, err
	}
	// A pipe must not hold us up, should there be one.
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	types, err := h.filesystems(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", p.Source, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return &source{dev: f, device: path, fstype: types}, nil
	case unix.S_IFREG:
		if p.Kind == Volume && p.Format != Block {
			break
		}
		fallthrough
	default:
		f.Close()
		return nil, fmt.Errorf("%s is not a block device", p.Source)
	}
	defer f.Close()
	loop, err := h.attach(ctx, f, path, p.readOnly())
	if err != nil {
		return nil, err
	}
	return &source{dev: loop, device: loop.Name(), fstype: types}, nil
}
