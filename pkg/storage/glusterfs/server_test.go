package glusterfs_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/internal/testgluster"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/glusterfs"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

const childWord = "--test-probe" // makes the test binary the process that asks

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		os.Exit(mount.Child(os.Args[2:]))
	}
	os.Exit(testgluster.Main(m))
}

const address = testgluster.Address

// start starts a Gluster with two volumes.
func start(t testing.TB) *testgluster.Server {
	t.Helper()
	return testgluster.Start(t, map[string]testgluster.Volume{"gv0": {Size: "800m"}, "small": {Size: "60m", Full: true}})
}

// section returns the options of a storage of a volume that is emptied.
func section(t testing.TB, volume string) []string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "mnt")
	t.Cleanup(func() {
		_ = os.RemoveAll(at + "/images")
		for unix.Unmount(at, unix.MNT_DETACH) == nil {
		}
	})
	return []string{"server " + address, "volume " + volume, "path " + at}
}

func TestContract(t *testing.T) {
	start(t)
	o := storagetest.Options{
		Type:    glusterfs.Type(),
		Section: func(t *testing.T) []string { return section(t, "gv0") },
		Small:   func(t *testing.T) []string { return section(t, "small") },
		Formats: []string{"qcow2"},
	}
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		o.Formats = nil // each takes a while
	}
	storagetest.Run(t, o)
}

// serve returns a service with a storage gl of the volume gv0, which asks as on a node.
func serve(t *testing.T, options ...string) (*storage.Service, string, *bytes.Buffer, context.Context) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := append(section(t, "gv0")[1:], options...)
	p := &mount.Prober{Dir: t.TempDir(), Argv: []string{exe, childWord}, Patience: 3 * time.Second}
	s := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{glusterfs.Type()}, QEMUImg: "qemu-img", Probe: p.Probe,
		Config: func(context.Context) (string, error) {
			return "glusterfs: gl\n\t" + strings.Join(lines, "\n\t") + "\n", nil
		},
	})
	said := &bytes.Buffer{}
	return s, strings.TrimPrefix(lines[1], "path "), said, api.WithStreams(t.Context(), api.Streams{Out: said, Err: said})
}

// TestSecondServer: where the first server does not answer, the second one does.
func TestSecondServer(t *testing.T) {
	start(t)
	s, at, _, ctx := serve(t, "server 10.66.0.2", "server2 "+address)
	if err := s.Activate(ctx, "gl"); err != nil {
		t.Fatal(err)
	}
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := mount.Find(table, at); !ok || e.Device != address+":gv0" || e.Type != "fuse.glusterfs" {
		t.Errorf("mounted is %+v", e)
	}
}

// TestNoVolume: a volume that is not there is not mounted, in bounded time.
func TestNoVolume(t *testing.T) {
	start(t)
	_, at, _, ctx := serve(t, "server "+address)
	other := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{glusterfs.Type()},
		Config: func(context.Context) (string, error) {
			return "glusterfs: gl\n\tserver " + address + "\n\tvolume nowhere\n\tpath " + at + "\n", nil
		},
	})
	if err := other.Activate(ctx, "gl"); err == nil || !strings.Contains(err.Error(), "mount error: ") || !strings.Contains(err.Error(), "does the volume exist") {
		t.Errorf("got %v", err)
	}
	if below, _ := filepath.Glob(at + "/*"); len(below) > 0 {
		t.Errorf("on the root file system: %q", below)
	}
}

// TestServerHangs: stopped servers and clients are waited for once.
func TestServerHangs(t *testing.T) {
	srv := start(t)
	s, _, said, ctx := serve(t, "server "+address)
	v, err := s.Alloc(ctx, "gl", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	offline := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "storage 'gl' is not online: server "+address) {
			t.Errorf("got %v", err)
		}
	}
	back := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			_, err := s.Info(ctx, v)
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it does not come back: %v", err)
			}
		}
	}
	client := func(what syscall.Signal) {
		for _, pid := range testgluster.Processes(t, "glusterfs") {
			_ = syscall.Kill(pid, what)
		}
	}
	for name, who := range map[string]func(syscall.Signal){"servers": srv.Signal, "client": client} {
		t.Run(name, func(t *testing.T) {
			who(syscall.SIGSTOP)
			defer who(syscall.SIGCONT)
			time.Sleep(1100 * time.Millisecond) // answers are good for a second
			for range 3 {
				_, err := s.Status(ctx, "gl")
				offline(err)
				_, err = s.Info(ctx, v)
				offline(err)
				offline(s.Free(ctx, v))
			}
			if n := len(testgluster.Processes(t, childWord)); n > 1 {
				t.Errorf("%d processes ask", n)
			}
			who(syscall.SIGCONT)
			back()
		})
	}
	// A client that has crashed is replaced.
	client(syscall.SIGKILL)
	time.Sleep(1100 * time.Millisecond)
	if err := s.Activate(ctx, "gl"); err != nil {
		t.Error(err)
	}
	back()
	if err := s.Free(ctx, v); err != nil {
		t.Error(err)
	}
}

// TestQEMU: QEMU's own client reads what the mount has written.
func TestQEMU(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("QEMU's client waits ten seconds each time it closes a volume: set VIRTSMITH_TEST_ALL=1")
	}
	start(t)
	s, _, said, ctx := serve(t, "server "+address)
	v, err := s.Alloc(ctx, "gl", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	path, err := s.Path(ctx, v, "")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "info", "-f", "qcow2", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 MiB (1048576 bytes)") {
		t.Errorf("%s: %v: %s", path, err, out)
	}
}
