package pct

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// privileged makes a container of the other kind: its users are those of the node.
func (n *testNode) privileged(more ...string) *testCT {
	n.t.Helper()
	c := n.container("", "", more...)
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), strings.Replace(n.config(c.id), "unprivileged: 1\n", "", 1))
	root := n.path(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol", c.id))
	shell(n.t, "chown -hR 0:0 "+root)
	return c
}

// TestNodeDevices: a container opens the devices that it was given and no others, by control
// groups of version 2.
func TestNodeDevices(t *testing.T) {
	full(t)
	n := kernelNode(t)
	disk := testnode.Disk(t, 2)
	st := strings.Fields(shell(t, "stat -c '%Hr %Lr' "+disk))
	c := n.privileged("dev0: "+disk+",mode=0660", "dev1: /dev/vda,deny-write=1", "lxc.cap.keep: none", "features: nesting=1")
	text := strings.Replace(n.config(c.id), "lxc.cap.keep: none\n", "", 1)
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), text)
	c.run("start")
	if got := c.sh("cat /proc/self/uid_map | tr -s ' '"); got != " 0 0 4294967295\n" {
		t.Errorf("users %q", got)
	}
	for _, x := range []struct {
		line string
		ok   bool
	}{
		{"dd if=" + disk + " of=/dev/null bs=4096 count=1", true},
		{"dd if=/dev/zero of=" + disk + " bs=4096 count=1 conv=notrunc", true},
		{"dd if=/dev/vda of=/dev/null bs=4096 count=1", true},
		{"dd if=/dev/null of=/dev/vda bs=1 count=0 conv=notrunc", false},
		{"mknod /root/disk b " + st[0] + " " + st[1] + " && dd if=/root/disk of=/dev/null bs=4096 count=1", true},
		{"mknod /root/mem c 1 1 && dd if=/root/mem of=/dev/null bs=1 count=1", false},
		{"mknod /root/kmsg c 1 11 && dd if=/root/kmsg of=/dev/null bs=1 count=1", false},
		{"echo x >/dev/null; head -c 1 /dev/urandom >/dev/null; head -c 1 /dev/zero >/dev/null", true},
		{"date -s 2001-01-01 2>&1 | grep -v 'not permitted' | grep -q set", false},
		{"modprobe dummy || insmod /x.ko", false},
	} {
		if out, err := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", x.line); (err == nil) != x.ok {
			t.Errorf("%s: %v: %s", x.line, err, out)
		}
	}
	c.run("stop")
	c.nothing()
}

// TestNodeMap: maps of ids by newuidmap, which wants them allowed.
func TestNodeMap(t *testing.T) {
	full(t)
	n := kernelNode(t)
	testnode.SubIDs(t, "root:100000:65536\nroot:1000:1\n")
	own := []string{
		"lxc.idmap: u 0 100000 1000", "lxc.idmap: g 0 100000 1000", "lxc.idmap: u 1000 1000 1", "lxc.idmap: g 1000 1000 1",
		"lxc.idmap: u 1001 101001 64535", "lxc.idmap: g 1001 101001 64535", "lxc.apparmor.profile: unconfined",
	}
	c := n.container("", "", append(own, "mp0: "+n.path("srv")+",mp=/srv")...)
	if err := os.MkdirAll(n.path("srv"), 0o777); err != nil {
		t.Fatal(err)
	}
	shell(t, "chown 1000:1000 "+n.path("srv"))
	c.run("start")
	if got := c.sh("stat -c '%u %g' /srv / /etc; cat /proc/self/uid_map | tr -s ' '"); got != "1000 1000\n0 0\n0 0\n 0 100000 1000\n 1000 1000 1\n 1001 101001 64535\n" {
		t.Errorf("it sees %q", got)
	}
	c.run("stop")
	testnode.SubIDs(t, "root:100000:65536\n")
	c.fails("newuidmap does not let root use the ids of the map: add 'root:1000:1' to /etc/subuid", "start")
	c.status("stopped")
	c.nothing()
}

// TestNodeFeatures: what features let an unprivileged container do.
func TestNodeFeatures(t *testing.T) {
	full(t)
	n := kernelNode(t)
	plain := n.container("", "", "cores: 2")
	plain.run("start")
	for _, x := range []struct {
		name, line string
		works      string // a line of shell that works with the feature alone
	}{
		{"fuse", "features: fuse=1", "dd if=/dev/fuse of=/dev/null bs=1 count=0"},
		{"mount", "features: mount=ext4;xfs", "mount -t ext4 /dev/null /mnt 2>&1 | grep -v 'Permission denied'"},
		{"force_rw_sys", "features: force_rw_sys=1", "grep -q '^sysfs /sys sysfs rw' /proc/mounts"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := (&testNode{t, n.root, n.pct}).container("", "", x.line)
			c.run("start")
			if out, err := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", x.works); err != nil {
				t.Errorf("%s: %v: %s", x.works, err, out)
			}
			c.run("stop")
			if out, err := plain.try("exec", strconv.Itoa(plain.id), "--", "sh", "-c", x.works); err == nil {
				t.Errorf("without, %s: %s", x.works, out)
			}
		})
	}
	plain.run("stop")
	plain.nothing()
}
