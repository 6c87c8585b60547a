package testnode

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
)

var (
	budget  = flag.Duration("node.time", 0, "how long all packages together may take; what does not fit is skipped")
	withZFS = flag.Bool("node.zfs", os.Getenv("VIRTSMITH_TEST_ALL") == "1", "run in a node that has ZFS")
	systemd = flag.Bool("node.systemd", false, "run in a node whose process 1 is systemd")
	command = flag.String("node.command", "", "what TestCommand has a node run")
)

// TestInNode runs the tests of all packages of the table in a node: -run
// TestInNode/lvm/TestAlloc runs those of one package, or one of its tests.
func TestInNode(t *testing.T) {
	h := open(t)
	for _, p := range Packages() {
		if _, err := os.Stat(filepath.Join(h.root, p.Path)); err != nil {
			continue
		}
		t.Run(p.name(), func(t *testing.T) {
			if p.Systemd && h.hurried() {
				t.Skip("boots a node of its own: make test-storage")
			}
			if p.ZFS && !*withZFS {
				t.Skip("needs a node with ZFS: make test-storage")
			}
			if h.hurried() && time.Until(h.end) < time.Minute {
				t.Skip("the time for this run is over: make test-storage runs it")
			}
			h.run(t, p)
		})
	}
}

// TestCommand is for trying things by hand:
// go test ./pkg/internal/testnode -run TestCommand -v -node.command 'vgs; lsblk'.
func TestCommand(t *testing.T) {
	if *command == "" {
		t.Skip("no -node.command given")
	}
	h := open(t)
	status, err := h.booted(t).Run(*command, 10*time.Minute, func(line string) { t.Log(line) })
	if err != nil || status != 0 {
		t.Errorf("status %d, %v", status, err)
	}
}

// harness boots a node when the first test wants one, and again after one failed:
// what a failed test left behind must not fail the next.
type harness struct {
	t      *testing.T
	root   string
	image  string
	guest  string
	tests  string
	end    time.Time // of the budget; zero where there is none
	boots  int
	node   *Node
	shares map[string]string

	systemd bool // is process 1 of the node
}

