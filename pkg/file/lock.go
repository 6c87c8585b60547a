package file

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Lock is a lock on a file, held by this process through an open descriptor: it is
// gone when the process is, however that ends.
type Lock struct {
	f *os.File
}

// LockOptions says how to lock.
type LockOptions struct {
	// Patience is how long to wait for other holders. 0 asks once.
	Patience time.Duration
	// Shared lets other shared holders in.
	Shared bool
	// What tells others why it is held: a task, a command. It must be one line.
	What string
	// Waiting is called once, when the lock is not free at once. It may be nil.
	Waiting func(Holder)
}

// A Holder is what the one who holds a lock has written about itself.
type Holder struct {
	PID   int // 0 when it wrote nothing
	What  string
	Since time.Time
}

// String reads like "process 4711 (qmstart 100) since 12s", or is empty.
func (h Holder) String() string {
	if h.PID == 0 {
		return ""
	}
	s := "process " + strconv.Itoa(h.PID)
	if h.What != "" {
		s += " (" + h.What + ")"
	}
	if !h.Since.IsZero() {
		s += " since " + h.Since.Format(time.DateTime)
	}
	return s
}

// A LockTimeout says that patience ran out, on which lock, and who holds it.
type LockTimeout struct {
	Path   string
	Holder Holder
}

// Error reads like upstream's message with the holder after it.
func (e *LockTimeout) Error() string {
	s := fmt.Sprintf("can't lock file '%s' - got timeout", e.Path)
	if who := e.Holder.String(); who != "" {
		s += ": held by " + who
	}
	return s
}

// Timeout tells that trying again later can help.
func (*LockTimeout) Timeout() bool { return true }

// Polling for a lock starts quick and slows down. The kernel's own queue is not used,
// as a thread waiting there cannot be called back.
const (
	lockPollFirst = 2 * time.Millisecond
	lockPollLast  = 50 * time.Millisecond
)

// Acquire locks the file at path, which is made when absent, folders included. It gives
// up with a [*LockTimeout] when patience runs out and with the cause when ctx ends.
// Two locks of one process on one path exclude each other as those of two processes do.
func Acquire(ctx context.Context, path string, o LockOptions) (*Lock, error) {
	timeout := time.NewTimer(o.Patience)
	defer timeout.Stop()
	asked := false
	for pause := lockPollFirst; ; pause = min(2*pause, lockPollLast) {
		l, err := try(path, o.Shared)
		if err != nil {
			return nil, err
		}
		if l != nil {
			l.sign(o)
			return l, nil
		}
		if o.Patience <= 0 {
			return nil, &LockTimeout{Path: path, Holder: HeldBy(path)}
		}
		if !asked && o.Waiting != nil {
			o.Waiting(HeldBy(path))
		}
		asked = true
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, context.Cause(ctx))
		case <-timeout.C:
			o.Patience = 0 // one last look
		case <-time.After(pause/2 + rand.N(pause)):
			// Not in step with others that began to wait at the same moment: else only one of
			// them would find the lock free each time round.
		}
	}
}

// try returns nil and no error when another holds the lock.
func try(path string, shared bool) (*Lock, error) {
	f, err := openLock(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		f, err = openLock(path)
	}
	if err != nil {
		return nil, fmt.Errorf("can't open lock file %s: %w", path, explain(err))
	}
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	for {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, f.Close()
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("can't lock file %s: %w", path, err)
	}
	// Another may have removed or replaced the file between open and flock; then
	// this lock guards nothing.
	if !current(f, path) {
		_ = f.Close()
		return nil, nil
	}
	return &Lock{f: f}, nil
}

// openLock does not follow a link: the folder of locks may be another user's, and what
// the link leads to would lose its content to our signature. Nor does it wait for the
// other end of a pipe. Whoever can open a file can lock it, even to read, so it is the
// owner's alone.
func openLock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
}

func current(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(mine, named)
}

// sign writes who holds the lock into its file. A lock is good without it, so a full
// disk is no fault here. Shared holders sign over each other: the last one is told.
func (l *Lock) sign(o LockOptions) {
	what := strings.ReplaceAll(o.What, "\n", " ")
	line := fmt.Sprintf("%d %d %s\n", os.Getpid(), time.Now().Unix(), what)
	if err := l.f.Truncate(0); err == nil {
		_, _ = l.f.WriteAt([]byte(line), 0)
	}
}

// Release gives the lock back. The file stays: removing it would let two holders in.
func (l *Lock) Release() error {
	if l.f == nil {
		return nil
	}
	// The signature goes first, so that nobody reads a name that holds no more.
	_ = l.f.Truncate(0)
	err := l.f.Close()
	l.f = nil
	return err
}

// HeldBy returns what the last holder wrote into the lock file; it says nothing about
// whether that one holds it still.
func HeldBy(path string) Holder {
	b, err := Read(path, 4096)
	if err != nil {
		return Holder{}
	}
	fields := strings.SplitN(strings.TrimSuffix(string(b), "\n"), " ", 3)
	if len(fields) != 3 {
		return Holder{}
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return Holder{}
	}
	since, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return Holder{}
	}
	return Holder{PID: pid, What: fields[2], Since: time.Unix(since, 0)}
}

// WithLock runs fn while it holds the lock at path.
func WithLock(ctx context.Context, path string, o LockOptions, fn func(context.Context) error) error {
	l, err := Acquire(ctx, path, o)
	if err != nil {
		return err
	}
	defer l.Release() //nolint:errcheck // closing a lock file cannot lose anything
	return fn(ctx)
}
