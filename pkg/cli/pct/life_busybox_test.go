package pct

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testdaemon"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// A lived is a distribution that goes through its life.
type lived struct {
	template string
	memory   int    // MiB
	ready    string // what it answers to "exec" when it is up
	hog      []string
}

// TestLifeBusybox goes with a container from its template to its end.
func TestLifeBusybox(t *testing.T) {
	testct.Require(t)
	life(t, lived{
		template: testct.Busybox(t), memory: 64, ready: "pidof httpd",
		hog: []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"},
	})
}

// life takes one container through all that happens to one.
func life(t *testing.T, l lived) {
	t.Helper()
	n := newNode(t)
	n.trees()
	bridge, network := testct.Bridge(t)
	c := &testCT{testNode: n, id: testct.ID(t), addr: network + "9"}
	out := n.do("create", strconv.Itoa(c.id), l.template, "--rootfs", "local:0", "--mp0", "local:0.03125,mp=/data", "--hostname", "lived", "--memory", strconv.Itoa(l.memory), "--swap", "0",
		"--net0", fmt.Sprintf("name=eth0,bridge=%s,ip=%s/24,gw=%s1", bridge, c.addr, network))
	if !strings.Contains(out, "Detected container architecture: amd64") {
		t.Error(out)
	}
	within, seen := n.lxcfs()
	if out, err := within(n.command("start", strconv.Itoa(c.id))).CombinedOutput(); err != nil {
		t.Fatalf("start: %v: %s", err, out)
	}
	c.until(l.ready)
	begun := time.Now()
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"ping", func() { c.pings(network + "1") }},
		{"push and pull", c.copies},
		{"memory", func() { c.limited(l, seen) }},
		{"resize", c.grows},
		{"reboot from inside", func() { c.rebootsInside(l) }},
		{"move", func() { c.moves(l) }},
		{"snapshot", func() { c.snapshots(l) }},
		{"clone", func() { c.cloned(l) }},
	} {
		step.do()
		t.Logf("%s: %v", step.name, time.Since(begun).Round(time.Millisecond))
		begun = time.Now()
	}
	c.run("destroy")
	n.checkNothing(c.id)
	c.nothing()
	if left, _ := filepath.Glob(n.path("var/lib/vz/images/*/*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if left, _ := filepath.Glob(n.path("tree/images/*/*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// trees adds a storage on a btrfs.
func (n *testNode) trees() {
	n.t.Helper()
	at := storagetest.Loop(n.t, 1536, "mkfs.btrfs", "-q")
	for dir := at; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // the users of a container come through here
		if err := os.Chmod(dir, 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	text, err := os.ReadFile(n.path("etc/pve/storage.cfg"))
	if err != nil {
		n.t.Fatal(err)
	}
	n.write("etc/pve/storage.cfg", string(text)+"\nbtrfs: tree\n\tpath "+at+"\n\tcontent rootdir,images\n")
	if err := os.Symlink(at, n.path("tree")); err != nil {
		n.t.Fatal(err)
	}
}

// lxcfs starts LXCFS in a mount namespace of the test, where LXC makes containers use it, and
// returns how a command runs there; as it is where LXCFS does not run. Containers of other
// tests do without: theirs would be broken when it ends.
func (n *testNode) lxcfs() (within func(*exec.Cmd) *exec.Cmd, runs bool) {
	n.t.Helper()
	same := func(c *exec.Cmd) *exec.Cmd { return c }
	if _, err := exec.LookPath("lxcfs"); err != nil {
		return same, false
	}
	if _, err := os.Stat("/usr/share/lxc/config/common.conf.d/00-lxcfs.conf"); err != nil {
		return same, false
	}
	if _, err := os.Stat("/var/lib/lxcfs/proc/meminfo"); err == nil {
		return same, true // one of the machine
	}
	daemon := exec.Command("unshare", "-m", "--propagation", "slave", "sh", "-c", "mkdir -p /var/lib/lxcfs; exec lxcfs -f -p $0 /var/lib/lxcfs", filepath.Join(n.t.TempDir(), "pid"))
	ended, err := testdaemon.Start(daemon)
	if err != nil {
		n.t.Log(err)
		return same, false
	}
	n.t.Cleanup(func() {
		_ = daemon.Process.Kill()
		<-ended
	})
	inside := fmt.Sprintf("/proc/%d/root/var/lib/lxcfs/proc/meminfo", daemon.Process.Pid)
	for range 200 {
		if _, err := os.Stat(inside); err == nil {
			pid := strconv.Itoa(daemon.Process.Pid)
			return func(c *exec.Cmd) *exec.Cmd {
				c.Path, c.Args = "/usr/bin/nsenter", append([]string{"nsenter", "-t", pid, "-m"}, c.Args...)
				return c
			}, true
		}
		select {
		case <-ended:
			n.t.Log("LXCFS does not run here")
			return same, false
		case <-time.After(20 * time.Millisecond):
		}
	}
	n.t.Log("LXCFS does not answer")
	return same, false
}

// until repeats a line of shell in the container until it works.
func (c *testCT) until(line string) {
	c.t.Helper()
	var out string
	var err error
	for range 600 {
		if out, err = c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", line); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Fatalf("%s: %v: %s", line, err, out)
}

// pings goes over the bridge both ways.
func (c *testCT) pings(host string) {
	c.t.Helper()
	c.sh("ping -c 1 -W 10 " + host)
	if out, err := exec.CommandContext(c.t.Context(), "busybox", "ping", "-c", "1", "-W", "10", c.addr).CombinedOutput(); err != nil {
		c.t.Errorf("%v: %s", err, out)
	}
}

// copies brings a file in and out again.
func (c *testCT) copies() {
	c.t.Helper()
	want := make([]byte, 3<<20+5)
	_, _ = rand.Read(want)
	in, back := c.path("in"), c.path("back")
	if err := os.WriteFile(in, want, 0o640); err != nil {
		c.t.Fatal(err)
	}
	c.run("push", in, "/root/in")
	if got := c.sh("stat -c '%a %u %g %s' /root/in"); got != fmt.Sprintf("640 0 0 %d\n", len(want)) {
		c.t.Errorf("pushed: %s", got)
	}
	c.sh("chmod 751 /root/in")
	c.run("pull", "/root/in", back)
	st, err := os.Stat(back)
	if err != nil {
		c.t.Fatal(err)
	}
	if got, _ := os.ReadFile(back); !bytes.Equal(got, want) || st.Mode().Perm() != 0o751 {
		c.t.Errorf("pulled: %v, same %v", st.Mode(), bytes.Equal(got, want))
	}
}

// limited looks for the limit of memory where programs do, and takes more.
func (c *testCT) limited(l lived, lxcfs bool) {
	c.t.Helper()
	if seen := c.sh("grep MemTotal /proc/meminfo"); lxcfs && !regexp.MustCompile(fmt.Sprintf(`MemTotal: +%d kB`, l.memory<<10)).MatchString(seen) {
		c.t.Errorf("%q, want %d MiB", seen, l.memory)
	}
	if out, err := c.try(append([]string{"exec", strconv.Itoa(c.id), "--"}, l.hog...)...); err == nil {
		c.t.Errorf("too much of memory was to be had: %s", out)
	}
	c.sh("true")
}

// grows makes a volume larger while it is in use. It takes a capability that a machine may lack.
func (c *testCT) grows() {
	c.t.Helper()
	const blocks = `df -k /data | tail -n 1 | tr -s ' ' | cut -d' ' -f2`
	before, _ := strconv.Atoi(strings.TrimSpace(c.sh(blocks)))
	out, err := c.try("resize", strconv.Itoa(c.id), "mp0", "+64M")
	switch after, _ := strconv.Atoi(strings.TrimSpace(c.sh(blocks))); {
	case err != nil && !strings.Contains(out, "CAP_SYS_RESOURCE"):
		c.t.Errorf("resize: %v: %s", err, out)
	case err == nil && after < before+50<<10:
		c.t.Errorf("%d KiB, then %d", before, after)
	}
}

func (c *testCT) rebootsInside(l lived) {
	c.t.Helper()
	before := c.monitor()
	c.sh("echo gone >/run/note; reboot")
	for range 1200 {
		if c.monitor() != before {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.until("! [ -e /run/note ] && " + l.ready)
}

// moves brings the root, a folder, and an image to a btrfs, and back, and the root there again.
// The image goes then: after a rollback ext4 makes sure for a minute that no other node uses it.
func (c *testCT) moves(l lived) {
	c.t.Helper()
	c.sh("echo one >/root/word; echo image >/data/word")
	c.run("shutdown", "--timeout", "60", "--forceStop", "1")
	for _, storage := range []string{"tree", "local", "tree"} {
		c.run("move-volume", "rootfs", storage, "--delete", "1")
		c.run("move-volume", "mp0", storage, "--delete", "1")
	}
	if text := c.config(c.id); !regexp.MustCompile(`(?m)^rootfs: tree:\d+/subvol-\d+-disk-0.subvol,size=0T$`).MatchString(text) {
		c.t.Error(text)
	}
	c.run("start")
	c.until(l.ready)
	if got := c.sh("cat /root/word /data/word; stat -c '%a %u %g' /root/in"); got != "one\nimage\n751 0 0\n" {
		c.t.Errorf("moved: %q", got)
	}
	c.run("stop")
	c.run("set", "--delete", "mp0")
	c.run("set", "--delete", "unused0")
	c.run("start")
	c.until(l.ready)
}

func (c *testCT) snapshots(l lived) {
	c.t.Helper()
	c.run("snapshot", "before")
	c.sh("echo two >/root/word; rm /root/in; sync")
	c.run("rollback", "before", "--start", "1")
	c.until(l.ready)
	if got := c.sh("cat /root/word; stat -c %a /root/in"); got != "one\n751\n" {
		c.t.Errorf("back: %q", got)
	}
}

// cloned makes a whole copy on another storage while it runs, then linked ones of a template.
func (c *testCT) cloned(l lived) {
	c.t.Helper()
	copied := &testCT{testNode: c.testNode, id: testct.ID(c.t)}
	c.run("clone", strconv.Itoa(copied.id), "--full", "1", "--snapname", "before", "--storage", "local", "--hostname", "copied")
	c.run("stop")
	c.run("delsnapshot", "before")
	c.run("template")
	linked := &testCT{testNode: c.testNode, id: testct.ID(c.t)}
	c.run("clone", strconv.Itoa(linked.id), "--hostname", "linked")
	for name, x := range map[string]*testCT{"copied": copied, "linked": linked} {
		x.run("start")
		x.until(l.ready)
		if got := x.sh("cat /root/word; hostname"); got != "one\n"+name+"\n" {
			c.t.Errorf("%s: %q", name, got)
		}
		x.run("stop")
		x.run("destroy")
		x.nothing()
	}
}

// TestLifeImage runs what an image of an application says.
func TestLifeImage(t *testing.T) {
	n := newNode(t)
	c := &testCT{testNode: n, id: testct.ID(t)}
	n.do("create", strconv.Itoa(c.id), testct.OCI(t), "--rootfs", "local:0", "--memory", "64", "--swap", "0", "--start", "1")
	c.status("running")
	if got := c.sh("tr '\\0' ' ' </proc/1/cmdline; echo; tr '\\0' '\\n' </proc/1/environ | grep GREETING; readlink /proc/1/cwd; cat /etc/layer; ls /etc/gone /folder 2>&1; true"); !strings.Contains(got, "/entry.sh serve") ||
		!strings.Contains(got, "GREETING=hello image\n/srv\nsecond\n") || !strings.Contains(got, "/etc/gone: No such file") || strings.Contains(got, "\nold") {
		t.Error(got)
	}
	c.run("shutdown", "--timeout", "30")
	c.status("stopped")
	c.run("destroy")
	n.checkNothing(c.id)
	c.nothing()
}
