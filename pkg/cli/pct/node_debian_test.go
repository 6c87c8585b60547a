package pct

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// TestNodeDebian: Debian with systemd, unprivileged, under its own kernel: it comes up with
// all its units, keeps to its limits, and powers off.
func TestNodeDebian(t *testing.T) {
	full(t)
	n := kernelNode(t)
	template := testct.Debian(t)
	bridge, network := testct.Bridge(t)
	c := &testCT{testNode: n, id: testct.ID(t)}
	c.run("create", template, "--rootfs", "local:0.6", "--memory", "256", "--swap", "0", "--hostname", "deb", "--features", "nesting=1",
		"--net0", "name=eth0,bridge="+bridge+",ip="+network+"9/24")
	t.Cleanup(func() { _, _ = c.try("stop", strconv.Itoa(c.id)) })
	c.run("start")
	state := ""
	for range 120 {
		out, _ := c.try("exec", strconv.Itoa(c.id), "--", "systemctl", "is-system-running")
		if state = strings.TrimSpace(out); state == "running" || state == "degraded" {
			break
		}
		time.Sleep(time.Second)
	}
	// No container may mount the file systems by which the kernel is debugged and configured.
	failed := c.sh("systemctl --failed --no-pager --plain --no-legend | grep -v '^sys-kernel-' || true")
	if state != "running" && state != "degraded" || failed != "" {
		t.Errorf("systemd is %q: %s\n%s", state, failed, c.sh("journalctl -b -p 4 --no-pager | tail -n 30"))
	}
	if got := c.sh("hostname; grep -c '^MemTotal: *262144 kB$' /proc/meminfo; ip -4 -br address show eth0"); !regexp.MustCompile(`^deb\n1\neth0\S* +UP +` + regexp.QuoteMeta(network) + `9/24`).MatchString(got) {
		t.Errorf("it has %q", got)
	}
	shell(t, fmt.Sprintf("ping -c 1 -W 5 %s9", network))
	c.groups(map[string]string{"memory.max": fmt.Sprint(256 << 20)})
	c.run("shutdown", "--timeout", "120")
	c.status("stopped")
	c.nothing()
	c.run("destroy")
}
