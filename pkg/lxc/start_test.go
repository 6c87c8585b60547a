package lxc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// container makes one with more lines of configuration, and says how to start it.
func container(t testing.TB, lxcpath string, id int, more string) lxc.Start {
	t.Helper()
	home := testct.Container(t, lxcpath, id, more)
	return lxc.Start{Name: strconv.Itoa(id), Path: lxcpath, Log: filepath.Join(home, "log")}
}

func active(t *testing.T, lxcpath string) map[string]bool {
	t.Helper()
	found, err := lxc.Active("/proc", lxcpath)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestStart(t *testing.T) {
	testct.Require(t)
	lxcpath := filepath.Join(testct.Root(t), "var/lib/lxc")
	// A file that programs we run would inherit, as a lock of the shell that runs us.
	inherited := filepath.Join(lxcpath, "inherited")
	fd, err := syscall.Open(inherited, syscall.O_CREAT|syscall.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	var starting sync.WaitGroup
	ids := []int{testct.ID(t), testct.ID(t), testct.ID(t)}
	for _, id := range ids { // at once
		s := container(t, lxcpath, id, "")
		starting.Go(func() {
			if err := s.Run(t.Context(), run.Host{}); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	for _, id := range ids {
		name := strconv.Itoa(id)
		if !active(t, lxcpath)[name] {
			t.Errorf("%s does not run: %v", name, active(t, lxcpath))
		}
		pid, ok := lxc.Monitor(lxcpath, name)
		if !ok {
			t.Fatal("no monitor")
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if f := strings.Fields(after); f[1] == strconv.Itoa(os.Getpid()) || f[3] != strconv.Itoa(pid) {
			t.Errorf("parent %s, session %s: not a daemon of its own", f[1], f[3])
		}
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, file := range append(files, fmt.Sprintf("/proc/%d/cwd", pid)) {
			if at, _ := os.Readlink(file); at == inherited || strings.HasSuffix(file, "cwd") && at != "/" {
				t.Errorf("%s is %s", file, at)
			}
		}
	}
	// A second start of the same says so.
	err = lxc.Start{Name: strconv.Itoa(ids[0]), Path: lxcpath, Log: filepath.Join(lxcpath, "again")}.Run(t.Context(), run.Host{})
	if !errors.Is(err, lxc.ErrRunning) {
		t.Error(err)
	}
}

func TestStartFails(t *testing.T) {
	testct.Require(t)
	for name, c := range map[string]struct{ more, want string }{
		"unknown key":    {"lxc.nothing.like.that = 1\n", "lxc.nothing.like.that"},
		"missing bridge": {"lxc.net.0.type = veth\nlxc.net.0.link = vsnone0\n", "vsnone0"},
		"hook fails":     {"lxc.hook.pre-start = /bin/false\n", "Script exited with status 1"},
		"no root":        {"lxc.rootfs.path = dir:/nonexistent/root\n", "/nonexistent/root"},
		"no init":        {"lxc.init.cmd = /sbin/nothing\n", ""},
		"mount":          {"lxc.mount.entry = /nonexistent/source mnt none bind 0 0\n", "/nonexistent/source"},
	} {
		t.Run(name, func(t *testing.T) {
			id, lxcpath := testct.ID(t), filepath.Join(testct.Root(t), "var/lib/lxc")
			err := container(t, lxcpath, id, c.more).Run(t.Context(), run.Host{})
			failed, ok := errors.AsType[*lxc.StartError](err)
			if !ok && c.want != "" || ok && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if failed != nil && len(failed.Faults) == 0 {
				t.Error("the log says nothing")
			}
			for range 500 { // one that came up without an init ends by itself
				if len(active(t, lxcpath)) == 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			if left := testct.Left(filepath.Dir(lxcpath), id); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestStartAgain starts after a monitor that was killed, with its control groups there.
func TestStartAgain(t *testing.T) {
	testct.Require(t)
	lxcpath := filepath.Join(testct.Root(t), "var/lib/lxc")
	s := container(t, lxcpath, testct.ID(t), "")
	for range 2 {
		if err := s.Run(t.Context(), run.Host{}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(lxcpath, s.Name, "monitor.pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for word := range strings.FieldsSeq(string(children)) {
			child, _ := strconv.Atoi(word)
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
		if err := lxc.Gone(t.Context(), lxcpath, s.Name); err != nil {
			t.Fatal(err)
		}
		for range 500 { // nobody may wait for the init, yet it has left its group
			procs, _ := os.ReadFile("/proc/" + strings.Fields(string(children))[0] + "/cmdline")
			if len(procs) == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	err := lxc.RemoveGroups("/proc", s.Name)
	for range 500 { // what the init has started ends a moment after it
		if err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = lxc.RemoveGroups("/proc", s.Name)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestStartHangs: a hook that does not come to an end is given up, with all that came up.
func TestStartHangs(t *testing.T) {
	testct.Require(t)
	lxcpath := filepath.Join(testct.Root(t), "var/lib/lxc")
	id := testct.ID(t)
	hook := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nsleep 1000\ntrue\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := container(t, lxcpath, id, "lxc.hook.pre-start = "+hook+"\n")
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	err := s.Run(ctx, run.Host{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if out, _ := exec.Command("pgrep", "-fx", "sleep 1000").Output(); len(out) > 0 {
		t.Errorf("the hook goes on: %s", out)
	}
	if left := testct.Left(lxcpath, id); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestActiveLong has a path of each length around the one from which on LXC takes a hash.
func TestActiveLong(t *testing.T) {
	testct.Require(t)
	root := testct.Root(t)
	for _, length := range []int{104, 105, 106, 107, 150} {
		id := testct.ID(t)
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			lxcpath := root + "/" + strings.Repeat("x", length-len(root)-len("//1234/command"))
			s := container(t, lxcpath, id, "")
			if err := s.Run(t.Context(), run.Host{}); err != nil {
				t.Fatal(err)
			}
			if got := active(t, lxcpath); len(got) != 1 || !got[s.Name] {
				raw, _ := exec.Command("grep", "-a", "command", "/proc/net/unix").Output()
				t.Errorf("%v, and there are %s", got, raw)
			}
		})
	}
}

// BenchmarkStart is our start of a container beside a bare lxc-start of the same one.
func BenchmarkStart(b *testing.B) {
	testct.Require(b)
	lxcpath := filepath.Join(testct.Root(b), "var/lib/lxc")
	id := testct.ID(b)
	s := container(b, lxcpath, id, "lxc.net.0.type = empty\n")
	stop := func() {
		if out, err := exec.Command("lxc-stop", "-k", "-n", s.Name, "-P", lxcpath).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		if err := lxc.Gone(b.Context(), lxcpath, s.Name); err != nil {
			b.Fatal(err)
		}
	}
	var ours, bare time.Duration
	n := 0
	for b.Loop() {
		begun := time.Now()
		if err := s.Run(b.Context(), run.Host{}); err != nil {
			b.Fatal(err)
		}
		ours += time.Since(begun)
		stop()
		begun = time.Now()
		if out, err := exec.Command("lxc-start", s.Command().Args...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		bare += time.Since(begun)
		stop()
		n++
	}
	b.ReportMetric(float64(ours.Microseconds())/1000/float64(n), "ms/start")
	b.ReportMetric(float64(bare.Microseconds())/1000/float64(n), "ms/bare")
}

func TestFind(t *testing.T) {
	testct.Require(t)
	cache := filepath.Join(t.TempDir(), "run/lxc-version")
	v, err := lxc.Find(t.Context(), run.Host{}, cache)
	if err != nil || !v.AtLeast(2, 0) {
		t.Fatal(v, err)
	}
	// Nothing is run the second time.
	if again, err := lxc.Find(t.Context(), nil, cache); err != nil || again != v {
		t.Error(again, err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := lxc.Find(t.Context(), nil, cache); !errors.Is(err, lxc.ErrMissing) {
		t.Error(err)
	}
}
