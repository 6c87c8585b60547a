package cephfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// childWord makes the test binary the process that asks file systems.
const childWord = "--test-probe"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		os.Exit(mount.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestCeph is everything that needs a cluster, which is started once.
func TestCeph(t *testing.T) {
	if _, err := exec.LookPath("ceph-fuse"); err != nil {
		t.Skip(err)
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skip(err)
	} else {
		_ = f.Close()
	}
	c := testceph.Start(t)
	c.FS()
	root := serve(t, c, t.TempDir(), "")
	root.sized()
	t.Run("Contract", func(t *testing.T) {
		folders := 0
		storagetest.Run(t, storagetest.Options{
			Type: Type(),
			Section: func(t *testing.T) []string {
				folders++
				subdir := fmt.Sprintf("/sub%d", folders)
				root.ok(os.Mkdir(root.path+subdir, 0o755))
				return section(t, c, subdir)
			},
			Secrets: map[string]string{"keyring": c.Secret()},
			Formats: []string{"raw"},
			Slow:    true,
		})
	})
	t.Run("Content", func(t *testing.T) { content(t, serve(t, c, t.TempDir(), "", "fs-name cephfs")) })
	t.Run("Managed", func(t *testing.T) { managed(t, c) })
	t.Run("Wrong key", func(t *testing.T) { wrongKey(t, c, section(t, c, "")[len(c.Section()):]) })
	t.Run("Process killed", func(t *testing.T) { processKilled(t, c) })
	t.Run("Servers stopped", func(t *testing.T) {
		serversStopped(t, c, func(t *testing.T) *world { return serve(t, c, t.TempDir(), "") })
	})
}

// section returns the options of a storage whose mount ends with the test.
func section(t testing.TB, c *testceph.Cluster, subdir string) []string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "mnt")
	t.Cleanup(func() {
		for unix.Unmount(at, 0) == nil {
		}
		_ = unix.Unmount(at, unix.MNT_FORCE|unix.MNT_DETACH)
	})
	options := append(c.Section(), "path "+at, "fuse 1")
	if subdir != "" {
		options = append(options, "subdir "+subdir)
	}
	return options
}

// A world is a service with the storage it.
type world struct {
	*storage.Service
	t    *testing.T
	ctx  context.Context //nolint:containedctx // that of the test
	said *bytes.Buffer
	path string
}

func serve(t *testing.T, c *testceph.Cluster, root, subdir string, more ...string) *world {
	t.Helper()
	return serveAs(t, root, map[string]string{"keyring": c.Secret()}, append(section(t, c, subdir), more...)...)
}

func serveAs(t *testing.T, root string, secrets map[string]string, options ...string) *world {
	t.Helper()
	w := &world{t: t, said: &bytes.Buffer{}}
	text := "cephfs: it\n\tcontent iso,backup,snippets\n\t" + strings.Join(options, "\n\t") + "\n"
	for _, o := range options {
		if path, ok := strings.CutPrefix(o, "path "); ok {
			w.path = path
		}
	}
	prober := &mount.Prober{Dir: filepath.Join(root, "probe"), Argv: []string{os.Args[0], childWord}, Patience: 3 * time.Second}
	w.Service = storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: []storage.Type{Type()}, QEMUImg: "qemu-img", Zone: time.UTC,
		Config:  func(context.Context) (string, error) { return text, nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
		Probe:   prober.Probe,
	})
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: w.said})
	p, err := w.Pool(w.ctx, "it")
	w.ok(err)
	w.ok(p.(storage.Configurer).Added(w.ctx, secrets))
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.said)
	}
}

