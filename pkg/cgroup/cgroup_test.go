package cgroup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// lay writes files below a folder of the test.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fake2 is a machine with version 2, this process being in a group of its own.
func fake2(t *testing.T) (*cgroup.Tree, string) {
	t.Helper()
	dir := t.TempDir()
	lay(t, dir, map[string]string{
		"cgroup/cgroup.controllers":            "cpuset cpu io memory pids\n",
		"cgroup/cgroup.subtree_control":        "",
		"cgroup/box/cgroup.controllers":        "cpu memory\n",
		"cgroup/box/cgroup.subtree_control":    "",
		"proc/self/cgroup":                     "0::/box\n",
		"proc/4711/cgroup":                     "0::/box/qemu.slice/100.scope\n",
		"cgroup/box/qemu.slice/100.scope/dust": "",
	})
	tree, err := cgroup.Open(filepath.Join(dir, "cgroup"), filepath.Join(dir, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	return tree, filepath.Join(dir, "cgroup/box/qemu.slice/100.scope")
}

func TestVersion2(t *testing.T) {
	tree, dir := fake2(t)
	if !tree.Unified() {
		t.Error("not unified")
	}
	g := tree.Group("qemu.slice/100.scope")
	if err := g.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "../../cgroup.subtree_control")); got != "+memory" { // each is a write of its own
		t.Errorf("subtree_control %q", got)
	}
	if diff := cmp.Diff([]string{dir}, g.Dirs()); diff != "" {
		t.Error(diff)
	}
	if err := g.Limit(t.Context(), cgroup.Limits{CPUs: 1}); !errors.Is(err, cgroup.ErrNoController) {
		t.Errorf("limit without controller: %v", err)
	}
	lay(t, dir, map[string]string{"cpu.max": "", "cpu.weight": "", "cgroup.procs": "1\n2\n"})
	if err := g.Limit(t.Context(), cgroup.Limits{CPUs: 1.5, Units: new(200000)}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir+"/cpu.max") + ";" + read(t, dir+"/cpu.weight"); got != "150000 100000;10000" {
		t.Errorf("limits %q", got)
	}
	if err := g.Limit(t.Context(), cgroup.Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir+"/cpu.max") + ";" + read(t, dir+"/cpu.weight"); got != "max 100000;100" {
		t.Errorf("no limits %q", got)
	}
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{1, 2}) {
		t.Errorf("procs %v, %v", pids, err)
	}
}

func TestUsage2(t *testing.T) {
	tree, dir := fake2(t)
	lay(t, dir, map[string]string{
		"memory.current":  "1000\n",
		"memory.stat":     "anon 700\nfile 300\n",
		"cpu.stat":        "usage_usec 1500\nuser_usec 1000\n",
		"io.stat":         "8:0 rbytes=10 wbytes=20 rios=1\n8:16 rbytes=1 wbytes=2\n",
		"cpu.pressure":    "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.25 avg60=0.00 avg300=0.00 total=1\n",
		"io.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
		"memory.pressure": "some avg10=100.00 avg60=0.00 avg300=0.00 total=1\n",
	})
	g, err := tree.Of(4711)
	if err != nil {
		t.Fatal(err)
	}
	want := cgroup.Usage{Memory: 700, CPU: 1500 * time.Microsecond, DiskRead: 11, DiskWrite: 22}
	if diff := cmp.Diff(want, g.Usage()); diff != "" {
		t.Error(diff)
	}
	p, ok := g.Pressure()
	if diff := cmp.Diff(cgroup.Pressure{CPU: cgroup.Stall{Some: 1.5, Full: 0.25}, Memory: cgroup.Stall{Some: 100}}, p); !ok || diff != "" {
		t.Error(ok, diff)
	}
}

