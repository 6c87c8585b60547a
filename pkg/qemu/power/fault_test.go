package power

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A QEMU that hangs is told of in bounded time, and stopped all the same.
func TestHung(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	pid, err := w.Dir.Running(vmid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	const want = "VM 100 qmp command 'query-status' failed - got timeout"
	if _, err := w.Status(w.ctx, vmid); err == nil || err.Error() != want {
		t.Errorf("status: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(w.out.String(), "terminating now with SIGKILL") {
		t.Errorf("said: %s", w.out.String())
	}
	w.isClean()
}

func TestQEMUKilled(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	if err := w.end(w.ctx, vmid); err != nil {
		t.Fatal(err)
	}
	w.gone()
	w.start()
}

// parent returns the supervisor of a QEMU.
func (w *world) parent() int {
	w.t.Helper()
	pid, err := w.Dir.Running(vmid)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		w.t.Fatal(err)
	}
	var state string
	var parent int
	if _, err := fmt.Sscan(string(text[bytes.LastIndexByte(text, ')')+1:]), &state, &parent); err != nil {
		w.t.Fatal(err)
	}
	return parent
}

// A VM whose supervisor has died runs on, and the next command clears up after it.
func TestSupervisorKilled(t *testing.T) {
	w := newWorld(t, small)
	w.start()
	if err := syscall.Kill(w.parent(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := w.status(); got != "running" {
		t.Errorf("status %s", got)
	}
	if err := w.end(w.ctx, vmid); err != nil {
		t.Fatal(err)
	}
	if left, _ := w.Dir.Leftovers(vmid); len(left) == 0 {
		t.Error("somebody has cleared up: the test is of no use")
	}
	if err := w.Cleanup(w.ctx, vmid); err != nil {
		t.Error(err)
	}
	w.isClean()
	w.start()
}

// dieAfter starts VM 100 and dies after as many steps as the environment says.
func dieAfter(s *Service) int {
	var left int
	if _, err := fmt.Sscan(os.Getenv("VIRTSMITH_TEST_DIE"), &left); err != nil {
		return 2
	}
	ctx := context.Background()
	err := s.Locked(ctx, vmid, "dying", func(ctx context.Context) error {
		b := newBoot(ctx, vmid, StartOptions{})
		for _, step := range s.steps() {
			if err := step.do(ctx, b); err != nil {
				return err
			}
			if left--; left == 0 {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
		return nil
	})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// A command that is killed at any step leaves what the next one heals.
func TestCommandKilled(t *testing.T) {
	w := newWorld(t, small+"cpulimit: 1\n")
	steps := len(w.steps())
	for n := 1; n <= steps; n++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "VIRTSMITH_TEST_WORLD="+w.Root, fmt.Sprintf("VIRTSMITH_TEST_DIE=%d", n))
		if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("step %d: it did not die: %v: %s", n, err, out)
		}
		err := w.Start(w.ctx, vmid, StartOptions{})
		if err != nil && (n < steps || err.Error() != "VM 100 already running") {
			t.Errorf("start after death at step %d: %v", n, err)
		}
		if got := w.status(); got != "running" {
			t.Errorf("status after death at step %d: %s", n, got)
		}
		if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
			t.Error(err)
		}
		w.isClean()
	}
}

// What is interrupted is undone.
func TestInterrupted(t *testing.T) {
	w := newWorld(t, small+"hookscript: local:snippets/hook\n")
	script := filepath.Join(w.Root, "var/lib/vz/snippets/hook")
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(w.Root, "note")
	text := fmt.Sprintf("#!/bin/sh\necho $1 $2 >> %s\n[ $2 = pre-start ] && [ ! -e %s/go ] && exec sleep 100\nexit 0\n", note, w.Root)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- w.Start(ctx, vmid, StartOptions{}) }()
	w.await(20*time.Second, "the hook script runs", func() bool { _, err := os.Stat(note); return err == nil })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.isClean()
	if err := os.WriteFile(filepath.Join(w.Root, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.start()
	if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
	w.gone()
	got, err := os.ReadFile(note)
	want := "100 pre-start\n100 pre-start\n100 post-start\n100 pre-stop\n100 post-stop\n"
	if string(got) != want || err != nil {
		t.Errorf("hooks ran: %s, %v", got, err)
	}
}
