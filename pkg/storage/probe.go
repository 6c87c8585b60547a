package storage

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// A Probe asks the file system at a path how full it is, in bounded time whatever state
// its server is in. It may tell what was true a moment ago. A [*NoAnswer] is the error
// of one that hangs.
type Probe func(ctx context.Context, storeid id.Storage, path string) (Status, error)

type patienceKey struct{}

// WithPatience says how long a [Probe] may wait for an answer, where that is less than it
// would: who shows a list cannot wait as long as who is to make a copy.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patienceKey{}, d)
}

// Patience returns how long a probe that would wait for d may wait.
func Patience(ctx context.Context, d time.Duration) time.Duration {
	if less, ok := ctx.Value(patienceKey{}).(time.Duration); ok {
		return min(d, less)
	}
	return d
}

// NoAnswer is the error of a file system that does not answer.
type NoAnswer struct {
	Since time.Time // when it was first asked in vain
}

// Error reads like "no answer since 2026-01-02 15:04:05".
func (e *NoAnswer) Error() string { return "no answer since " + e.Since.Format(time.DateTime) }

// Timeout tells that trying again later can help.
func (*NoAnswer) Timeout() bool { return true }

// FileSystem asks the file system at a path how full it is. It hangs when that does.
func FileSystem(path string) (Status, error) {
	var now syscall.Statfs_t
	if err := syscall.Statfs(path, &now); err != nil {
		return Status{}, fmt.Errorf("%s: %w", path, err)
	}
	unit := int64(now.Bsize)
	total, free := int64(now.Blocks)*unit, int64(now.Bfree)*unit
	return Status{Total: total, Used: total - free, Available: int64(now.Bavail) * unit}, nil
}

// probePatience is how long a file system that is asked in this process may take, if
// [WithPatience] does not make it less.
const probePatience = 20 * time.Second

// ProbeHere asks in this process, and leaves behind a goroutine and its thread when the
// file system hangs. It is for where there is no program to call: see package mount.
func ProbeHere(ctx context.Context, _ id.Storage, path string) (Status, error) {
	type answer struct {
		st  Status
		err error
	}
	asked, since := make(chan answer, 1), time.Now()
	go func() {
		st, err := FileSystem(path)
		asked <- answer{st, err}
	}()
	timeout := time.NewTimer(Patience(ctx, probePatience))
	defer timeout.Stop()
	select {
	case a := <-asked:
		return a.st, a.err
	case <-ctx.Done():
		return Status{}, fmt.Errorf("%s: %w", path, context.Cause(ctx))
	case <-timeout.C:
		return Status{}, &NoAnswer{Since: since}
	}
}
