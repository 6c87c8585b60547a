package liblxc_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/lxc/liblxc"
	"github.com/virtsmith/virtsmith/pkg/run"
)

func TestNotBuilt(t *testing.T) {
	if liblxc.Linked {
		t.Skip("built with the library")
	}
	r := liblxc.Runtime{Path: t.TempDir()}
	if _, err := r.InitPID(t.Context(), "100"); !errors.Is(err, liblxc.ErrNotBuilt) || !strings.HasPrefix(err.Error(), "container 100: init: ") {
		t.Error(err)
	}
	if err := r.Stop(t.Context(), "100"); !errors.Is(err, liblxc.ErrNotBuilt) {
		t.Error(err)
	}
}

// world is a root with containers that run.
type world struct {
	*testing.T
	r     liblxc.Runtime
	root  string
	names []string
	ids   []int
}

func start(t *testing.T, more ...string) *world {
	t.Helper()
	if !liblxc.Linked {
		t.Skip("built without the library: needs the tag liblxc, which make test sets")
	}
	testct.Require(t)
	w := &world{T: t, root: testct.Root(t)}
	w.r.Path = filepath.Join(w.root, "var/lib/lxc")
	for _, text := range more {
		id := testct.ID(t)
		home := testct.Container(t, w.r.Path, id, text)
		w.names, w.ids = append(w.names, strconv.Itoa(id)), append(w.ids, id)
		if err := (lxc.Start{Name: strconv.Itoa(id), Path: w.r.Path, Log: filepath.Join(home, "log")}).Run(t.Context(), run.Host{}); err != nil {
			t.Fatal(err)
		}
		testct.Up(t, home)
	}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) state(name, want string) {
	w.Helper()
	if got, err := w.r.State(w.Context(), name); err != nil || got != want {
		w.Errorf("container %s is %s, %v, and not %s", name, got, err, want)
	}
}

func TestFreeze(t *testing.T) {
	w := start(t, "lxc.net.0.type = empty\n", "lxc.net.0.type = empty\n")
	name, ctx := w.names[0], t.Context()
	w.state(name, "RUNNING")
	for range 2 { // the second has nothing to do
		w.must(w.r.Freeze(ctx, name))
		w.state(name, "FROZEN")
	}
	if is, err := w.r.Frozen(ctx, name); err != nil || !is {
		t.Error(is, err)
	}
	if is, err := w.r.Frozen(ctx, w.names[1]); err != nil || is {
		t.Error(is, err)
	}
	for range 2 {
		w.must(w.r.Unfreeze(ctx, name))
		w.state(name, "RUNNING")
	}
	w.must(w.r.Freeze(ctx, name))
	w.must(w.r.Stop(ctx, name))
	w.state(name, "STOPPED")
	w.state(w.names[1], "RUNNING")
	if left := testct.Left(w.r.Path+"/"+name, w.ids[0]); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for what, err := range map[string]error{
		"freeze": w.r.Freeze(ctx, name), "unfreeze": w.r.Unfreeze(ctx, name), "reboot": w.r.Reboot(ctx, name), "set": w.r.SetCgroup(ctx, name, "cpu.shares", "100"),
	} {
		if !errors.Is(err, liblxc.ErrNotRunning) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if pid, err := w.r.InitPID(ctx, name); pid != 0 || err != nil {
		t.Error(pid, err)
	}
	w.must(w.r.Stop(ctx, name))
	w.must(w.r.Shutdown(ctx, name))
}

// TestShutdown: the last hook is over when it returns.
func TestShutdown(t *testing.T) {
	hook := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nsleep 0.3\n: >\"$0.over\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := start(t, "lxc.net.0.type = empty\nlxc.hook.post-stop = "+hook+"\n")
	name := w.names[0]
	w.must(w.r.Shutdown(t.Context(), name))
	if _, err := os.Stat(hook + ".over"); err != nil {
		t.Error(err)
	}
	if pid, ok := lxc.Monitor(w.r.Path, name); ok {
		t.Errorf("the monitor %d is there", pid)
	}
	console, err := os.ReadFile(filepath.Join(w.r.Path, name, "console"))
	if err != nil || !strings.Contains(string(console), testct.Down) {
		t.Errorf("%q, %v", console, err)
	}
	if left := testct.Left(w.root, w.ids...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	// A start in the moment of the last hook waits for it.
	s := lxc.Start{Name: name, Path: w.r.Path}
	w.must(s.Run(t.Context(), run.Host{}))
	_ = os.Remove(hook + ".over")
	w.must(w.r.Reboot(t.Context(), name))
	w.must(w.r.Stop(t.Context(), name))
}

// TestIgnored: a container that does not listen keeps nobody longer than the context does.
func TestIgnored(t *testing.T) {
	w := start(t, "lxc.net.0.type = empty\nlxc.signal.halt = SIGCONT\n")
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	if err := w.r.Shutdown(ctx, w.names[0]); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "container "+w.names[0]+": shutdown: ") {
		t.Error(err)
	}
	w.state(w.names[0], "RUNNING")
}

// TestDeaf: nor does a monitor that does not answer.
func TestDeaf(t *testing.T) {
	w := start(t, "lxc.net.0.type = empty\n")
	pid, ok := lxc.Monitor(w.r.Path, w.names[0])
	if !ok {
		t.Fatal("no monitor")
	}
	w.must(syscall.Kill(pid, syscall.SIGSTOP))
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	_, err := w.r.State(ctx, w.names[0])
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	w.must(syscall.Kill(pid, syscall.SIGCONT))
	w.state(w.names[0], "RUNNING")
}

func TestCgroup(t *testing.T) {
	w := start(t, "lxc.net.0.type = empty\n")
	file, value := "memory.limit_in_bytes", "134217728"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		file = "memory.max"
	}
	w.must(w.r.SetCgroup(t.Context(), w.names[0], file, value))
	if got, err := w.r.Cgroup(t.Context(), w.names[0], file); err != nil || got != value {
		t.Errorf("%q, %v", got, err)
	}
	if err := w.r.SetCgroup(t.Context(), w.names[0], file, "much"); err == nil || !strings.Contains(err.Error(), "set "+file+" to much") {
		t.Error(err)
	}
}