func TestUsage1(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, map[string]string{
		"cgroup/memory/cgroup.procs":                               "",
		"cgroup/cpuacct/cgroup.procs":                              "",
		"cgroup/blkio/cgroup.procs":                                "",
		"cgroup/memory/a/memory.usage_in_bytes":                    "1000\n",
		"cgroup/memory/a/memory.stat":                              "cache 1\ntotal_cache 400\n",
		"cgroup/cpuacct/b/cpuacct.usage":                           "12345\n",
		"cgroup/blkio/a/blkio.throttle.io_service_bytes_recursive": "8:0 Read 5\n8:0 Write 6\n8:16 Read 1\nTotal 12\n",
		"proc/self/cgroup":                                         "1:cpu,cpuacct:/\n4:memory:/\n",
		"proc/7/cgroup":                                            "1:cpu,cpuacct:/b\n4:memory:/a\n5:blkio:/a\n",
	})
	tree, err := cgroup.Open(filepath.Join(dir, "cgroup"), filepath.Join(dir, "proc"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := tree.Of(7)
	if err != nil {
		t.Fatal(err)
	}
	want := cgroup.Usage{Memory: 600, CPU: 12345, DiskRead: 6, DiskWrite: 6}
	if diff := cmp.Diff(want, g.Usage()); diff != "" {
		t.Error(diff)
	}
	if _, ok := g.Pressure(); ok {
		t.Error("pressure without version 2")
	}
}

func TestNone(t *testing.T) {
	if _, err := cgroup.Open(t.TempDir(), "/proc"); !errors.Is(err, cgroup.ErrNone) {
		t.Errorf("got %v", err)
	}
}

func TestUnits(t *testing.T) {
	tests := []struct {
		name    string
		wanted  *int
		unified bool
		want    int
	}{
		{"default 1", nil, false, 1024},
		{"default 2", nil, true, 100},
		{"low 1", new(1), false, 2},
		{"low 2", new(0), true, 1},
		{"high 1", new(500000), false, 262144},
		{"high 2", new(262144), true, 10000},
		{"as it is", new(512), false, 512},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := cgroup.Units(tt.wanted, tt.unified); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	tree, _ := fake2(t)
	var out bytes.Buffer
	ctx := plan.With(t.Context(), plan.New(&out))
	g := tree.Group("qemu.slice/200.scope")
	err := errors.Join(g.Create(ctx), g.Limit(ctx, cgroup.Limits{CPUs: 0.5, Units: new(50)}), g.Remove(ctx))
	want := "make control group qemu.slice/200.scope\n" +
		"limit control group qemu.slice/200.scope: 0.5 cpus, 50 units\n" +
		"remove control group qemu.slice/200.scope\n"
	if diff := cmp.Diff(want, out.String()); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := os.Stat(g.Dirs()[0]); err == nil {
		t.Error("made in a dry run")
	}
}

// TestReal puts a busy process into a group of this machine and sees it slowed down.
func TestReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("control groups are made by root")
	}
	tree, err := cgroup.Open("/sys/fs/cgroup", "/proc")
	if err != nil {
		t.Skip(err)
	}
	g := tree.Group(fmt.Sprintf("virtsmith-test-%d.slice/100.scope", os.Getpid()))
	if err := g.Create(t.Context()); err != nil {
		t.Skipf("control groups cannot be written here: %v", err)
	}
	t.Cleanup(func() {
		if err := g.Remove(context.Background()); err != nil {
			t.Error(err)
		}
		for _, dir := range g.Dirs() {
			if _, err := os.Stat(filepath.Dir(dir)); err == nil {
				t.Errorf("%s is left", filepath.Dir(dir))
			}
		}
	})
	if err := g.Limit(t.Context(), cgroup.Limits{CPUs: 0.2, Units: new(512)}); err != nil {
		if errors.Is(err, cgroup.ErrNoController) {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	busy := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
	if err := cgroup.Join(t.Context(), g.Dirs(), busy.Process.Pid); err != nil {
		t.Fatal(err)
	}
	of, err := tree.Of(busy.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(g.Dirs(), of.Dirs()); diff != "" {
		t.Error(diff)
	}
	before, start := of.Usage(), time.Now()
	time.Sleep(600 * time.Millisecond)
	used, passed := of.Usage().CPU-before.CPU, time.Since(start)
	t.Logf("%v of processor time in %v, %d bytes of memory", used, passed, of.Usage().Memory)
	if used <= 0 || used > passed/2 {
		t.Errorf("%v of processor time in %v, wanted a fifth", used, passed)
	}
	if err := g.Remove(t.Context()); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("removed with a process in it: %v", err)
	}
	if p, ok := of.Pressure(); ok {
		t.Logf("pressure %+v", p)
	}
}
