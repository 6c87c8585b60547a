// Package testceph starts a Ceph cluster of one host for tests: a monitor, a manager,
// an OSD that keeps everything in memory, and a metadata server on demand. It listens
// on ports of its own on the loopback interface, with cephx, and leaves nothing.
package testceph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testdaemon"
)

// Pool is the pool that a new cluster has.
const Pool = "rbd"

// A Cluster is a Ceph that runs.
type Cluster struct {
	Dir     string // of its files; short, as sockets lie there
	Conf    string // path of its ceph.conf
	Keyring string // path of the keyring of client.admin
	FSID    string
	MonHost string // address of the monitor
	Legacy  string // its address for the older protocol, which kernels speak where nothing is said

	t        testing.TB
	messages string // addresses of the monitor, as its map has them
	daemons  map[string]*daemon
}

// A daemon is one of its processes.
type daemon struct {
	cmd   *exec.Cmd
	ended <-chan struct{}
}

// Start starts a cluster, which ends with the test. It skips the test, with the reason,
// where that cannot be. It takes some seconds: a package starts one for all its tests.
func Start(t testing.TB) *Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for the daemons of Ceph")
	}
	for _, program := range []string{"ceph-mon", "ceph-osd", "ceph", "rbd", "ceph-authtool", "monmaptool"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs a Ceph to start: %v", err)
		}
	}
	dir, err := os.MkdirTemp("", "ceph")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{
		Dir: dir, Conf: filepath.Join(dir, "ceph.conf"), Keyring: filepath.Join(dir, "ceph.client.admin.keyring"),
		t: t, daemons: map[string]*daemon{},
	}
	t.Cleanup(func() {
		c.Stop()
		_ = os.RemoveAll(dir)
	})
	begun := time.Now()
	c.configure()
	c.monitor()
	c.osd()
	t.Logf("Ceph is up after %s", time.Since(begun).Round(time.Millisecond))
	return c
}

// configure writes ceph.conf.
func (c *Cluster) configure() {
	c.t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	c.ok(err)
	c.FSID = strings.TrimSpace(string(id))
	v2, v1 := ports(c.t)
	c.MonHost = fmt.Sprintf("127.0.0.1:%d", v2)
	c.Legacy = fmt.Sprintf("127.0.0.1:%d", v1)
	c.messages = fmt.Sprintf("[v2:127.0.0.1:%d,v1:127.0.0.1:%d]", v2, v1)
	c.write("ceph.conf", fmt.Sprintf(`[global]
fsid = %[2]s
mon host = %[3]s
public addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = %[1]s/$cluster.$name.keyring
admin socket =
run dir = %[1]s
log file = %[1]s/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
[mon]
mon data = %[1]s/mon
mon data avail crit = 1
mon data avail warn = 2
mon allow pool delete = true
paxos propose interval = 0.1
mon tick interval = 1
[mgr]
mgr data = %[1]s
keyring = %[1]s/mgr.keyring
mgr stats period = 1
mgr tick period = 1
mgr disabled modules = %[4]s
[mds]
mds data = %[1]s
keyring = %[1]s/mds.keyring
[osd]
osd objectstore = memstore
memstore device bytes = 2147483648
osd data = %[1]s/osd$id
keyring = %[1]s/osd$id/keyring
osd mon report interval = 1
`, c.Dir, c.FSID, c.messages, strings.Join(modules(), ",")))
}

// modules lists those of the manager. It needs none to count what is there, and they take
// their time to load.
func modules() []string {
	var names []string
	found, _ := filepath.Glob("/usr/share/ceph/mgr/*/module.py") // there may be no manager
	for _, path := range found {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	return names
}

// ports finds two ports of the loopback interface that nobody has.
func ports(t testing.TB) (v2, v1 int) {
	t.Helper()
	var found []int
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() //nolint:errcheck // it was only held
		found = append(found, l.Addr().(*net.TCPAddr).Port)
	}
	return found[0], found[1]
}

