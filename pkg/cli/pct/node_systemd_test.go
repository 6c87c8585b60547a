package pct

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// TestSystemd: where systemd is process 1, a container is a unit with upstream's name; what
// systemd does with control groups leaves its limits alone, and it is ended with its unit.
func TestSystemd(t *testing.T) {
	if _, err := os.Stat("/run/systemd/system"); err != nil || !testnode.Inside() {
		t.Skip("needs a node with systemd: runs in one, see pkg/internal/testnode")
	}
	testnode.LXC(t)
	n := &testNode{t, "/", program(t)}
	for _, dir := range []string{"/etc/pve/nodes/" + testct.Node + "/lxc", "/var/lib/lxc", "/var/lib/vz"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.write("etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup,images,rootdir,snippets,import\n")
	bridge, network := testct.Bridge(t)
	c := n.container(bridge, network, "cores: 1", "cpulimit: 0.5")
	unit := fmt.Sprintf("pve-container@%d.service", c.id)
	state := func() string {
		out := shell(t, "systemctl show -P ActiveState -P Delegate -P MainPID "+unit)
		return strings.Join(slices.Sorted(slices.Values(strings.Fields(out))), " ")
	}
	c.run("start")
	c.answers()
	if got, want := state(), fmt.Sprintf("%d active yes", c.monitor()); got != want {
		t.Errorf("the unit is %q, want %q", got, want)
	}
	// What makes systemd look at the controllers of all groups anew.
	shell(t, "systemctl daemon-reload; systemd-run --quiet --wait true; systemctl start dbus.service")
	time.Sleep(time.Second)
	c.groups(map[string]string{"cpu.max": "50000 100000", "memory.max": fmt.Sprint(64 << 20)})
	if got := c.group("cpuset.cpus"); got != "0" && got != "1" {
		t.Errorf("cores: 1 gives processors %q", got)
	}
	c.run("stop")
	c.run("start") // at once: systemd may not have forgotten the unit
	before := c.monitor()
	c.sh("reboot")
	for range 600 {
		if c.monitor() != before {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.status("running")
	c.answers()
	if got := state(); !strings.HasSuffix(got, " active yes") {
		t.Errorf("after a reboot from inside the unit is %q", got)
	}
	shell(t, "systemctl stop "+unit)
	c.status("stopped")
	c.run("start")
	c.answers()
	c.run("shutdown", "--timeout", "60")
	c.status("stopped")
	if got := state(); strings.HasSuffix(got, " active yes") {
		t.Errorf("after the end the unit is %q", got)
	}
	for _, name := range []string{"/sys/fs/cgroup/lxc/%d", "/sys/fs/cgroup/lxc.monitor/%d", "/sys/class/net/veth%di0"} {
		if _, err := os.Stat(fmt.Sprintf(name, c.id)); err == nil {
			t.Errorf("%s is left", fmt.Sprintf(name, c.id))
		}
	}
}