// sized waits until the cluster knows how much there is in it, which a new one does not.
func (w *world) sized() {
	w.t.Helper()
	for range 300 {
		st, err := w.Status(w.ctx, "it")
		w.ok(err)
		if st.Total > 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Skip("the test's Ceph does not get to know its size")
}

// content: what is put there is listed; the mount comes and goes.
func content(t *testing.T, w *world) {
	w.ok(w.Activate(w.ctx, "it"))
	w.ok(w.Activate(w.ctx, "it"))
	w.ok(os.WriteFile(filepath.Join(w.path, "template/iso/x.iso"), []byte("disc"), 0o644))
	list, err := w.List(w.ctx, "it", storage.Filter{})
	w.ok(err)
	if len(list) != 1 || list[0].Name != "iso/x.iso" || list[0].Size != 4 {
		t.Errorf("listed %+v", list)
	}
	st, err := w.Status(w.ctx, "it")
	w.ok(err)
	if st.Total < 1<<30 {
		t.Errorf("%+v", st)
	}
	p, err := w.Pool(w.ctx, "it")
	w.ok(err)
	w.ok(p.Deactivate(w.ctx))
	w.ok(p.Deactivate(w.ctx))
	if left, _ := os.ReadDir(w.path); len(left) > 0 {
		t.Errorf("not unmounted: %v", left)
	}
	if _, err := p.Status(w.ctx); err == nil {
		t.Error("the root file system was taken for the storage")
	}
}

// managed: the cluster whose ceph.conf is in /etc/pve.
func managed(t *testing.T, c *testceph.Cluster) {
	root := t.TempDir()
	c.Manage(root)
	options := section(t, c, "")[len(c.Section()):]
	w := serveAs(t, root, nil, options...)
	key, err := os.ReadFile(filepath.Join(root, "etc/pve/priv/ceph/it.secret"))
	w.ok(err)
	if string(key) != c.Key()+"\n" {
		t.Errorf("the key is %q", key)
	}
	w.ok(w.Activate(w.ctx, "it"))
	if _, err := os.Stat(filepath.Join(w.path, "dump")); err != nil {
		t.Error(err)
	}
}

// wrongKey: who may not come in is told so, and nothing is mounted.
func wrongKey(t *testing.T, c *testceph.Cluster, options []string) {
	root := t.TempDir()
	c.Manage(root)
	w := serveAs(t, root, map[string]string{"keyring": "AQBxYSJpAAAAABAAzRCJGk8KcuBqcoMoJz9kXw=="}, options...)
	err := w.Activate(w.ctx, "it")
	if err == nil || !strings.Contains(err.Error(), "(is the key of the client right?") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(w.path); len(left) > 0 {
		t.Errorf("mounted: %v", left)
	}
}

// processKilled: when ceph-fuse dies, the next use mounts again.
func processKilled(t *testing.T, c *testceph.Cluster) {
	w := serve(t, c, t.TempDir(), "")
	w.ok(w.Activate(w.ctx, "it"))
	out, err := exec.Command("pgrep", "-f", "^ceph-fuse .*"+w.path).Output()
	w.ok(err)
	if out, err := exec.Command("kill", append([]string{"-9"}, strings.Fields(string(out))...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	again := func() error {
		if err := w.Activate(w.ctx, "it"); err != nil {
			return err
		}
		_, err := os.ReadDir(w.path)
		return err
	}
	for range 100 { // what was found out a moment ago is taken to hold still
		if err = again(); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.ok(err)
	if _, err := w.List(w.ctx, "it", storage.Filter{}); err != nil {
		t.Error(err)
	}
}

// serversStopped: a file system whose servers hang is told of in bounded time.
func serversStopped(t *testing.T, c *testceph.Cluster, serve func(*testing.T) *world) {
	w := serve(t)
	w.ok(w.Activate(w.ctx, "it"))
	fresh := serve(t)
	daemons := []string{"mon", "mds", "osd"}
	for _, d := range daemons {
		c.Signal(d, syscall.SIGSTOP)
	}
	began := time.Now()
	time.Sleep(2 * time.Second) // what was found out a moment ago is taken to hold still
	for range 3 {
		lines, err := w.Statuses(w.ctx, nil)
		w.ok(err)
		if len(lines) != 1 || lines[0].Active || lines[0].Err == nil {
			t.Errorf("%+v", lines)
		}
	}
	back := []*world{w}
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" { // it takes until what mounts gives up
		back = append(back, fresh) // the kernel may still mount it, which is not to be left behind
		lines, err := fresh.Statuses(w.ctx, nil)
		w.ok(err)
		if len(lines) != 1 || lines[0].Active {
			t.Errorf("not mounted yet: %+v", lines)
		}
	}
	if took := time.Since(began); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}
	for _, d := range daemons {
		c.Signal(d, syscall.SIGCONT)
	}
	for _, w := range back {
		var err error
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if err = w.Activate(w.ctx, "it"); err == nil {
				break
			}
		}
		w.ok(err)
	}
}

// TestCommands: what mounts it.
func TestCommands(t *testing.T) {
	root := t.TempDir()
	priv := filepath.Join(root, "etc/pve/priv")
	write := func(name, text string) {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/pve/ceph.conf", "[global]\nmon host = [v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]\n")
	write("etc/pve/priv/ceph/it.secret", "AAAA==\n")
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"managed", Config{}, "mount -t ceph 10.0.0.1:6789,10.0.0.2:6789:/ ROOT/mnt -o 'name=admin,secretfile=PRIV/ceph/it.secret,conf=ROOT/etc/pve/ceph.conf'"},
		{
			"newer protocol", Config{MountWith: new("ms_mode=crc,noatime")},
			"mount -t ceph 10.0.0.1:6789,10.0.0.2:6789,10.0.0.1:3300,10.0.0.2:3300:/ ROOT/mnt -o 'name=admin,secretfile=PRIV/ceph/it.secret,conf=ROOT/etc/pve/ceph.conf,ms_mode=crc,noatime'",
		},
		{
			"elsewhere", Config{Options: ceph.Options{MonHost: new("10.1.0.1;[fd00::1]:6790 mon3"), Username: new("u")}, Subdir: new("/sub"), FSName: new("fs2")},
			"mount -t ceph '10.1.0.1,[fd00::1]:6790,mon3:/sub' ROOT/mnt -o 'name=u,secretfile=PRIV/ceph/it.secret,fs=fs2'",
		},
		{
			"fuse", Config{Fuse: new(true), Subdir: new("/sub"), FSName: new("fs2"), MountWith: new("_netdev,ro")},
			"ceph-fuse -c ROOT/etc/pve/ceph.conf --auth_supported cephx -n client.admin --keyfile PRIV/ceph/it.secret --client_mount_timeout 10 -r /sub --client_fs fs2 ROOT/mnt -o ro",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Path = filepath.Join(root, "mnt")
			opened, err := open(c.config, storage.Env{ID: "it", Type: "cephfs", Root: root, Secrets: storage.SecretDir(priv)})
			if err != nil {
				t.Fatal(err)
			}
			p := opened.(*pool)
			cmd, err := p.Command()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.NewReplacer(priv, "PRIV", root, "ROOT").Replace(cmd.String())
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
