package pct

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// bring copies programs of the node into a container that runs, with their libraries.
func (c *testCT) bring(programs ...string) {
	c.t.Helper()
	root := fmt.Sprintf("/proc/%d/root", c.init())
	for _, name := range programs {
		shell(c.t, fmt.Sprintf(`p=$(command -v %s); mkdir -p %[2]s/root/bin; cp -L $p %[2]s/root/bin/; for f in $(ldd $p | grep -o '/[^ ]*lib[^ :]*'); do mkdir -p %[2]s$(dirname $f); cp -L $f %[2]s$f; done`, name, root))
	}
}

// TestNodeQuota: quotas of users work inside, on an image and on a thin volume, and lists of access.
func TestNodeQuota(t *testing.T) {
	full(t)
	testnode.Need(t, "quota")
	n := kernelNode(t)
	c := n.made("--unprivileged", "0", "--rootfs", "local:0.1,quota=1,acl=1")
	c.run("start")
	c.bring("quotacheck", "quotaon", "setquota", "repquota", "setfacl", "getfacl")
	for _, line := range []string{
		"quotacheck -cugmM /", "quotaon -ug /", "setquota -u 1000 0 2048 0 0 /",
		"mkdir -p /home/u && chown 1000:1000 /home/u", "repquota -u / | grep 1000", "setfacl -m u:1000:rwx /root && getfacl /root 2>/dev/null | grep user:1000:rwx",
	} {
		if out, err := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", "PATH=/root/bin:$PATH; "+line); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	write := func() (string, error) {
		return c.try("exec", strconv.Itoa(c.id), "--", "/root/bin/setpriv", "--reuid", "1000", "--clear-groups", "dd", "if=/dev/zero", "of=/home/u/much", "bs=1M", "count=4")
	}
	c.bring("setpriv")
	if out, err := write(); err == nil || !strings.Contains(out, "quota") {
		t.Errorf("4 MiB of 2: %v: %s", err, out)
	}
	c.run("stop")
	c.run("start")
	c.sh("/root/bin/quotaon -ug /")
	if out, err := write(); err == nil || !strings.Contains(out, "quota") {
		t.Errorf("4 MiB of 2, after a restart: %v: %s", err, out)
	}
	c.run("stop")
	c.nothing()
}
