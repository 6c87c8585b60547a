package pct

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// A testNode is a node whose containers a test makes with the whole program.
type testNode struct {
	t    *testing.T
	root string
	pct  string
}

func newNode(t *testing.T) *testNode {
	t.Helper()
	if testnode.Inside() {
		testnode.LXC(t)
	}
	testct.Require(t)
	return &testNode{t, testct.Root(t), program(t)}
}

func (n *testNode) command(args ...string) *exec.Cmd {
	c := exec.CommandContext(n.t.Context(), n.pct, args...)
	c.Env = append(os.Environ(), "VIRTSMITH_ROOT="+n.root, "VIRTSMITH_NODE="+testct.Node, "LC_ALL=C")
	return c
}

// try runs pct and returns what it printed, and whether it worked.
func (n *testNode) try(args ...string) (string, error) {
	n.t.Helper()
	out, err := n.command(args...).CombinedOutput()
	return string(out), err
}

// do is try for what must work.
func (n *testNode) do(args ...string) string {
	n.t.Helper()
	out, err := n.try(args...)
	if err != nil {
		n.t.Fatalf("pct %v: %v\n%s", args, err, out)
	}
	return out
}

func (n *testNode) path(name string) string { return filepath.Join(n.root, name) }

func (n *testNode) config(id int) string {
	n.t.Helper()
	text, err := os.ReadFile(n.path(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, id)))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(text)
}

// checkNothing fails where something of a container is left.
func (n *testNode) checkNothing(id int) {
	n.t.Helper()
	for _, name := range []string{
		fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, id), fmt.Sprintf("var/lib/lxc/%d", id),
		fmt.Sprintf("var/lib/vz/images/%d", id), fmt.Sprintf("var/lib/vz/private/%d", id), fmt.Sprintf("etc/pve/firewall/%d.fw", id),
	} {
		if _, err := os.Lstat(n.path(name)); err == nil {
			n.t.Errorf("%s is left", name)
		}
	}
	n.checkUnmounted()
}

// checkUnmounted fails where something below the root of the node is mounted, or has a loop
// device.
func (n *testNode) checkUnmounted() {
	n.t.Helper()
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), " "+n.root) {
		n.t.Errorf("something is mounted:\n%s", mounts)
	}
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, name := range backing {
		if text, _ := os.ReadFile(name); strings.HasPrefix(string(text), n.root) {
			n.t.Errorf("a loop device is left for %s", text)
		}
	}
}

// inside shows a file in the root of a container whose root is a folder.
func (n *testNode) inside(id int, name string) string {
	n.t.Helper()
	found, _ := filepath.Glob(n.path(fmt.Sprintf("var/lib/vz/images/%d/*.subvol", id)))
	if len(found) != 1 {
		n.t.Fatalf("the root of CT %d is none of %v", id, found)
	}
	text, err := os.ReadFile(filepath.Join(found[0], name))
	if err != nil {
		n.t.Error(err)
	}
	return string(text)
}

func TestCreate(t *testing.T) {
	n := newNode(t)
	template := testct.BusyboxAs(t, "zst")
	keys := filepath.Join(t.TempDir(), "keys")
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBMXTg1VQn7QkM2SW9+CG1FG7VtvXvK9bKqqDp7L6DrY me\n"
	if err := os.WriteFile(keys, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	id := testct.ID(t)

	t.Run("image", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		out := n.do("create", fmt.Sprint(id), template, "--rootfs", "0.06", "--mp0", "local:0.03,mp=/data,ro=1", "--net0", "name=eth0,ip=dhcp")
		text := n.config(id)
		for _, want := range []string{
			"arch: amd64\n", fmt.Sprintf("hostname: CT%d\n", id), "memory: 512\n", "swap: 512\n", "ostype: alpine\n", "unprivileged: 1\n", "type=veth\n",
			fmt.Sprintf("rootfs: local:%d/vm-%d-disk-0.raw,size=61M\n", id, id), fmt.Sprintf("mp0: local:%d/vm-%d-disk-1.raw,mp=/data,ro=1,size=30M\n", id, id),
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		if strings.Contains(text, "lock:") || !strings.Contains(out, "Detected container architecture: amd64") {
			t.Errorf("%s\n%s", out, text)
		}
		n.checkUnmounted()
		n.do("destroy", fmt.Sprint(id))
		n.checkNothing(id)
	})
	t.Run("folder", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		n.do("create", fmt.Sprint(id), template, "--rootfs", "local:0", "--unprivileged", "0", "--hostname", "web", "--password", "geheim",
			"--ssh-public-keys", keys, "--memory", "64")
		if text := n.config(id); strings.Contains(text, "unprivileged") || !strings.Contains(text, "memory: 64\n") {
			t.Error(text)
		}
		if got := n.inside(id, "etc/hostname"); got != "web\n" {
			t.Errorf("host name %q", got)
		}
		if got := n.inside(id, "root/.ssh/authorized_keys"); !strings.Contains(got, key) {
			t.Errorf("keys %q", got)
		}
		n.do("destroy", fmt.Sprint(id))
		n.checkNothing(id)
		n.checkSecret("geheim")
	})
	t.Run("image of an application", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		n.do("create", fmt.Sprint(id), testct.OCI(t), "--rootfs", "local:0", "--net0", "name=eth0,ip=dhcp")
		if text := n.config(id); !strings.Contains(text, "entrypoint: ") {
			t.Error(text)
		}
		n.do("destroy", fmt.Sprint(id))
		n.checkNothing(id)
	})
}

