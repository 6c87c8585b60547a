package testct_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// members lists what tar finds in an archive.
func members(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("tar %q: %v: %s", args, err, out)
	}
	return strings.Fields(string(out))
}

func TestBusybox(t *testing.T) {
	for _, compression := range []string{"gz", "zst", "xz", "bz2", "tar"} {
		t.Run(compression, func(t *testing.T) {
			names := members(t, "-taf", testct.BusyboxAs(t, compression))
			for _, want := range []string{"./", "./etc/alpine-release", "./sbin/init", "./bin/busybox", "./etc/inittab", "./bin/httpd"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s is not in it", want)
				}
			}
		})
	}
}

func TestOCI(t *testing.T) {
	names := members(t, "-tf", testct.OCI(t))
	if len(names) != 8 || !slices.Contains(names, "index.json") {
		t.Error(names)
	}
}

func TestHostile(t *testing.T) {
	for name, at := range testct.Hostile(t) {
		if raw, err := os.ReadFile(filepath.Join(testct.Outside(at), "secret")); err != nil || string(raw) != testct.Secret {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
		f, err := os.Open(at)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if name == "empty" || name == "garbage" {
			if err == nil {
				t.Error(name + " is an archive")
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(z)
		for err == nil {
			if _, err = r.Next(); err == nil {
				_, err = io.Copy(io.Discard, r)
			}
		}
		if whole := errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF); whole == (name == "truncated") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDebian(t *testing.T) {
	if names := members(t, "-taf", testct.Debian(t)); !slices.Contains(names, "./usr/bin/apt") && !slices.Contains(names, "./usr/bin/dpkg") {
		t.Errorf("%d members, no dpkg", len(names))
	}
}

func TestID(t *testing.T) {
	if a, b := testct.ID(t), testct.ID(t); a == b {
		t.Errorf("%d twice", a)
	}
}

// TestEnds leaves a container that runs, and one that is frozen.
func TestEnds(t *testing.T) {
	testct.Require(t)
	var root string
	var ids []int
	t.Run("leave", func(t *testing.T) {
		root = testct.Root(t)
		bridge, _ := testct.Bridge(t)
		for i := range 2 {
			id := testct.ID(t)
			ids = append(ids, id)
			home := testct.Container(t, filepath.Join(root, "var/lib/lxc"), id,
				fmt.Sprintf("lxc.net.0.type = veth\nlxc.net.0.link = %s\nlxc.net.0.veth.pair = veth%di0\n", bridge, id))
			cmd := exec.Command("lxc-start", "-F", "-n", fmt.Sprint(id), "-P", filepath.Dir(home), "-o", home+"/log", "-l", "INFO")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { _ = cmd.Wait() }()
			testct.Up(t, home)
			if i == 1 {
				if out, err := exec.Command("lxc-freeze", "-n", fmt.Sprint(id), "-P", filepath.Dir(home)).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
		}
		if left := testct.Left(root, ids...); len(left) < 4 {
			t.Errorf("running, and only %q", left)
		}
	})
	if left := testct.Left(root, ids...); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
