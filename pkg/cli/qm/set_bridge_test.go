package qm

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSetBridge moves network cards between bridges, in a network of its own.
func TestSetBridge(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network of one's own needs root")
	}
	runtime.LockOSThread() // and never unlock: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network of our own: %v", err)
	}
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	for _, bridge := range []string{"vmbr0", "vmbr1"} {
		ip("link", "add", bridge, "type", "bridge")
		ip("link", "set", bridge, "up")
	}
	s := newSandbox(t)
	s.boot()
	const card = "virtio=BC:24:11:00:00:77,bridge="
	on := func(device, bridge string) {
		t.Helper()
		if out := ip("link", "show", device); !strings.Contains(out, " master "+bridge+" ") {
			t.Fatalf("not on %s: %s", bridge, out)
		}
	}
	s.must("set", "100", "--net1", card+"vmbr0,rate=10")
	on("tap100i1", "vmbr0")
	if out := ip("link", "show", "tap100i1"); !strings.Contains(out, "qdisc tbf") {
		t.Errorf("no limit: %s", out)
	}
	s.must("set", "100", "--net1", card+"vmbr1")
	on("tap100i1", "vmbr1")
	s.refused("bridge 'vmbr9' does not exist", "set", "100", "--net1", card+"vmbr9")
	on("tap100i1", "vmbr1")
	s.refused("no physical interface", "set", "100", "--net1", card+"vmbr1,tag=5")
	on("tap100i1", "vmbr1")
	s.must("set", "100", "--net1", card+"vmbr0,firewall=1")
	on("tap100i1", "fwbr100i1")
	on("fwpr100p1", "vmbr0")
	s.refused("bridge 'nosuch' does not exist", "set", "100", "--net2", "virtio,bridge=nosuch")
	s.must("set", "100", "--revert", "net2")
	s.must("set", "100", "--delete", "net1")
	if out := ip("link"); strings.Contains(out, "tap") || strings.Contains(out, "fw") {
		t.Errorf("left: %s", out)
	}
	s.must("set", "100", "--net3", "virtio,bridge=vmbr0")
	s.must("stop", "100")
	if out := ip("link"); strings.Contains(out, "tap") {
		t.Errorf("left after stop: %s", out)
	}
}
