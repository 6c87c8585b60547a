package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/file"
)

func acquire(t *testing.T, path string, o file.LockOptions) *file.Lock {
	t.Helper()
	l, err := file.Acquire(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release() })
	return l
}

func TestLockIsNoLink(t *testing.T) {
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "shadow"), filepath.Join(dir, "lock-100.conf")
	if err := os.WriteFile(victim, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Acquire(t.Context(), path, file.LockOptions{What: "qmstart 100"}); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("error %v", err)
	}
	if got := read(t, victim); got != "secret\n" {
		t.Errorf("what the link leads to holds %q", got)
	}
}

func TestLockTellsTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "lock-100.conf")
	held := acquire(t, path, file.LockOptions{What: "qmstart 100"})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can lock it too: %v, %v", info, err)
	}
	_, err := file.Acquire(t.Context(), path, file.LockOptions{Patience: 20 * time.Millisecond})
	timeout, ok := errors.AsType[*file.LockTimeout](err)
	if !ok {
		t.Fatalf("error %v", err)
	}
	if timeout.Path != path || timeout.Holder.PID != os.Getpid() || timeout.Holder.What != "qmstart 100" {
		t.Errorf("%+v", timeout)
	}
	want := fmt.Sprintf("can't lock file '%s' - got timeout: held by process %d (qmstart 100) since ", path, os.Getpid())
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %q, want %q", err, want)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	again := acquire(t, path, file.LockOptions{})
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
	if who := file.HeldBy(path).String(); who != "" {
		t.Errorf("after release: held by %s", who)
	}
}

func TestLockShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	acquire(t, path, file.LockOptions{Shared: true})
	acquire(t, path, file.LockOptions{Shared: true})
	if _, err := file.Acquire(t.Context(), path, file.LockOptions{}); err == nil {
		t.Error("an exclusive lock beside shared ones")
	}
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held := acquire(t, path, file.LockOptions{What: "first"})
	waiting := make(chan string, 1)
	done := make(chan error)
	go func() {
		l, err := file.Acquire(t.Context(), path, file.LockOptions{
			Patience: time.Minute, Waiting: func(h file.Holder) { waiting <- h.What },
		})
		if err == nil {
			err = l.Release()
		}
		done <- err
	}()
	if who := <-waiting; who != "first" {
		t.Errorf("waiting for %q", who)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLockCancel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	acquire(t, path, file.LockOptions{})
	cause := errors.New("stopped by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := file.Acquire(ctx, path, file.LockOptions{Patience: time.Minute, Waiting: func(file.Holder) { cancel(cause) }})
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
}

func TestLockExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := file.WithLock(t.Context(), path, file.LockOptions{Patience: time.Minute}, func(context.Context) error {
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Millisecond)
				inside.Add(-1)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d holders at once", most.Load())
	}
}

func TestLockIsFlock(t *testing.T) {
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skip("flock(1) is not installed")
	}
	path := filepath.Join(t.TempDir(), "lock")
	acquire(t, path, file.LockOptions{})
	if err := exec.CommandContext(t.Context(), "flock", "--nonblock", path, "true").Run(); err == nil {
		t.Error("flock(1) got the lock as well")
	}
}