// checkSecret fails where a password is noted anywhere below the root of the node.
func (n *testNode) checkSecret(secret string) {
	n.t.Helper()
	_ = filepath.WalkDir(n.root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if text, _ := os.ReadFile(path); bytes.Contains(text, []byte(secret)) {
				n.t.Errorf("%s knows the password", path)
			}
		}
		return nil
	})
}

func TestCreateFails(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	archives := testct.Hostile(t)
	for _, name := range []string{"empty", "garbage", "truncated"} {
		t.Run(name, func(t *testing.T) {
			n := &testNode{t, n.root, n.pct}
			if out, err := n.try("create", fmt.Sprint(id), archives[name], "--rootfs", "0.06"); err == nil {
				t.Errorf("it worked\n%s", out)
			}
			n.checkNothing(id)
		})
	}
	for name, archive := range archives {
		t.Run("hostile "+name, func(t *testing.T) {
			n := &testNode{t, n.root, n.pct}
			if _, err := n.try("create", fmt.Sprint(id), archive, "--rootfs", "local:0"); err == nil {
				n.do("destroy", fmt.Sprint(id))
			}
			n.checkNothing(id)
			entries, _ := os.ReadDir(testct.Outside(archive))
			if secret, _ := os.ReadFile(testct.Outside(archive) + "/secret"); len(entries) != 1 || string(secret) != testct.Secret {
				t.Errorf("%v, %q", entries, secret)
			}
		})
	}
	t.Run("full", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		out, err := n.try("create", fmt.Sprint(id), testct.Busybox(t), "--rootfs", "0.002")
		if err == nil || !strings.Contains(out, fmt.Sprintf("unable to create CT %d - ", id)) || !strings.Contains(out, "no space left on device") {
			t.Errorf("%v\n%s", err, out)
		}
		n.checkNothing(id)
	})
}

// TestCreateTwice makes two containers of one number at once: one is made.
func TestCreateTwice(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	template := testct.Busybox(t)
	results := make(chan error, 2)
	for range 2 {
		go func() {
			out, err := n.try("create", fmt.Sprint(id), template, "--rootfs", "local:0")
			if err != nil && !strings.Contains(out, "already exists") {
				t.Errorf("%v\n%s", err, out)
			}
			results <- err
		}()
	}
	if one, two := <-results, <-results; (one == nil) == (two == nil) {
		t.Errorf("got %v and %v", one, two)
	}
	n.do("destroy", fmt.Sprint(id))
	n.checkNothing(id)
}

// TestCreateKilled ends the worker that makes a container. What is left says so, and can be
// destroyed.
func TestCreateKilled(t *testing.T) {
	n := newNode(t)
	id := testct.ID(t)
	c := n.command("create", fmt.Sprint(id), testct.Busybox(t), "--rootfs", "0.06", "--bwlimit", "10")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	n.killWorker(id, "disk-0.raw")
	if c.Wait() == nil {
		t.Error("the command says that it worked")
	}
	if out, err := n.try("destroy", fmt.Sprint(id)); err == nil || !strings.Contains(out, "CT is locked (create)") {
		t.Errorf("%v\n%s", err, out)
	}
	n.do("unlock", fmt.Sprint(id))
	n.do("destroy", fmt.Sprint(id))
	n.checkNothing(id)
	n.do("create", fmt.Sprint(id), testct.Busybox(t), "--rootfs", "local:0")
	n.do("destroy", fmt.Sprint(id))
}

// killWorker ends the worker of a container's task, once the configuration of the container has
// the given text.
func (n *testNode) killWorker(id int, text string) {
	n.t.Helper()
	conf := n.path(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, id))
	for range 6000 {
		if now, _ := os.ReadFile(conf); bytes.Contains(now, []byte(text)) {
			lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, name := range lines {
				argv, _ := os.ReadFile(name)
				if bytes.Contains(argv, []byte("--task-worker\x00")) && bytes.Contains(argv, fmt.Appendf(nil, ":%d:", id)) {
					if err := exec.Command("kill", "-9", strings.Split(name, "/")[2]).Run(); err != nil {
						n.t.Fatal(err)
					}
					return
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.t.Fatal("the worker did not get that far")
}
