// Package testct has what tests of containers need: templates that are made in a moment,
// images, archives that mean harm, a root for a node, a bridge, an id that nobody else uses,
// and an end for all that a test has started.
package testct

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
)

// Ready is the word that a container made from one of the templates of this package writes to
// its console, followed by its host name, when it is up.
const Ready = "CT-READY"

// Down is what it writes there when it is told to stop.
const Down = "CT-DOWN"

// Require skips the test, with the reason, where containers cannot run.
func Require(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root starts containers")
	}
	if _, err := exec.LookPath("lxc-start"); err != nil {
		t.Skipf("containers need the package lxc: %v", err)
	}
	if _, err := busyboxPath(); err != nil {
		t.Skip(err)
	}
	mounts := cgroupMounts()
	if len(mounts) == 0 {
		t.Skip("containers need control groups: none is mounted")
	}
	for _, at := range mounts {
		if probe, err := os.MkdirTemp(at, "vsprobe."); err == nil {
			_ = os.Remove(probe)
		} else {
			t.Skipf("containers need control groups they can make: %s is read-only", at)
		}
	}
}

// Node is the name of the node in the root that Root makes.
const Node = "pve1"

// Root makes the root of a node, with a short path that containers' users may pass, and a
// storage "local" for everything. When the test ends, so does every container that runs from
// below it, and mounts and loop devices there are undone; a test need not stop what it starts.
func Root(t testing.TB) string {
	t.Helper()
	root := testroot.New(t)
	// The root of an unprivileged container comes through here.
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"etc/pve/nodes/" + Node + "/lxc", "var/lib/lxc", "var/lib/vz", "run", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	storages := "dir: local\n\tpath " + root + "/var/lib/vz\n\tcontent iso,vztmpl,backup,images,rootdir,snippets,import\n"
	if err := os.WriteFile(filepath.Join(root, "etc/pve/storage.cfg"), []byte(storages), 0o640); err != nil {
		t.Fatal(err)
	}
	Ends(t, root)
	return root
}

// ID returns the id of a guest that no other test of this machine uses as long as this one
// runs: the names of control groups and network devices are made of it.
func ID(t testing.TB) int {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "virtsmith-testct")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for id := 7000; id < 9000; id++ {
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(id)), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			f.Close()
			continue
		}
		t.Cleanup(func() {
			removeGroups(strconv.Itoa(id))
			f.Close()
		})
		return id
	}
	t.Fatal("no id is free")
	return 0
}

// Bridge makes a bridge with a name and a network of its own in the namespace that all
// containers start from, and removes it when the test ends. The host has the address
// 10.x.y.1/24 on it, which is returned without the last number: "10.201.7.".
func Bridge(t testing.TB) (name, network string) {
	t.Helper()
	Require(t)
	id := ID(t)
	name, network = fmt.Sprintf("vst%d", id), fmt.Sprintf("10.%d.%d.", 200+(id-7000)/250, (id-7000)%250)
	_ = exec.Command("ip", "link", "del", name).Run() // of a test that was killed
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	for _, line := range []string{
		"link add " + name + " type bridge forward_delay 0",
		"address add " + network + "1/24 dev " + name,
		"link set " + name + " up",
	} {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("no bridge: ip %s: %v: %s", line, err, out)
		}
	}
	return name, network
}
