package mount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Prober asks file systems in a process of its own, which is left behind when the
// file system hangs: a thread that waits in the kernel cannot be called back, and keeps
// even a process that wants to end from going away.
//
// The process holds a lock as long as it lives. Where it is held, an earlier question
// hangs still, and no other is asked: each file system has one such process at most,
// however often and by how many it is asked. When the server comes back, the process
// gets its answer and ends.
type Prober struct {
	Dir  string   // where the locks lie
	Argv []string // what runs [Child], without the path to be asked for
	Env  []string // its environment
	// Patience is how long a file system may take; 0 means 20 s. [storage.WithPatience] can
	// make it less.
	Patience time.Duration
}

const (
	// probePatience is above what a server needs that is busy with other things: it is
	// no reason to fail. A file system that hangs is waited for once; after that the lock
	// tells.
	probePatience = 20 * time.Second
	// fresh is how long an answer is taken to hold still.
	fresh = time.Second
)

// Probe asks the file system at a path. It is a [storage.Probe].
func (p *Prober) Probe(ctx context.Context, storeid id.Storage, path string) (storage.Status, error) {
	f, err := p.open(storeid, path)
	if err != nil {
		// Not every user may write there; then it is better to risk a thread than to know
		// nothing.
		return storage.ProbeHere(ctx, storeid, path)
	}
	defer f.Close() //nolint:errcheck // a lock is nothing that could be lost
	patience, begun := storage.Patience(ctx, cmp.Or(p.Patience, probePatience)), time.Now()
	for {
		last := readRecord(f)
		if last.fresh(begun) {
			return last.answer(path)
		}
		locked, err := lock(f)
		if err != nil {
			return storage.Status{}, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if locked {
			break
		}
		since := begun
		// Who holds the lock and has not asked yet has left the record of the one before.
		if last = readRecord(f); !last.began.IsZero() && !last.answered() {
			since = last.began
		}
		if time.Since(since) >= patience {
			return storage.Status{}, &storage.NoAnswer{Since: since}
		}
		select {
		case <-ctx.Done():
			return storage.Status{}, given(ctx, path, since)
		case <-time.After(pollEvery):
		}
	}
	// Who waited for the lock may find the answer to a question of its own time.
	if last := readRecord(f); last.fresh(begun) {
		return last.answer(path)
	}
	return p.ask(ctx, f, storeid, path, patience)
}

// pollEvery is how often a lock is tried and an answer looked for.
const pollEvery = 5 * time.Millisecond

// given is the error of a question that is given up because ctx has ended.
func given(ctx context.Context, path string, since time.Time) error {
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("probe of '%s': %w", path, err)
	}
	return &storage.NoAnswer{Since: since} // whoever set the deadline
}

// open opens the file of a file system, which is a lock and holds the last answer.
// Redefined elsewhere, a storage is not held responsible for where it was before.
func (p *Prober) open(storeid id.Storage, path string) (*os.File, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(path))
	name := filepath.Join(p.Dir, fmt.Sprintf("probe-%s-%08x", storeid, h.Sum32()))
	const how = os.O_RDWR | os.O_CREATE | syscall.O_NOFOLLOW
	f, err := os.OpenFile(name, how, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(p.Dir, 0o755); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(name, how, 0o600)
	}
	return f, err
}

func lock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// ask starts the process that asks and waits for what it writes. It has the lock, which
// is on what the file descriptor stands for, so that the process keeps it.
func (p *Prober) ask(ctx context.Context, f *os.File, storeid id.Storage, path string, patience time.Duration) (storage.Status, error) {
	begun := time.Now()
	if err := writeRecord(f, record{began: begun}); err != nil {
		return storage.Status{}, err
	}
	// Nobody waits for it when it hangs, and the end of ctx is no reason to end it: the
	// next one would only begin another.
	child, err := run.Host{Env: p.Env}.Start(context.WithoutCancel(ctx), run.Cmd{
		Path: p.Argv[0], Args: append(p.Argv[1:len(p.Argv):len(p.Argv)], path), Dir: "/", Detached: true, ReadOnly: true,
		ExtraFiles: []*os.File{f},
	})
	if err != nil {
		// As after an upgrade of the program under a daemon.
		return storage.ProbeHere(ctx, storeid, path)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case err := <-ended:
		if last := readRecord(f); last.answered() {
			return last.answer(path)
		}
		return storage.Status{}, fmt.Errorf("probe of '%s': %w", path, err)
	case <-ctx.Done():
		return storage.Status{}, given(ctx, path, begun)
	case <-timeout.C:
		return storage.Status{}, &storage.NoAnswer{Since: begun}
	}
}

// A record is what the file of a file system says.
type record struct {
	began, ended time.Time
	errno        syscall.Errno
	st           storage.Status
}

func (r record) answered() bool { return !r.ended.IsZero() }

// fresh tells whether the answer was true at, or just before, a time.
func (r record) fresh(at time.Time) bool {
	return r.answered() && r.errno == 0 && r.ended.After(at.Add(-fresh)) && r.ended.Before(at.Add(time.Hour))
}

func (r record) answer(path string) (storage.Status, error) {
	if r.errno != 0 {
		return storage.Status{}, fmt.Errorf("%s: %w", path, r.errno)
	}
	return r.st, nil
}

// String is one line; what stands after it in the file is of longer ones before.
func (r record) String() string {
	line := strconv.FormatInt(r.began.UnixNano(), 10)
	if r.answered() {
		line += fmt.Sprintf(" %d %d %d %d %d", r.ended.UnixNano(), int(r.errno), r.st.Total, r.st.Used, r.st.Available)
	}
	return line + "\n"
}

// parseRecord returns nothing of what is no record.
func parseRecord(text string) record {
	line, _, ok := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if !ok || len(fields) != 1 && len(fields) != 6 {
		return record{}
	}
	var n [6]int64
	for i, f := range fields {
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil || v < 0 {
			return record{}
		}
		n[i] = v
	}
	r := record{began: time.Unix(0, n[0])}
	if len(fields) == 6 {
		r.ended, r.errno = time.Unix(0, n[1]), syscall.Errno(n[2])
		r.st = storage.Status{Total: n[3], Used: n[4], Available: n[5]}
	}
	return r
}

func readRecord(f *os.File) record {
	var b [256]byte
	n, _ := f.ReadAt(b[:], 0)
	return parseRecord(string(b[:n]))
}

func writeRecord(f *os.File, r record) error {
	_, err := f.WriteAt([]byte(r.String()), 0)
	return err
}
