package pct

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// init is the first process of the container, as the host numbers it.
func (c *testCT) init() int {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/sys/fs/cgroup/lxc/%d/ns/init.scope/cgroup.procs", c.id))
	if err != nil {
		text, err = os.ReadFile(fmt.Sprintf("/sys/fs/cgroup/lxc/%d/ns/cgroup.procs", c.id))
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, failed := strconv.Atoi(first)
	if err != nil || failed != nil {
		c.t.Fatalf("init of %d: %v, %v", c.id, err, failed)
	}
	return pid
}

// profile is the profile of AppArmor that a process of the host is confined by.
func profile(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestNodeAppArmor: the profile that LXC makes holds containers, and features loosen it.
func TestNodeAppArmor(t *testing.T) {
	full(t) // TestNodeLimits looks at the usual one
	n := kernelNode(t)
	for _, x := range []struct {
		name    string
		lines   []string
		profile string // of init
		works   []string
		denied  []string
	}{
		{
			name: "usual", profile: "lxc-%d_",
			works:  []string{"mount -t tmpfs x /mnt && umount /mnt"},
			denied: []string{"mount -t proc proc /mnt", "mount -t sysfs sys /mnt", "mount -t cgroup2 x /mnt", "mount -t ext4 /dev/null /mnt"},
		},
		{
			name: "nesting", lines: []string{"features: nesting=1"}, profile: "lxc-%d_",
			works: []string{"unshare -m -p -f sh -c 'mount -t proc proc /mnt && ls /mnt/1 >/dev/null && umount /mnt'", "mount -t sysfs sys /mnt && umount /mnt", "unshare -r true"},
		},
		{
			name: "own profile", lines: []string{"features: nesting=1", "lxc.apparmor.profile: unconfined"}, profile: "unconfined",
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := (&testNode{t, n.root, n.pct}).container("", "", x.lines...)
			out := c.run("start")
			got := profile(t, c.init())
			if want := x.profile; !strings.HasPrefix(got, strings.Replace(want, "%d", strconv.Itoa(c.id), 1)) {
				t.Errorf("init has profile %q, want %q", got, want)
			}
			if own := x.profile == "unconfined"; own != strings.Contains(out, "explicitly configured lxc.apparmor.profile overrides the following settings: features:nesting") {
				t.Errorf("start: %q", out)
			}
			if got := profile(t, c.monitor()); got != "/usr/bin/lxc-start (enforce)" {
				t.Errorf("the monitor has profile %q", got)
			}
			for _, line := range x.works {
				if out, err := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", line); err != nil {
					t.Errorf("%s: %v: %s", line, err, out)
				}
			}
			for _, line := range x.denied {
				if out, err := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", line); err == nil {
					t.Errorf("%s: worked: %s", line, out)
				}
			}
			c.run("stop")
			c.nothing()
			if list, _ := os.ReadFile("/sys/kernel/security/apparmor/profiles"); strings.Contains(string(list), fmt.Sprintf("lxc-%d_", c.id)) {
				t.Errorf("left: %s", list)
			}
		})
	}
}
