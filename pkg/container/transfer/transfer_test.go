package transfer_test

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/transfer"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testdaemon"
)

// lone is a container whose init is a process of the test, in a root of its own.
type lone struct {
	ct.Runtime
	pid int
}

func (l lone) InitPID(context.Context, string) (int, error) { return l.pid, nil }

// start makes a container out of a process that has a folder as its root.
func start(t *testing.T, values string) (*transfer.Service, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a root of its own needs root")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox on this machine")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, name := range []string{"bin", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"bin/busybox": binary, "etc/passwd": []byte("root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n"), "etc/group": []byte("www:x:35:\n")} {
		if err := os.WriteFile(filepath.Join(root, name), file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("chroot", root, "/bin/busybox", "sh", "-c", "echo there; exec /bin/busybox sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	ended, err := testdaemon.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err) // it is in its root only when it says so
	}
	c := cluster.New(dir, "pve1")
	if err := c.Init(); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteGuest(t.Context(), cluster.Container, 100, []byte(values)); err != nil {
		t.Fatal(err)
	}
	h := &ct.Host{
		Root: dir, Node: "pve1", Cluster: c, LXC: lone{pid: cmd.Process.Pid},
		Active: func(context.Context) (map[string]bool, error) { return map[string]bool{"100": true}, nil },
	}
	return &transfer.Service{Host: h}, root
}

// TestThereAndBack: bytes and modes are kept, owners are those of the container.
func TestThereAndBack(t *testing.T) {
	s, root := start(t, "arch: amd64\nunprivileged: 1\n")
	source, back := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "b")
	data := bytes.Repeat([]byte("what is pushed \x00\xff"), 100000)
	if err := os.WriteFile(source, data, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), transfer.File{VM: 100, Source: source, Dest: "/tmp/f", User: "web", Group: "www"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "tmp/f"))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o640 || owner.Uid != 100033 || owner.Gid != 100035 {
		t.Errorf("in the container: mode %v, owner %d:%d", info.Mode(), owner.Uid, owner.Gid)
	}
	if err := s.Pull(t.Context(), transfer.File{VM: 100, Source: "tmp/f", Dest: back, User: "65534"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(back)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	if info, err := os.Stat(back); err != nil || info.Mode() != 0o640 || info.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("mode %v, %v", info, err)
	}
	// Into folders, and with permissions of its own.
	if err := s.Push(t.Context(), transfer.File{VM: 100, Source: source, Dest: "/tmp", Perms: "4755"}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, "tmp/s")); err != nil || info.Mode() != 0o755|fs.ModeSetuid {
		t.Errorf("mode %v, %v", info, err)
	}
}

// TestRefused: what cannot be done is said, and leaves nothing.
func TestRefused(t *testing.T) {
	s, root := start(t, "arch: amd64\nunprivileged: 1\n")
	dir := t.TempDir()
	source := filepath.Join(dir, "s")
	if err := os.WriteFile(source, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/shadow", filepath.Join(root, "tmp/out")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "tmp/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	push := func(f transfer.File) error { f.VM, f.Source = 100, source; return s.Push(t.Context(), f) }
	pull := func(from, to string) error {
		return s.Pull(t.Context(), transfer.File{VM: 100, Source: from, Dest: to})
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"unknown user":      {push(transfer.File{Dest: "/tmp/a", User: "nobody9"}), "does not exist in the container"},
		"unmapped user":     {push(transfer.File{Dest: "/tmp/a", User: "70000"}), "is not mapped"},
		"no permissions":    {push(transfer.File{Dest: "/tmp/a", Perms: "9"}), "neither octal"},
		"too large":         {push(transfer.File{Dest: "/tmp/a", Perms: "0xffff"}), "neither octal"},
		"no such folder":    {push(transfer.File{Dest: "/nowhere/a"}), "no such file"},
		"a link that leads": {pull("/tmp/out", filepath.Join(dir, "x")), "no such file"},
		"a pipe":            {pull("/tmp/fifo", filepath.Join(dir, "x")), "not a regular file"},
		"a folder":          {pull("/tmp", filepath.Join(dir, "x")), "not a regular file"},
		"nowhere to put it": {pull("/etc/passwd", filepath.Join(dir, "none/x")), "no such file"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v", name, c.err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Pull(ctx, transfer.File{VM: 100, Source: "/bin/busybox", Dest: source}); err == nil {
		t.Error("a copy that was ended succeeded")
	}
	if text, err := os.ReadFile(source); err != nil || string(text) != "x" {
		t.Errorf("what was there became %q, %v", text, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestStopped has upstream's words.
func TestStopped(t *testing.T) {
	h := &ct.Host{Active: func(context.Context) (map[string]bool, error) { return nil, nil }}
	s := &transfer.Service{Host: h}
	f := transfer.File{VM: id.VM(100), Source: "/a", Dest: "/b"}
	if err := s.Push(t.Context(), f); err == nil || err.Error() != "can only push files to a running VM" {
		t.Error(err)
	}
	if err := s.Pull(t.Context(), f); err == nil || err.Error() != "can only pull files from a running VM" {
		t.Error(err)
	}
}
