package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// A Request says what to load, and where to.
type Request struct {
	URL     string
	To      string   // path of the file; its folder must be there
	Sum     Checksum // none where there is nothing to compare with
	Replace bool     // a file that is there with another content is replaced
	Limit   int64    // bytes; 0 means [MaxFile]
}

// MaxFile is how large a file may be where nothing else is said.
const MaxFile = 1 << 40

// File loads a file and tells the user how it goes. A reader never meets a part of it: what
// comes is written beside it, under a name of ours, and put in place when the checksum is
// right. What a failed or ended File has written is gone; what a killed one has left, the
// next one for that file takes over. Of several for one file at once, the first one loads it
// and the others wait.
func (c *Client) File(ctx context.Context, r Request) error {
	u, err := parse(r.URL)
	if err != nil {
		return err
	}
	if r.Sum != (Checksum{}) {
		if err := r.Sum.Check(); err != nil {
			return err
		}
	}
	api.Printf(ctx, "downloading %s to %s\n", u.Redacted(), r.To)
	if done, err := r.there(ctx); done || err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("download %s to %s", u.Redacted(), r.To)
		return nil
	}
	part, waited, err := openPart(ctx, r.To)
	if err != nil {
		return fmt.Errorf("write %s: %w", r.To, explain(err))
	}
	if waited { // who was there before has perhaps done it
		if done, err := r.there(ctx); done || err != nil {
			return errors.Join(err, part.drop())
		}
	}
	if err := c.fill(ctx, u, r, part); err != nil {
		return errors.Join(err, part.drop())
	}
	api.Printf(ctx, "download of '%s' to '%s' finished\n", u.Redacted(), r.To)
	return nil
}

// there looks at the file that is there already.
func (r Request) there(ctx context.Context) (done bool, err error) {
	st, err := os.Stat(r.To)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !st.Mode().IsRegular():
		return false, fmt.Errorf("'%s' is there already, and is no file", r.To)
	case r.Sum == Checksum{} && !r.Replace:
		return false, fmt.Errorf("refusing to override existing file '%s'", r.To)
	case r.Sum == Checksum{}:
		return false, nil
	}
	api.Printf(ctx, "calculating checksum of existing file...")
	err = r.Sum.verify(ctx, r.To)
	switch {
	case err == nil:
		api.Printf(ctx, "OK, got correct file already, no need to download\n")
		return true, nil
	case !errors.Is(err, ErrMismatch):
		api.Printf(ctx, "\n")
		return false, err
	case r.Replace:
		api.Printf(ctx, "%v, re-download\n", err)
		return false, nil
	}
	api.Printf(ctx, "\n")
	return false, fmt.Errorf("%w, aborting", err)
}

// fill loads the file into part and puts it in place.
func (c *Client) fill(ctx context.Context, u *url.URL, r Request, part *part) error {
	a, err := c.open(ctx, u)
	if err != nil {
		return err
	}
	defer a.Close()
	limit := r.Limit
	if limit == 0 {
		limit = MaxFile
	}
	if a.length > limit {
		return c.failure(ctx, u, fmt.Errorf("%w: it would be %s, and %s are the most", ErrTooLarge, size(a.length), size(limit)))
	}
	if err := room(part.path, a.length); err != nil {
		return fmt.Errorf("write %s: %w", r.To, err)
	}
	out := io.Writer(part.f)
	sum := r.Sum
	if sum == (Checksum{}) {
		sum.Algorithm = "sha256" // of no use but to have one
	}
	h, err := sum.hash()
	if err != nil {
		return err
	}
	show := newMeter(ctx, a.length)
	defer show.done()
	in := &source{Reader: io.LimitReader(a, limit+1)}
	n, err := io.Copy(io.MultiWriter(out, h, show), in)
	show.done()
	switch {
	case in.err != nil:
		return c.failure(ctx, u, in.err)
	case err != nil:
		return fmt.Errorf("write %s: %w", r.To, explain(err))
	case n > limit:
		return c.failure(ctx, u, fmt.Errorf("%w: %s are the most", ErrTooLarge, size(limit)))
	}
	if r.Sum != (Checksum{}) {
		api.Printf(ctx, "calculating checksum...")
		if err := r.Sum.compare(h); err != nil {
			api.Printf(ctx, "\n")
			return err
		}
		api.Printf(ctx, "OK, checksum verified\n")
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := part.place(r.To); err != nil {
		return fmt.Errorf("write %s: %w", r.To, explain(err))
	}
	return nil
}

func size(n int64) string { return schema.Bytes(float64(n), 2) }

// source remembers that reading failed, as io.Copy does not tell which side it was.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// room says that a file would not fit, before it is loaded in vain.
func room(path string, need int64) error {
	var st unix.Statfs_t
	if need <= 0 || unix.Statfs(path, &st) != nil || st.Blocks == 0 {
		return nil
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("%w: %s are needed and %s are free (free some space on that file system)", syscall.ENOSPC, size(need), size(free))
	}
	return nil
}

func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w (free some space on that file system)", err)
	}
	return err
}

