package pct

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// full skips what only make test-storage has the time for.
func full(t *testing.T) {
	t.Helper()
	if os.Getenv("VIRTSMITH_TEST_ALL") != "1" {
		t.Skip("make test-storage runs this")
	}
}

// addStorage adds a section to storage.cfg.
func (n *testNode) addStorage(lines ...string) {
	n.t.Helper()
	text, err := os.ReadFile(n.path("etc/pve/storage.cfg"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("etc/pve/storage.cfg", string(text)+"\n"+strings.Join(lines, "\n\t")+"\n")
}

// shell runs a line of shell on the node.
func shell(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// made makes a container from the template of busybox, with more options.
func (n *testNode) made(more ...string) *testCT {
	n.t.Helper()
	c := &testCT{testNode: n, id: testct.ID(n.t)}
	n.do(append([]string{"create", strconv.Itoa(c.id), testct.Busybox(n.t), "--memory", "64", "--swap", "0"}, more...)...)
	n.t.Cleanup(func() {
		_, _ = n.try("stop", strconv.Itoa(c.id))
		_, _ = n.try("destroy", strconv.Itoa(c.id), "--force")
	})
	return c
}

// other is a container that a command has made.
func (c *testCT) other() *testCT {
	c.t.Helper()
	o := &testCT{testNode: c.testNode, id: testct.ID(c.t)}
	c.t.Cleanup(func() {
		_, _ = c.try("stop", strconv.Itoa(o.id))
		_, _ = c.try("destroy", strconv.Itoa(o.id), "--force")
	})
	return o
}

// option is the value of an option in the configuration.
func (c *testCT) option(key string) string {
	c.t.Helper()
	m := regexp.MustCompile(`(?m)^` + key + `: (.*)$`).FindStringSubmatch(c.run("config"))
	if m == nil {
		return ""
	}
	return m[1]
}

// matches checks an option.
func (c *testCT) matches(key, want string) {
	c.t.Helper()
	if got := c.option(key); !regexp.MustCompile(want).MatchString(got) {
		c.t.Errorf("%s: %q, want %q", key, got, want)
	}
}

// size is how large the file system of the root is, in MiB, as seen inside.
func (c *testCT) size() int {
	c.t.Helper()
	words := strings.Fields(c.sh("df -P -m / | tail -n 1"))
	n, err := strconv.Atoi(words[1])
	if err != nil {
		c.t.Errorf("df: %q", words)
	}
	return n
}

// life takes a container through snapshot, change and rollback; the whole of it through growth,
// template and clones.
func (c *testCT) life(whole bool, linked string) {
	c.t.Helper()
	c.run("start")
	c.sh("echo one >/root/file; sync")
	c.run("snapshot", "s1")
	c.sh("echo two >/root/file; sync")
	if whole {
		before := c.size()
		c.run("resize", "rootfs", "+64M")
		if after := c.size(); after < before+50 {
			c.t.Errorf("grew from %d to %d", before, after)
		}
	}
	c.run("stop")
	if whole {
		o := c.other()
		from, want := []string{"clone", strconv.Itoa(o.id), "--full"}, "two\n"
		if zfs := strings.Contains(linked, "basevol"); zfs {
			c.fails("Full clone feature is not supported for drive 'rootfs'", "clone", strconv.Itoa(o.id), "--full", "--snapname", "s1")
		} else {
			from, want = append(from, "--snapname", "s1"), "one\n"
		}
		c.run(from[0], from[1:]...)
		o.run("start")
		if got := o.sh("cat /root/file"); got != want {
			c.t.Errorf("the clone has %q, want %q", got, want)
		}
		o.run("stop")
		o.run("destroy")
	}
	c.run("rollback", "s1", "--start", "1")
	if got := c.sh("cat /root/file"); got != "one\n" {
		c.t.Errorf("after the rollback it is %q", got)
	}
	c.run("stop")
	c.run("delsnapshot", "s1")
	if !whole {
		c.run("destroy")
		c.nothing()
		return
	}
	c.run("template")
	c.matches("rootfs", "/?base(vol)?-"+strconv.Itoa(c.id))
	o := c.other()
	c.run("clone", strconv.Itoa(o.id))
	o.matches("rootfs", linked)
	o.run("start")
	if got := o.sh("cat /root/file; echo three >/root/file; cat /root/file"); got != "one\nthree\n" {
		c.t.Errorf("the linked clone has %q", got)
	}
	o.run("stop")
	if strings.Contains(linked, "base") {
		c.fails("base volume '.*' is still in use by linked clone", "destroy")
	}
	o.run("destroy")
	c.run("destroy")
	c.nothing()
	o.nothing()
}

// TestNodeThin: a root on a thin volume.
func TestNodeThin(t *testing.T) {
	testnode.Need(t, "device-mapper")
	n := kernelNode(t)
	lvmtest.Pool(t, "2000", "800m")
	n.addStorage("lvmthin: thin", "vgname "+lvmtest.VG, "thinpool data", "content rootdir,images")
	c := n.made("--rootfs", "thin:0.1")
	c.matches("rootfs", fmt.Sprintf(`^thin:vm-%d-disk-0,size=1\d\dM$`, c.id))
	if os.Getenv("VIRTSMITH_TEST_ALL") != "1" { // making a profile takes seconds, each time
		n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), n.config(c.id)+"lxc.apparmor.profile: unconfined\n")
	}
	c.life(os.Getenv("VIRTSMITH_TEST_ALL") == "1", `^thin:vm-\d+-disk-0,size=1\d\dM$`)
	if left := lvmtest.Names(t); left != "data" {
		t.Errorf("left: %s", left)
	}
}

// TestNodeMove: a root moves between types.
func TestNodeMove(t *testing.T) {
	full(t)
	testnode.Need(t, "device-mapper")
	n := kernelNode(t)
	lvmtest.Pool(t, "2000", "800m")
	n.addStorage("lvmthin: thin", "vgname "+lvmtest.VG, "thinpool data", "content rootdir,images")
	n.addStorage("lvm: vg", "vgname "+lvmtest.VG, "content rootdir,images")
	steps := []string{"vg", "thin", "local", "vg", "local"}
	if _, err := exec.LookPath("zpool"); err == nil {
		n.zfs(testnode.Disk(t, 1))
		steps = []string{"vg", "tank", "thin", "tank", "local"}
	}
	c := n.made("--rootfs", "local:0.1")
	c.run("start")
	c.sh("echo one >/root/file; chown 5:6 /root/file; chmod 4711 /root/file; ln -s x /root/link; mkfifo /root/pipe")
	c.run("stop")
	const look = "cd /root; stat -c '%a %u %g %s' file; readlink link; stat -c %F pipe"
	want := "4711 5 6 4\nx\nfifo\n"
	for _, storage := range steps {
		c.run("move-volume", "rootfs", storage, "--delete", "1")
		c.matches("rootfs", "^"+storage+":")
		c.run("start")
		if got := c.sh(look); got != want {
			t.Errorf("on %s: %q", storage, got)
		}
		c.run("stop")
		if left := c.option("unused0"); left != "" {
			t.Errorf("unused0: %s", left)
		}
	}
	c.run("destroy")
	if left := lvmtest.Names(t); left != "data" {
		t.Errorf("left: %s", left)
	}
}

// zfs makes a pool on a disk, and a storage on it.
func (n *testNode) zfs(disk string) {
	n.t.Helper()
	testnode.Need(n.t, "zfs")
	shell(n.t, "zpool create -f vstank "+disk)
	n.t.Cleanup(func() { shell(n.t, "zpool destroy -f vstank") })
	n.addStorage("zfspool: tank", "pool vstank", "content rootdir,images", "sparse 1")
}

// TestNodeZFS: a root that is a file system of ZFS, with refquota.
func TestNodeZFS(t *testing.T) {
	testnode.Need(t, "zfs")
	n := kernelNode(t)
	n.zfs(testnode.Disk(t, 1))
	c := n.made("--rootfs", "tank:0.1")
	c.matches("rootfs", fmt.Sprintf(`^tank:subvol-%d-disk-0,size=1\d\dM$`, c.id))
	if got := strings.TrimSpace(shell(t, fmt.Sprintf("zfs get -Hpo value refquota vstank/subvol-%d-disk-0", c.id))); got != fmt.Sprint(102<<20) && got != fmt.Sprint(103<<20) {
		t.Errorf("refquota is %s", got)
	}
	c.run("start")
	if out, err := c.try("exec", strconv.Itoa(c.id), "--", "dd", "if=/dev/urandom", "of=/root/much", "bs=1M", "count=130"); err == nil || !regexp.MustCompile("quota|space").MatchString(out) {
		t.Errorf("130 MiB of 102: %v: %s", err, out)
	}
	c.sh("rm /root/much")
	c.run("stop")
	c.life(true, fmt.Sprintf(`^tank:basevol-%d-disk-0/subvol-\d+-disk-0,size=1\d\dM$`, c.id))
	if left := strings.TrimSpace(shell(t, "zfs list -Ho name")); left != "vstank" {
		t.Errorf("left: %s", left)
	}
}