// open finds the node's image, or builds it; it skips where neither can be.
func open(t *testing.T) *harness {
	switch {
	case Inside():
		t.Skip("a node within a node would be too slow")
	case testing.Short():
		t.Skip("boots a virtual machine")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	root := conformance.Root(t)
	dir := filepath.Join(root, "build", "testnode")
	image, args, limit := "node.raw", []string{dir}, 6*time.Minute
	if *withZFS {
		image, args, limit = "node-zfs.raw", []string{"-Z", dir}, 20*time.Minute
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	build := exec.CommandContext(ctx, filepath.Join(root, "contrib", "testnode", "build"), args...)
	build.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	build.Cancel = func() error { return syscall.Kill(-build.Process.Pid, syscall.SIGTERM) }
	build.WaitDelay = 20 * time.Second
	if out, err := build.CombinedOutput(); err != nil {
		if build.ProcessState != nil && build.ProcessState.ExitCode() == 3 {
			t.Skipf("no node: %s", out)
		}
		t.Fatalf("no node: %v: %s", err, out)
	}
	h := &harness{
		t: t, root: root, tests: t.TempDir(),
		image: filepath.Join(dir, image), guest: filepath.Join(dir, "guest"), systemd: *systemd,
	}
	if *budget > 0 {
		h.end = time.Now().Add(*budget)
	}
	h.shares = map[string]string{"project": root, "tests": h.tests}
	if dir := conformance.Path(t, ""); isDir(dir) {
		h.shares["conformance"] = dir
	}
	t.Cleanup(h.close)
	return h
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// booted returns the running node.
func (h *harness) booted(t *testing.T) *Node {
	t.Helper()
	if h.node == nil {
		h.boots++
		scratch := filepath.Join(h.t.TempDir(), fmt.Sprint("boot", h.boots))
		if err := os.Mkdir(scratch, 0o700); err != nil {
			t.Fatal(err)
		}
		node, err := Boot(h.t.Context(), Config{Image: h.image, Guest: h.guest, Scratch: scratch, Shares: maps.Clone(h.shares), Systemd: h.systemd})
		if err != nil {
			t.Fatal(err)
		}
		h.node = node
		t.Logf("node up after %v", node.Up.Round(time.Millisecond))
	}
	return h.node
}

func (h *harness) close() {
	if h.node != nil {
		h.node.Close()
		h.node = nil
	}
}

// name is what the tests of a package are called.
func (p Package) name() string {
	if p.Systemd {
		return path.Base(p.Path) + "-systemd"
	}
	return path.Base(p.Path)
}

// run builds the tests of a package, runs them in the node and reports each.
func (h *harness) run(t *testing.T, p Package) {
	name := path.Base(p.Path)
	file := filepath.Join(h.tests, name+".test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", file, "./"+p.Path)
	build.Dir = h.root
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1")
	if p.LXC && exec.Command("pkg-config", "--exists", "lxc").Run() == nil {
		build.Args = slices.Insert(build.Args, 3, "-tags", "liblxc,netgo,osusergo")
		build.Env = append(build.Env, "CGO_ENABLED=1")
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(file); err != nil {
		t.Skip("has no tests")
	}
	if p.Guest {
		testguest.Dir(t)
	}
	if p.LXC {
		t.Run("template", func(t *testing.T) { testct.Debian(t) }) // without it they skip some
	}
	if p.Systemd != h.systemd {
		h.close()
		h.systemd = p.Systemd
		defer func() { h.close(); h.systemd = *systemd }()
	}
	node := h.booted(t)
	limit := h.limit(p)
	// A hurried run is cut off from outside, without a word; else the tests themselves say where
	// they stood.
	grace := 20 * time.Second
	if h.hurried() {
		grace = 0
	}
	line := fmt.Sprintf("cd /project/%s && cp /tests/%s.test /var/tmp/ && %s=1 VIRTSMITH_TEST_ALL=%s VIRTSMITH_CONFORMANCE=/conformance TMPDIR=/var/tmp"+
		" timeout -k 10 %d /var/tmp/%s.test -test.v -test.run='%s' -test.timeout=%v",
		p.Path, name, variable, os.Getenv("VIRTSMITH_TEST_ALL"), int((limit + grace).Seconds()), name, selected(p), h.own(limit))
	var r report
	status, err := node.Run(line, limit+40*time.Second, func(line string) {
		if testing.Verbose() {
			t.Log(line)
		}
		r.add(line)
	})
	const late = 124 // what timeout(1) leaves with
	slow := h.hurried() && status == late
	if !tell(t, r, slow) && err == nil && status != 0 && !slow || err != nil {
		t.Errorf("tests ended with status %d, %v\n%s", status, err, strings.Join(r.rest, "\n"))
	}
	if t.Failed() || slow {
		h.close()
	}
}

// hurried tells whether there is a budget, and what does not fit is left out.
func (h *harness) hurried() bool { return !h.end.IsZero() }

// own is the time limit that the tests keep themselves.
func (h *harness) own(limit time.Duration) time.Duration {
	if h.hurried() {
		return 2 * limit
	}
	return limit
}

// limit returns what the tests of a package may take: what the table says when
// there is time for everything, ninety seconds when there is not, and all that is
// left when no other package runs.
func (h *harness) limit(p Package) time.Duration {
	limit := 90 * time.Second
	if p.Time != 0 && os.Getenv("VIRTSMITH_TEST_ALL") == "1" {
		limit = p.Time
	}
	if h.hurried() {
		limit = min(limit, time.Until(h.end).Round(time.Second))
	}
	end, set := h.t.Deadline()
	if !set {
		return limit
	}
	left := max(time.Until(end)-time.Minute, time.Minute).Round(time.Second)
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return left
	}
	return min(limit, left)
}

// selected returns which tests of a package run: those -run names below its own
// name, else those of the table.
func selected(p Package) string {
	if levels := strings.SplitN(flag.Lookup("test.run").Value.String(), "/", 3); len(levels) == 3 {
		return levels[2]
	}
	if p.All != "" && os.Getenv("VIRTSMITH_TEST_ALL") == "1" {
		return p.All
	}
	return p.Run
}

// tell reports each test as a subtest, and whether one of them failed. Of a slow run it does not
// count that a test did not end.
func tell(t *testing.T, r report, slow bool) bool {
	failed := false
	for _, result := range r.tests {
		output := strings.Join(result.output, "\n")
		t.Run(result.name, func(t *testing.T) {
			switch result.status {
			case "PASS":
			case "SKIP":
				t.Skip(output)
			case "FAIL":
				failed = true
				t.Error("\n" + output)
			default:
				if slow {
					t.Skip("not done in time: make test-storage gives it longer")
				}
				failed = true
				t.Error("did not end\n" + output)
			}
		})
	}
	return failed
}
