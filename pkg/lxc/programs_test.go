package lxc_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// TestPrograms does with a container all that programs do who have no library.
func TestPrograms(t *testing.T) {
	testct.Require(t)
	root := testct.Root(t)
	id := testct.ID(t)
	s := container(t, root+"/var/lib/lxc", id, "")
	p := lxc.Programs{Path: s.Path, Run: run.Host{}}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if pid, err := p.InitPID(ctx, s.Name); pid != 0 || err != nil {
		t.Errorf("before: init %d, %v", pid, err)
	}
	if err := p.Freeze(ctx, s.Name); err == nil || !strings.Contains(err.Error(), "not running") {
		t.Errorf("before: freeze %v", err)
	}
	if err := errors.Join(p.Stop(ctx, s.Name), p.Shutdown(ctx, s.Name)); err != nil {
		t.Error(err)
	}
	begin := func() {
		t.Helper()
		if err := s.Run(ctx, run.Host{}); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	if pid, err := p.InitPID(ctx, s.Name); pid <= 1 || err != nil {
		t.Errorf("init %d, %v", pid, err)
	}
	for _, want := range []bool{true, false, true} {
		do := p.Unfreeze
		if want {
			do = p.Freeze
		}
		if err := do(ctx, s.Name); err != nil {
			t.Fatal(err)
		}
		if frozen, err := p.Frozen(ctx, s.Name); frozen != want || err != nil {
			t.Errorf("frozen %v, %v", frozen, err)
		}
	}
	if err := p.Stop(ctx, s.Name); err != nil {
		t.Fatal(err)
	}
	begin()
	if err := p.Shutdown(ctx, s.Name); err != nil {
		t.Fatal(err)
	}
	if left := testct.Left(root, id); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestEndLeftovers: what outlives a monitor is ended, what has one is not.
func TestEndLeftovers(t *testing.T) {
	testct.Require(t)
	root := testct.Root(t)
	id := testct.ID(t)
	s := container(t, root+"/var/lib/lxc", id, "")
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if err := lxc.EndLeftovers(ctx, "/proc", s.Name); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx, run.Host{}); err != nil {
		t.Fatal(err)
	}
	if err := lxc.EndLeftovers(ctx, "/proc", s.Name); !errors.Is(err, lxc.ErrElsewhere) {
		t.Errorf("of one that runs: %v", err)
	}
	if len(lxc.Groups("/proc", s.Name)) == 0 {
		t.Error("it has no control groups")
	}
	p := lxc.Programs{Path: s.Path, Run: run.Host{}}
	if err := p.Freeze(ctx, s.Name); err != nil {
		t.Fatal(err)
	}
	monitor, ok := lxc.Monitor(s.Path, s.Name)
	if !ok {
		t.Fatal("no monitor")
	}
	if err := syscall.Kill(monitor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := run.Gone(ctx, monitor, 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(lxc.EndLeftovers(ctx, "/proc", s.Name), lxc.RemoveGroups("/proc", s.Name)); err != nil {
		t.Fatal(err)
	}
	if left := testct.Left(root, id); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