// A part is the file beside that one that it is to become. It is locked while somebody
// writes it, so that one which nobody has locked is left over from a kill.
type part struct {
	f    *os.File
	path string
}

// Polling for the end of another download of the same file.
const partPoll = 200 * time.Millisecond

// openPart makes the part of a file, or takes over one that is left over. It waits while
// another loads the file.
func openPart(ctx context.Context, to string) (p *part, waited bool, err error) {
	path := filepath.Join(filepath.Dir(to), "."+filepath.Base(to)+".tmp")
	for {
		p, err := tryPart(path)
		if p != nil || err != nil {
			return p, waited, err
		}
		if !waited {
			api.Printf(ctx, "another task is downloading that file, waiting for it\n")
		}
		waited = true
		select {
		case <-ctx.Done():
			return nil, true, context.Cause(ctx)
		case <-time.After(partPoll):
		}
	}
}

// tryPart returns nil and no error while another has it.
func tryPart(path string) (*part, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = current(f, path)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		return &part{f, path}, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}

// current fails with fs.ErrNotExist where the name belongs to another file by now.
func current(f *os.File, path string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if !mine.Mode().IsRegular() {
		return fmt.Errorf("'%s' is there already, and is no file", path)
	}
	named, err := os.Lstat(path)
	if err == nil && !os.SameFile(mine, named) {
		err = fs.ErrNotExist
	}
	return err
}

// place makes the part the file.
func (p *part) place(to string) error {
	err := p.f.Chmod(0o644)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // a file system with fixed modes
	}
	if err == nil {
		err = p.f.Sync()
	}
	if err == nil {
		err = os.Rename(p.path, to)
	}
	if err != nil {
		return err
	}
	return errors.Join(p.f.Close(), file.SyncDir(filepath.Dir(to)))
}

// drop removes the part. The lock is held until then, so that nobody else has begun it.
func (p *part) drop() error {
	err := os.Remove(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	_ = p.f.Close()
	return err
}

// A meter shows how far a download is.
type meter struct {
	bytes int64
	known term.Progress // nil where the server does not say how much it is
	print func(string)
	next  int64
}

// meterStep is after how much a line is written where the whole is not known.
const meterStep = 64 << 20

func newMeter(ctx context.Context, total int64) *meter {
	m := &meter{print: func(text string) { api.Printf(ctx, "%s", text) }, next: meterStep}
	if total > 0 {
		m.known = term.NewProgress(api.StreamsOf(ctx).Out, "", total)
	}
	return m
}

func (m *meter) Write(p []byte) (int, error) {
	m.bytes += int64(len(p))
	if m.known != nil {
		m.known.Set(m.bytes)
	} else if m.bytes >= m.next {
		m.print("transferred " + size(m.bytes) + "\n")
		m.next += meterStep
	}
	return len(p), nil
}

func (m *meter) done() {
	if m.known != nil {
		m.known.Done()
		m.known = nil
	}
}
