package pct

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// kernelNode is a node with all that the kernel of Debian has for containers.
func kernelNode(t *testing.T) *testNode {
	t.Helper()
	testnode.Need(t, "containers")
	return newNode(t)
}

// group reads a file of the control group of a container.
func (c *testCT) group(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/sys/fs/cgroup/lxc/%d/%s", c.id, name))
	if err != nil {
		c.t.Error(err)
	}
	return strings.TrimSpace(string(text))
}

// groups checks files of the control group.
func (c *testCT) groups(want map[string]string) {
	c.t.Helper()
	for name, value := range want {
		if got := c.group(name); got != value {
			c.t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
}

// TestNodeLimits: limits by control groups of version 2, at the start and changed live; they
// hold, and lxcfs shows them.
func TestNodeLimits(t *testing.T) {
	n := kernelNode(t)
	swap(t, 128<<20)
	c := n.container("", "", "cores: 1", "cpulimit: 0.5", "cpuunits: 200", "mp0: "+n.path("run")+",mp=/run/host")
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), strings.Replace(n.config(c.id), "swap: 0", "swap: 32", 1))
	out := c.run("start")
	if strings.Contains(out, "kernel") {
		t.Errorf("start: %s", out)
	}
	c.status("running")
	if got := profile(t, c.init()); !strings.HasPrefix(got, fmt.Sprintf("lxc-%d_", c.id)) {
		t.Errorf("init has profile %q", got)
	}
	const mib = 1 << 20
	c.groups(map[string]string{
		"memory.max": fmt.Sprint(64 * mib), "memory.high": fmt.Sprint(64 * mib / 128 * 127), "memory.swap.max": fmt.Sprint(32 * mib),
		"cpu.max": "50000 100000", "cpu.weight": "200",
	})
	if got := c.group("cpuset.cpus"); got != "0" && got != "1" {
		t.Errorf("cores: 1 gives processors %q", got)
	}
	// lxcfs
	if got := c.sh("head -n 1 /proc/meminfo; nproc; grep -c ^processor /proc/cpuinfo"); !regexp.MustCompile(`^MemTotal: +65536 kB\n1\n1\n$`).MatchString(got) {
		t.Errorf("it sees %q", got)
	}
	// A tmpfs counts as the container's memory. What is swapped counts too, so 96 MiB of 128 have room.
	if out, err := c.try("exec", fmt.Sprint(c.id), "--", "dd", "if=/dev/zero", "of=/run/much", "bs=1M", "count=128"); err == nil {
		t.Errorf("128 MiB of 64 and 32 of swap are written: %s", out)
	}
	if got := c.group("memory.swap.current"); got == "0" {
		t.Error("nothing is swapped")
	}
	c.sh("rm -f /run/much")
	if got := c.group("memory.events"); strings.Contains(got, "oom_kill 0\n") || strings.Contains(got, "max 0\n") {
		t.Errorf("the limit was not met: %q", got)
	}

	out = c.run("set", "--memory", "128", "--swap", "0", "--cpulimit", "0.25", "--cpuunits", "50", "--cores", "2")
	if strings.Contains(out, "unable") || strings.Contains(n.config(c.id), "[pve:pending]") || strings.Contains(n.config(c.id), "[pending]") {
		t.Errorf("set: %s\n%s", out, n.config(c.id))
	}
	c.groups(map[string]string{
		"memory.max": fmt.Sprint(128 * mib), "memory.high": fmt.Sprint(128 * mib / 128 * 127), "memory.swap.max": "0",
		"cpu.max": "25000 100000", "cpu.weight": "50", "cpuset.cpus.effective": "0-1",
	})
	if got := c.sh("head -n 1 /proc/meminfo"); !regexp.MustCompile(`^MemTotal: +131072 kB\n$`).MatchString(got) {
		t.Errorf("it sees %q", got)
	}
	// A quarter of a processor: a second of work takes four.
	before, began := c.usage(), time.Now()
	c.sh("(while :; do :; done) & pid=$!; sleep 3; kill $pid")
	if used, took := c.usage()-before, time.Since(began); used > took/4+400*time.Millisecond {
		t.Errorf("used %s of %s", used, took)
	}
	if got := c.group("cpu.stat"); strings.Contains(got, "nr_throttled 0\n") {
		t.Errorf("it was never held back: %q", got)
	}
	c.run("set", "--delete", "cpulimit,cpuunits,cores")
	c.groups(map[string]string{"cpu.max": "max 100000", "cpu.weight": "100", "cpuset.cpus.effective": "0-1"})
	c.sh("dd if=/dev/zero of=/run/some bs=1M count=40 2>/dev/null")
	c.fails("the container uses 4. MiB of memory and cannot be limited to 24 MiB", "set", "--memory", "24")
	c.sh("rm /run/some")
	c.run("set", "--memory", "32")
	c.groups(map[string]string{"memory.max": fmt.Sprint(32 * mib)})

	out = c.run("status", "--verbose")
	for _, want := range []string{`(?m)^status: running$`, `(?m)^maxmem: 33554432$`, `(?m)^mem: [1-9]\d+$`, `(?m)^pressurecpusome: [\d.]+$`, `(?m)^pressurememoryfull: [\d.]+$`, `(?m)^pressureiosome: [\d.]+$`, `(?m)^diskwrite: \d+$`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	c.run("suspend")
	c.groups(map[string]string{"cgroup.freeze": "1"})
	c.run("resume")
	c.run("stop")
	c.status("stopped")
	c.nothing()
	if left, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/lxc*/*%d*", c.id)); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// swap gives the node a file to swap to.
func swap(t *testing.T, size int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "swap")
	for _, line := range []string{fmt.Sprintf("fallocate -l %d %s", size, path), "chmod 600 " + path, "mkswap -q " + path, "swapon " + path} {
		words := strings.Fields(line)
		if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("swapoff", path).Run() })
}

// usage is the processors' time that a container has used.
func (c *testCT) usage() time.Duration {
	c.t.Helper()
	var us int64
	if _, err := fmt.Sscanf(c.group("cpu.stat"), "usage_usec %d", &us); err != nil {
		c.t.Error(err)
	}
	return time.Duration(us) * time.Microsecond
}