func TestInterfaces(t *testing.T) {
	w := start(t, "lxc.net.0.type = veth\nlxc.net.0.name = eth7\nlxc.net.0.flags = up\nlxc.net.0.ipv4.address = 10.98.97.5/24\n")
	pid, err := w.r.InitPID(t.Context(), w.names[0])
	w.must(err)
	list, err := lxc.Interfaces(pid)
	w.must(err)
	found := map[string]lxc.Interface{}
	for _, i := range list {
		found[i.Name] = i
	}
	want := netip.MustParsePrefix("10.98.97.5/24")
	if e := found["eth7"]; len(list) != 2 || !e.Up || len(e.MAC) != 6 || len(e.Addresses) == 0 || e.Addresses[0] != want {
		t.Errorf("%+v", list)
	}
}

// TestMany asks often and from several goroutines, and leaves no file open.
func TestMany(t *testing.T) {
	w := start(t, "lxc.net.0.type = empty\n", "lxc.net.0.type = empty\n")
	ask := func(times int) {
		var asking sync.WaitGroup
		for i := range 4 {
			asking.Go(func() {
				for range times {
					if pid, err := w.r.InitPID(t.Context(), w.names[i%2]); pid <= 0 || err != nil {
						t.Error(pid, err)
						return
					}
				}
			})
		}
		asking.Wait()
	}
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		w.must(err)
		return len(list)
	}
	ask(10)
	before, memory := open(), resident(t)
	ask(250)
	if after := open(); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
	if after := resident(t); after > memory+(16<<20) {
		t.Errorf("%d MiB more memory after 1000 calls", (after-memory)>>20)
	}
}

// resident is the memory of this process.
func resident(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(raw))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func BenchmarkInitPID(b *testing.B) {
	if !liblxc.Linked {
		b.Skip("built without the library")
	}
	r := liblxc.Runtime{Path: b.TempDir()}
	for b.Loop() {
		if _, err := r.InitPID(b.Context(), "100"); err != nil {
			b.Fatal(err)
		}
	}
}
