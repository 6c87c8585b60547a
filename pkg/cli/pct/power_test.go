package pct

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// A testCT is a container of busybox, made without the commands that make containers.
type testCT struct {
	*testNode
	id   int
	addr string // of its first card
}

// container makes an unprivileged container on a bridge, with more lines of configuration.
func (n *testNode) container(bridge, network string, more ...string) *testCT {
	n.t.Helper()
	c := &testCT{testNode: n, id: testct.ID(n.t)}
	if err := os.RemoveAll(n.path(fmt.Sprintf("var/lib/vz/images/%d", c.id))); err != nil { // of a test before
		n.t.Fatal(err)
	}
	testct.Rootfs(n.t, n.path(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol", c.id)), 100000)
	lines := []string{
		"arch: amd64", "hostname: web", "memory: 64", "ostype: alpine", fmt.Sprintf("rootfs: local:%[1]d/subvol-%[1]d-disk-0.subvol,size=0T", c.id),
		"swap: 0", "unprivileged: 1",
	}
	if bridge != "" {
		c.addr = network + strconv.Itoa(2+c.id%200)
		lines = append(lines, fmt.Sprintf("net0: name=eth0,bridge=%s,host-managed=1,hwaddr=BC:24:11:00:%02X:%02X,ip=%s/24,type=veth", bridge, c.id>>8, c.id&255, c.addr))
	}
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), strings.Join(append(lines, more...), "\n")+"\n")
	return c
}

