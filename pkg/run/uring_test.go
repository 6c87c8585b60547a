package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/run"
)

const asksForRing = "VIRTSMITH_TEST_ASKS_FOR_RING"

// TestAskForRing is what the tests below run as a program of its own.
func TestAskForRing(t *testing.T) {
	if os.Getenv(asksForRing) == "" {
		t.Skip("only as a child of TestNoIOURing")
	}
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	fmt.Printf("<%d>", errno)
}

// TestNoIOURing: a program that is not to have io_uring does not, and others still do.
func TestNoIOURing(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(without bool) string {
		var said bytes.Buffer
		c := run.Cmd{Path: exe, Args: []string{"-test.run=^TestAskForRing$"}, Env: []string{asksForRing + "=1"}, Stdout: &said, NoIOURing: without}
		if err := (run.Host{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(said.String(), "<")
		number, _, _ := strings.Cut(rest, ">")
		return number
	}
	before := ask(false)
	if got, want := ask(true), fmt.Sprint(int(unix.ENOSYS)); got != want {
		t.Errorf("io_uring_setup without: errno %s, want %s", got, want)
	}
	for range 8 { // whichever thread it starts from
		if got := ask(false); got != before {
			t.Errorf("io_uring_setup with: errno %s, before %s", got, before)
		}
	}
}

// TestNoIOURingEnds: such a program is ended as others are, and lives as long as it likes.
func TestNoIOURingEnds(t *testing.T) {
	c := sh("sleep 0.3; echo done")
	c.NoIOURing = true
	out, err := run.OutputOf(t.Context(), run.Host{}, c)
	if err != nil || string(out) != "done\n" {
		t.Errorf("%q, %v", out, err)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	c = sh("sleep 60")
	c.NoIOURing = true
	if err := (run.Host{}).Run(ctx, c); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	c = run.Command("/nowhere/qemu-img")
	c.NoIOURing = true
	if err := (run.Host{}).Run(t.Context(), c); err == nil || run.ExitCode(err) != -1 {
		t.Errorf("got %v", err)
	}
}

// TestNoIOURingBeside: the end of such a program is not taken for ours by those that run
// beside it.
func TestNoIOURingBeside(t *testing.T) {
	var beside sync.WaitGroup
	for range 8 {
		beside.Go(func() {
			for range 20 {
				if err := (run.Host{}).Run(t.Context(), sh("sleep 0.05")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		c := sh(":")
		c.NoIOURing = true
		if err := (run.Host{}).Run(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	beside.Wait()
}
