// Package script plays sessions of the command line against the real binaries: the txtar
// files in the testdata folder of a command.
package script

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/virtsmith/virtsmith/pkg/cli"
)

// Main is the TestMain of a command: the test binary is that command too. testscript calls
// it by its name, and it calls itself, by another name perhaps, as the worker of a task,
// the supervisor of a QEMU, or whatever else a hidden word names.
func Main(m *testing.M, name string, main func() int) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "--") && !strings.HasPrefix(os.Args[1], "--test.") {
		os.Exit(main())
	}
	testscript.Main(m, map[string]func(){name: func() { os.Exit(main()) }})
}

// Run plays the sessions in testdata. Each has a node of its own: its folder,
// $WORK, is the root, so the files of a script are files of the node. Those below
// etc/pve may speak of $WORK.
//
// Beside the words of testscript a script has:
//
//	remember, [!] unchanged   the state of the node: configurations and volumes
//	clean                     nothing is left over (also at the end of each script)
//	await FILE PATTERN        wait until the file has a line like that
//	signal NAME TEXT          to the processes of the node with TEXT in their arguments
//	mount OPTIONS DIR         a small file system
//	btrfs DIR                 a btrfs on a loop device; the script is skipped where there is none
//	testguest                 $GUEST is the folder of the test guest
//
// and the conditions [root] and [tmpfs]. What a tool needs besides is set by more.
func Run(t *testing.T, more ...func(*testscript.Params)) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	work, err := os.MkdirTemp("", "vs") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(work); err != nil {
			t.Error(err)
		}
	})
	p := testscript.Params{
		Dir:         "testdata",
		WorkdirRoot: work,
		Setup:       setup,
		Condition:   condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"remember":  func(ts *testscript.TestScript, _ bool, _ []string) { nodeOf(ts).remember() },
			"unchanged": unchanged,
			"clean":     func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(nodeOf(ts).leftovers()) },
			"await":     await,
			"signal":    signal,
			"mount":     mount,
			"btrfs":     btrfs,
			"testguest": testguest,
		},
		ContinueOnError: true,
		UpdateScripts:   os.Getenv("UPDATE_SCRIPTS") != "",
	}
	for _, change := range more {
		change(&p)
	}
	testscript.Run(t, p)
}

// nodeKey is where a script keeps its node.
type nodeKey struct{}

func nodeOf(ts *testscript.TestScript) *node { return ts.Value(nodeKey{}).(*node) }

func setup(e *testscript.Env) error {
	// The T of a script is of its own kind only in the eyes of testscript.
	n := &node{TB: e.T().(testing.TB), root: e.WorkDir}
	e.Values[nodeKey{}] = n
	e.Setenv("VIRTSMITH_ROOT", n.root)
	e.Setenv("VIRTSMITH_NODE", "pve1")
	e.Setenv("LC_ALL", "C.UTF-8")
	e.Setenv("TZ", "UTC")
	e.Defer(func() {
		if err := n.leftovers(); err != nil {
			n.Error(err)
		}
		n.end()
	})
	if err := os.MkdirAll(filepath.Join(n.root, "etc/pve/nodes/pve1/qemu-server"), 0o755); err != nil {
		return err
	}
	return n.expand("etc/pve")
}

func condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "tmpfs":
		return mounts(), nil
	}
	return false, errors.New("unknown condition " + name)
}

// mounts tells whether this process may mount.
func mounts() bool {
	dir, err := os.MkdirTemp("", "vs")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		return false
	}
	return syscall.Unmount(dir, syscall.MNT_DETACH) == nil
}

func unchanged(ts *testscript.TestScript, neg bool, _ []string) {
	switch diff := nodeOf(ts).changes(); {
	case !neg && diff != "":
		ts.Fatalf("the node has changed (-before +after):\n%s", diff)
	case neg && diff == "":
		ts.Fatalf("the node has not changed")
	}
}

// patience is how long anything may take that a script waits for.
const patience = 30 * time.Second

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	path := ts.MkAbs(args[0])
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		names, _ := filepath.Glob(path)
		for _, name := range names {
			if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), args[1]) {
				return
			}
		}
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %q in %s", args[1], args[0])
		}
	}
}

func signal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{
		"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
	}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal KILL|TERM|INT|STOP|CONT TEXT")
	}
	sent := 0
	for _, p := range nodeOf(ts).processes() {
		if strings.Contains(p.argv, args[1]) && syscall.Kill(p.pid, signals[args[0]]) == nil {
			sent++
		}
	}
	if sent == 0 {
		ts.Fatalf("no process of this node has %q in its arguments", args[1])
	}
}

func mount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mount OPTIONS DIR")
	}
	dir, flags := ts.MkAbs(args[1]), uintptr(0)
	options, again := strings.CutPrefix(args[0], "remount,")
	if again {
		flags |= syscall.MS_REMOUNT
	} else {
		ts.Check(os.MkdirAll(dir, 0o755))
	}
	if rest, found := strings.CutPrefix(options, "ro"); found {
		options, flags = strings.TrimPrefix(rest, ","), flags|syscall.MS_RDONLY
	}
	ts.Check(syscall.Mount("none", dir, "tmpfs", flags, options))
	if !again {
		nodeOf(ts).mounted = append(nodeOf(ts).mounted, dir)
	}
}

func btrfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: btrfs DIR")
	}
	n, dir := nodeOf(ts), ts.MkAbs(args[0])
	image := dir + ".btrfs"
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(os.WriteFile(image, nil, 0o600))
	ts.Check(os.Truncate(image, 256<<20))
	for _, line := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			n.Skipf("no btrfs: %q: %v: %s", line, err, out)
		}
	}
	n.mounted = append(n.mounted, dir)
}

// testguest builds the guest that tests boot, unless it is there already.
func testguest(ts *testscript.TestScript, _ bool, _ []string) {
	project, err := filepath.Abs("../..")
	ts.Check(err)
	dir := filepath.Join(project, "build/testguest")
	ts.Check(os.MkdirAll(dir, 0o755))
	// The lock is the one that other tests take, which may run beside this one.
	build := exec.Command("flock", filepath.Join(dir, ".lock"), filepath.Join(project, "contrib/testguest/build"), dir)
	if out, err := build.CombinedOutput(); err != nil {
		nodeOf(ts).Skipf("no test guest: %v: %s", err, out)
	}
	ts.Setenv("GUEST", dir)
}

// Covers fails for the commands of a tool that no script plays.
func Covers(t *testing.T, tool cli.Tool) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var played strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		played.Write(text)
	}
	var look func(path string, commands cli.Commands)
	look = func(path string, commands cli.Commands) {
		for name, b := range commands {
			full := path + " " + name
			if b.Sub != nil {
				look(full, b.Sub)
			} else if !strings.Contains(played.String(), full+" ") && !strings.Contains(played.String(), full+"\n") {
				t.Errorf("no script plays %s", full)
			}
		}
	}
	look(tool.Name, tool.Commands)
}

// TB returns the test that a script is, for what makes things that end with it.
func TB(ts *testscript.TestScript) testing.TB { return nodeOf(ts).TB }