func (n *testNode) write(name, text string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.path(name)), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(n.path(name), []byte(text), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

func (c *testCT) run(word string, args ...string) string {
	c.t.Helper()
	return c.do(append([]string{word, strconv.Itoa(c.id)}, args...)...)
}

// fails runs what must not work, and returns what it said.
func (c *testCT) fails(want, word string, args ...string) {
	c.t.Helper()
	out, err := c.try(append([]string{word, strconv.Itoa(c.id)}, args...)...)
	if err == nil || !regexp.MustCompile(want).MatchString(out) {
		c.t.Errorf("pct %s: %v\n%s\nwant a failure that says %q", word, err, out, want)
	}
}

func (c *testCT) sh(script string) string {
	c.t.Helper()
	return c.run("exec", "--", "sh", "-c", script)
}

// status checks whether it runs, waiting a while for that.
func (c *testCT) status(want string) {
	c.t.Helper()
	got := ""
	for range 600 {
		if got = c.run("status"); got == "status: "+want+"\n" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%q, want %s", got, want)
}

// answers waits for the web server of the container.
func (c *testCT) answers() {
	c.t.Helper()
	var err error
	for range 600 {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", c.addr+":80", time.Second); err == nil {
			conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatal(err)
}

// nothing fails where something of the container is left.
func (c *testCT) nothing() {
	c.t.Helper()
	if left := testct.Left(c.root, c.id); len(left) > 0 {
		c.t.Errorf("left: %v", left)
	}
}

// monitor is the process of LXC that watches the container, 0 while there is none.
func (c *testCT) monitor() int {
	pid, _ := lxc.Monitor(c.path("var/lib/lxc"), strconv.Itoa(c.id))
	return pid
}

// TestPower goes through the life of a container.
func TestPower(t *testing.T) {
	n := newNode(t)
	bridge, network := testct.Bridge(t)
	n.write("var/lib/vz/snippets/hook.sh", "#!/bin/sh\necho hook $1 $2\n")
	n.write("srv/data/file", "shared\n")
	if err := os.Chmod(n.path("srv"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := n.container(bridge, network,
		"mp0: "+n.path("srv/data")+",mp=/data,ro=1", "dev0: /dev/full,mode=0666,gid=5", "hookscript: local:snippets/hook.sh", "cores: 1",
		"env: GREETING=hello there", "lxc.environment.runtime: GREETING=hello there")

	out := c.run("start")
	if want := fmt.Sprintf("hook %d pre-start\nhook %[1]d post-start\n", c.id); !strings.Contains(out, want) {
		t.Errorf("start: %q, want %q", out, want)
	}
	c.status("running")
	c.answers()
	c.fails("already running", "start")

	for _, x := range []struct{ name, script, want string }{
		{"user", "id -u; cat /proc/self/uid_map | tr -s ' '", "0\n 0 100000 65536\n"},
		{"hostname", "hostname", "web\n"},
		{"mount point", "cat /data/file; touch /data/x 2>&1", "shared\ntouch: /data/x: Read-only file system\n"},
		{"device", "stat -c '%a %u %g %t:%T' /dev/full; echo x 2>&1 >/dev/full || echo full", "666 0 5 1:7\n"},
		{"processors", "nproc", "1\n"},
		{"init's environment", "tr '\\0' '\\n' </proc/1/environ | grep GREETING", "GREETING=hello there\n"},
	} {
		out, _ := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", x.script)
		if !strings.HasPrefix(out, x.want) {
			t.Errorf("%s: %q, want %q", x.name, out, x.want)
		}
	}
	c.execExits(t)

	// More than its memory.
	if out, err := c.try("exec", strconv.Itoa(c.id), "--", "dd", "if=/dev/zero", "of=/run/much", "bs=1M", "count=128"); err == nil {
		t.Errorf("128 MiB of 64 are written: %s", out)
	}
	if out := c.do("cpusets"); !regexp.MustCompile(fmt.Sprintf(`(?m)^%d:  *[0-9]+$`, c.id)).MatchString(out) {
		t.Errorf("cpusets: %q", out)
	}

	c.run("suspend")
	c.fails("is suspended", "exec", "--", "true")
	c.run("resume")
	c.sh("true")

	before := c.monitor()
	c.sh("rm -f /run/much; reboot")
	for range 600 {
		if pid := c.monitor(); pid != 0 && pid != before {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.status("running")
	c.answers()
	if c.monitor() == before {
		t.Error("not started anew")
	}

	out = c.run("stop")
	if want := fmt.Sprintf("hook %d pre-stop\nhook %[1]d post-stop\n", c.id); !strings.Contains(out, want) {
		t.Errorf("stop: %q, want %q", out, want)
	}
	c.status("stopped")
	c.nothing()
	c.fails(fmt.Sprintf("CT %d not running", c.id), "stop")
	c.fails(fmt.Sprintf("container '%d' not running!", c.id), "exec", "--", "true")
}

// execExits checks what passes through exec.
func (c *testCT) execExits(t *testing.T) {
	t.Helper()
	cmd := c.command("exec", strconv.Itoa(c.id), "--keep-env", "0", "--", "sh", "-c", "cat; echo told >&2; echo ${TOKEN-none}; exit 7")
	cmd.Env = append(cmd.Env, "TOKEN=secret")
	cmd.Stdin = strings.NewReader("typed\n")
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if string(out) != "typed\nnone\n" || errors.String() != "told\n" || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("exec: %q, %q, %v", out, errors.String(), err)
	}
}

// TestConfined: what a container may do, by its configuration.
func TestConfined(t *testing.T) {
	n := newNode(t)
	for name, x := range map[string]struct {
		privileged bool
		more       []string
		script     string
		want       string
	}{
		"unprivileged": {false, nil, "grep Seccomp: /proc/1/status; mknod /x b 7 0 2>/dev/null; cat /x 2>/dev/null || echo no", "Seccomp:\t2\nno\n"},
		"privileged": {
			true, []string{"dev0: /dev/full,deny-write=1,mode=0666"},
			"cat /proc/self/uid_map | tr -s ' '; mknod /x b 7 0; cat /x 2>&1; date -s 2000-01-01 2>&1 >/dev/null; head -c 1 /dev/full | wc -c; echo x >/dev/full",
			" 0 0 4294967295\ncat: can't open '/x': Operation not permitted\ndate: can't set date: Operation not permitted\n1\n",
		},
		"nesting and fuse": {false, []string{"features: fuse=1,nesting=1"}, "ls /dev/fuse; ls /dev/.lxc; unshare -Um --map-root-user -p -f mount -t proc proc /mnt && echo mounted", "/dev/fuse\nproc\nsys\nmounted\n"},
		"raw lines":        {false, []string{"lxc.cgroup2.pids.max: 1", "lxc.prlimit.nofile: 77"}, "cat /proc/1/limits | grep -o 'open files  *77' | tr -s ' '", "open files 77\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := (&testNode{t, n.root, n.pct}).container("", "", x.more...)
			if x.privileged {
				if err := os.RemoveAll(n.path(fmt.Sprintf("var/lib/vz/images/%d", c.id))); err != nil {
					t.Fatal(err)
				}
				testct.Rootfs(t, n.path(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol", c.id)), 0)
				n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), strings.Replace(n.config(c.id), "unprivileged: 1\n", "", 1))
			}
			c.run("start")
			out, _ := c.try("exec", strconv.Itoa(c.id), "--", "sh", "-c", x.script)
			if !strings.HasPrefix(out, x.want) {
				t.Errorf("%q, want %q", out, x.want)
			}
			c.run("stop")
			c.nothing()
		})
	}
}

// TestShutdown: an init that ends by itself, and one that does not.
func TestShutdown(t *testing.T) {
	n := newNode(t)
	t.Run("heeds", func(t *testing.T) {
		c := (&testNode{t, n.root, n.pct}).container("", "")
		c.run("start")
		c.run("shutdown", "--timeout", "60")
		c.status("stopped")
		c.nothing()
	})
	t.Run("by itself", func(t *testing.T) {
		c := (&testNode{t, n.root, n.pct}).container("", "")
		c.run("start")
		c.sh("poweroff")
		c.status("stopped")
		c.nothing()
	})
	t.Run("does not heed", func(t *testing.T) {
		c := (&testNode{t, n.root, n.pct}).container("", "")
		n.write(fmt.Sprintf("var/lib/vz/images/%[1]d/subvol-%[1]d-disk-0.subvol/sbin/deaf", c.id), "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1000; done\n")
		n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), n.config(c.id)+"entrypoint: /sbin/deaf\n")
		c.run("start")
		c.fails("did not shut down within 1s", "shutdown", "--timeout", "1")
		c.status("running")
		// Another one waits, and is overruled.
		waiting := c.command("shutdown", strconv.Itoa(c.id), "--timeout", "600")
		if err := waiting.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		c.run("stop", "--overrule-shutdown", "1")
		if waiting.Wait() == nil {
			t.Error("the shutdown that was overruled worked")
		}
		c.status("stopped")
		c.run("start")
		c.run("shutdown", "--timeout", "1", "--forceStop", "1")
		c.status("stopped")
		c.nothing()
	})
	t.Run("suspended", func(t *testing.T) {
		c := (&testNode{t, n.root, n.pct}).container("", "")
		c.run("start")
		c.run("suspend")
		c.run("stop")
		c.status("stopped")
		c.nothing()
	})
	t.Run("reboot", func(t *testing.T) {
		c := (&testNode{t, n.root, n.pct}).container("", "")
		c.fails(fmt.Sprintf("VM %d not running", c.id), "reboot")
		c.run("start")
		before := c.monitor()
		c.run("reboot", "--timeout", "60")
		c.status("running")
		if c.monitor() == before {
			t.Error("it is the same")
		}
		c.run("stop")
		c.nothing()
	})
}

// TestStartFaults: what keeps a container from starting is told, and nothing is left.
func TestStartFaults(t *testing.T) {
	n := newNode(t)
	bridge, network := testct.Bridge(t)
	for name, x := range map[string]struct {
		more string
		want string
	}{
		"missing bridge": {"net1: name=eth1,bridge=vmbrnone,type=veth", "bridge 'vmbrnone' does not exist"},
		"broken init":    {"entrypoint: /sbin/none", `startup for container '\d+' failed: .*no such file or directory`},
		"locked":         {"lock: backup", `CT is locked \(backup\)`},
		"template":       {"template: 1", "you can't start a CT if it's a template"},
		"quota":          {"mp0: local:none,mp=/x,quota=1", "Quotas are not supported by unprivileged containers"},
		"missing volume": {"mp0: local:999/vm-999-disk-9.raw,mp=/x", `volume 'local:999/vm-999-disk-9\.raw' does not exist`},
		"missing folder": {"mp0: /no/such/folder,mp=/x", "mp0: .*no.such"},
		"missing device": {"dev0: /dev/none", "dev0: .*/dev/none.*does not exist"},
		"hook script":    {"hookscript: local:snippets/no.sh", `hookscript error for \d+ on pre-start`},
		"trunks":         {"net1: name=eth1,bridge=" + bridge + ",trunks=5,type=veth", "vlan aware"},
	} {
		t.Run(name, func(t *testing.T) {
			c := (&testNode{t, n.root, n.pct}).container(bridge, network, x.more)
			c.fails(x.want, "start")
			c.status("stopped")
			c.nothing()
		})
	}
}

// TestMonitorKilled: what a monitor leaves that was killed is cleared away by the next command.
func TestMonitorKilled(t *testing.T) {
	n := newNode(t)
	bridge, network := testct.Bridge(t)
	c := n.container(bridge, network)
	text := strings.Replace(n.config(c.id), "hwaddr=", "firewall=1,hwaddr=", 1)
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), text)
	c.run("start")
	c.answers()
	kill := func() {
		t.Helper()
		if err := syscall.Kill(c.monitor(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.status("stopped")
	}
	kill()
	c.run("start")
	c.answers()
	kill()
	c.fails(fmt.Sprintf("CT %d not running", c.id), "stop")
	c.nothing()
	c.run("start")
	c.answers()
	c.run("stop")
	c.nothing()
}

// TestStartTwice: of two starts at once one is too late.
func TestStartTwice(t *testing.T) {
	n := newNode(t)
	c := n.container("", "")
	var wait sync.WaitGroup
	outs, errs := make([]string, 2), make([]error, 2)
	for i := range outs {
		wait.Go(func() {
			out, err := c.command("start", strconv.Itoa(c.id)).CombinedOutput()
			outs[i], errs[i] = string(out), err
		})
	}
	wait.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !strings.Contains(outs[0]+outs[1], fmt.Sprintf("CT %d already running", c.id)) {
		t.Errorf("%q, %v", outs, errs)
	}
	c.run("stop")
	c.nothing()
}

// TestImage starts a container whose root is an image, with another one mounted in it.
func TestImage(t *testing.T) {
	n := newNode(t)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip(err)
	}
	c := n.container("", "")
	dir := n.path(fmt.Sprintf("var/lib/vz/images/%d", c.id))
	for name, from := range map[string]string{"vm-%d-disk-1.raw": fmt.Sprintf("%s/subvol-%d-disk-0.subvol", dir, c.id), "vm-%d-disk-2.raw": n.path("etc")} {
		image := filepath.Join(dir, fmt.Sprintf(name, c.id))
		if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-d", from, image, "32M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	text := regexp.MustCompile(`rootfs: .*`).ReplaceAllString(n.config(c.id), fmt.Sprintf("mp0: local:%[1]d/vm-%[1]d-disk-2.raw,mp=/mnt/more,mountoptions=noatime,size=32M\nrootfs: local:%[1]d/vm-%[1]d-disk-1.raw,size=32M", c.id))
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), text)
	c.run("start")
	if out := c.sh("grep -E ' (/|/mnt/more) ' /proc/mounts | grep -o 'ext4.*noatime\\|ext4.rw' | sort"); out != "ext4 rw\next4 rw,noatime\n" {
		t.Errorf("%q", out)
	}
	// Nothing of it is mounted in our tree.
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), n.root+"/var/lib/lxc") {
		t.Errorf("%s", mounts)
	}
	c.run("stop")
	c.nothing()
}

// TestMany starts fifty containers at once.
func TestMany(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes long: set VIRTSMITH_TEST_ALL")
	}
	n := newNode(t)
	bridge, network := testct.Bridge(t)
	var all []*testCT
	for range 50 {
		all = append(all, n.container(bridge, network))
	}
	for _, word := range []string{"start", "stop"} {
		var wait sync.WaitGroup
		begun := time.Now()
		for _, c := range all {
			wait.Go(func() {
				if out, err := c.command(word, strconv.Itoa(c.id)).CombinedOutput(); err != nil {
					t.Errorf("%s %d: %v: %s", word, c.id, err, out)
				}
			})
		}
		wait.Wait()
		t.Logf("%s of 50: %s", word, time.Since(begun))
		if t.Failed() {
			return
		}
		for _, c := range all {
			if word == "start" {
				c.answers()
			}
		}
	}
	for _, c := range all {
		c.nothing()
	}
}