// monitor starts the monitor and the manager.
func (c *Cluster) monitor() {
	c.t.Helper()
	all := []string{"--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mds", "allow *", "--cap", "mgr", "allow *"}
	keyring, monmap := filepath.Join(c.Dir, "mon.keyring"), filepath.Join(c.Dir, "monmap")
	c.do("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
	c.do("ceph-authtool", append([]string{"--create-keyring", c.Keyring, "--gen-key", "-n", "client.admin"}, all...)...)
	c.do("ceph-authtool", append([]string{"--create-keyring", c.Dir + "/mgr.keyring", "--gen-key", "-n", "mgr.x"}, all...)...)
	c.do("ceph-authtool", append([]string{"--create-keyring", c.Dir + "/mds.keyring", "--gen-key", "-n", "mds.m"}, all...)...)
	c.ok(os.Mkdir(filepath.Join(c.Dir, "osd0"), 0o700))
	c.do("ceph-authtool", append([]string{"--create-keyring", c.Dir + "/osd0/keyring", "--gen-key", "-n", "osd.0"}, all...)...)
	// The monitor knows them all from its beginning: to ask it later takes longer.
	known, err := os.OpenFile(keyring, os.O_APPEND|os.O_WRONLY, 0)
	c.ok(err)
	for _, name := range []string{"ceph.client.admin.keyring", "mgr.keyring", "mds.keyring", "osd0/keyring"} {
		_, err := known.WriteString(c.read(name))
		c.ok(err)
	}
	c.ok(known.Close())
	c.do("monmaptool", "--create", "--addv", "a", c.messages, "--fsid", c.FSID, "--clobber", monmap)
	c.do("ceph-mon", "-c", c.Conf, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
	c.daemon("mon", "ceph-mon", "-i", "a")
	// Without a manager, only how full it is cannot be told.
	if _, err := exec.LookPath("ceph-mgr"); err == nil {
		c.daemon("mgr", "ceph-mgr", "-i", "x")
	}
}

// osd starts the OSD, and makes the pool.
func (c *Cluster) osd() {
	c.t.Helper()
	id, err := os.ReadFile("/proc/sys/kernel/random/uuid")
	c.ok(err)
	uuid := strings.TrimSpace(string(id))
	c.batch("osd new "+uuid, "osd pool create "+Pool+" 8", "osd pool application enable "+Pool+" rbd")
	c.do("ceph-osd", "-c", c.Conf, "-i", "0", "--mkfs", "--osd-uuid", uuid)
	c.daemon("osd", "ceph-osd", "-i", "0")
	c.until("OSD that comes up", "rados", "-p", Pool, "ls")
}

// FS adds a file system, called cephfs, and its metadata server.
func (c *Cluster) FS() {
	c.t.Helper()
	if _, err := exec.LookPath("ceph-mds"); err != nil {
		c.t.Skipf("needs a metadata server: %v", err)
	}
	c.batch("osd pool create cephfs_metadata 8", "osd pool create cephfs_data 8", "fs new cephfs cephfs_metadata cephfs_data")
	c.daemon("mds", "ceph-mds", "-i", "m")
	for range 100 {
		if strings.Contains(c.do("ceph", "mds", "stat"), "up:active") {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Skip("the metadata server of the test's Ceph does not come up")
}

// Section returns options of a storage on this cluster as an external one, as lines of
// storage.cfg. Its keyring is that of [Cluster.Secret].
func (c *Cluster) Section() []string { return []string{"monhost " + c.MonHost} }

// Secret returns the keyring of client.admin, as it is given for new storages.
func (c *Cluster) Secret() string { return c.read("ceph.client.admin.keyring") }

// Key returns the bare key of client.admin.
func (c *Cluster) Key() string {
	return strings.TrimSpace(c.do("ceph-authtool", "-p", c.Keyring, "-n", "client.admin"))
}

// Manage puts the cluster's ceph.conf and keyring below a root, as on a node whose Ceph
// is its own.
func (c *Cluster) Manage(root string) {
	c.t.Helper()
	c.ok(os.MkdirAll(filepath.Join(root, "etc/pve/priv"), 0o700))
	c.ok(os.WriteFile(filepath.Join(root, "etc/pve/ceph.conf"), []byte(c.read("ceph.conf")), 0o640))
	c.ok(os.WriteFile(filepath.Join(root, "etc/pve/priv/ceph.client.admin.keyring"), []byte(c.Secret()), 0o600))
}

// Ceph runs ceph and returns what it prints.
func (c *Cluster) Ceph(args ...string) string { c.t.Helper(); return c.do("ceph", args...) }

// RBD runs rbd and returns what it prints.
func (c *Cluster) RBD(args ...string) string { c.t.Helper(); return c.do("rbd", args...) }

// Rados runs rados and returns what it prints.
func (c *Cluster) Rados(args ...string) string { c.t.Helper(); return c.do("rados", args...) }

// Signal sends a signal to a daemon: mon, mgr, osd or mds.
func (c *Cluster) Signal(daemon string, s syscall.Signal) {
	c.t.Helper()
	c.ok(c.daemons[daemon].cmd.Process.Signal(s))
}

// Stop ends the daemons. They keep nothing that would be worth their patience.
func (c *Cluster) Stop() {
	for _, name := range []string{"mds", "osd", "mgr", "mon"} {
		if d := c.daemons[name]; d != nil {
			_ = d.cmd.Process.Kill()
			<-d.ended
			delete(c.daemons, name)
		}
	}
}

// daemon starts a daemon, which ends with this process at the latest.
func (c *Cluster) daemon(name, program string, args ...string) {
	c.t.Helper()
	out, err := os.Create(filepath.Join(c.Dir, name+".out"))
	c.ok(err)
	defer out.Close()                                                               //nolint:errcheck // the daemon has it
	cmd := exec.Command(program, append(slices.Clone(args), "-c", c.Conf, "-f")...) //nolint:noctx // Stop ends it
	cmd.Stdout, cmd.Stderr = out, out
	ended, err := testdaemon.Start(cmd)
	c.ok(err)
	c.daemons[name] = &daemon{cmd: cmd, ended: ended}
}

// batch has one ceph, which takes its time to start, do several things. It waits for the
// monitor.
func (c *Cluster) batch(lines ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ceph", "-c", c.Conf)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "Error ") {
		c.t.Fatalf("ceph: %v: %s", err, out)
	}
}

// until runs a program until it succeeds.
func (c *Cluster) until(what, program string, args ...string) {
	c.t.Helper()
	var err error
	for range 50 {
		if _, err = c.try(program, args...); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	c.t.Skipf("the test's Ceph has no %s: %v", what, err)
}

func (c *Cluster) do(program string, args ...string) string {
	c.t.Helper()
	out, err := c.try(program, args...)
	c.ok(err)
	return out
}

func (c *Cluster) try(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch program {
	case "ceph", "rbd", "rados":
		args = append([]string{"-c", c.Conf}, args...)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.New("no answer in a minute")
		}
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, &errs)
	}
	return out.String(), nil
}

func (c *Cluster) write(name, text string) {
	c.t.Helper()
	c.ok(os.WriteFile(filepath.Join(c.Dir, name), []byte(text), 0o600))
}

func (c *Cluster) read(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, name))
	c.ok(err)
	return string(text)
}

func (c *Cluster) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}
