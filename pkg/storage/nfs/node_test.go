package nfs_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/nfs"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// childWord makes the test binary the process that asks.
const childWord = "--test-probe"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		os.Exit(mount.Child(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// section returns the options of a storage whose mount ends with the test.
func section(t *testing.T, export, options string) []string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "mnt")
	t.Cleanup(func() {
		for unix.Unmount(at, 0) == nil {
		}
		_ = unix.Unmount(at, unix.MNT_FORCE|unix.MNT_DETACH)
	})
	return []string{"server 127.0.0.1", "export " + export, "path " + at, "options " + options}
}

// once returns the section of a storage for many tests: mounting takes seconds in the node.
func once(t *testing.T, dir, version string, more ...string) func(*testing.T) []string {
	lines := append(section(t, dir, "vers="+version), more...)
	return func(t *testing.T) []string {
		t.Cleanup(func() { empty(t, lines) })
		return lines
	}
}

func contract(t *testing.T, version string, formats []string, more ...string) {
	testnode.Need(t, "nfs")
	big, small := t.TempDir(), testnode.FileSystem(t, 60)
	testnode.NFS(t, big, small)
	storagetest.Run(t, storagetest.Options{
		Type: nfs.Type(), Section: once(t, big, version, more...), Small: once(t, small, version, more...), Formats: formats,
	})
}

// empty removes the images of a storage, through its mount: a client may remember for a
// while what is there.
func empty(t *testing.T, section []string) {
	t.Helper()
	for _, line := range section {
		if at, ok := strings.CutPrefix(line, "path "); ok {
			left, err := filepath.Glob(at + "/images/*")
			if err != nil {
				t.Error(err)
			}
			for _, dir := range left {
				_ = os.RemoveAll(dir)
			}
		}
	}
}

func TestContract(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		contract(t, "4.2", []string{"qcow2"}) // each format takes a minute
		return
	}
	contract(t, "4.2", nil)
}

func TestContract3(t *testing.T) {
	slow(t)
	contract(t, "3", []string{"raw", "qcow2"})
}

// chains asks for snapshots that are files of their own.
const chains = "snapshot-as-volume-chain 1"

func TestContractOfChains(t *testing.T) {
	slow(t)
	contract(t, "4.2", []string{"qcow2"}, chains)
}

func TestChain(t *testing.T) {
	testnode.Need(t, "nfs")
	export := t.TempDir()
	testnode.NFS(t, export)
	for _, version := range []string{"4.2", "3"} {
		t.Run(version, func(t *testing.T) {
			if version == "3" {
				slow(t)
			}
			storagetest.Chain(t, storagetest.Options{Type: nfs.Type(), Section: once(t, export, version, chains), Slow: true})
		})
	}
}

func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes minutes: set VIRTSMITH_TEST_ALL=1")
	}
}

// nas is a storage of the kernel's server, asked as on a node: by a child.
type nas struct {
	*storage.Service
	server *testnode.NFSServer
	prober *mount.Prober
	export string
	path   string
	said   *bytes.Buffer
	ctx    context.Context //nolint:containedctx // that of the test
}

func newNAS(t *testing.T, options string, more ...string) *nas {
	t.Helper()
	testnode.Need(t, "nfs")
	n := &nas{export: t.TempDir(), said: &bytes.Buffer{}}
	n.server = testnode.NFS(t, n.export)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := append(section(t, n.export, options), more...)
	n.path = strings.TrimPrefix(lines[2], "path ")
	n.prober = &mount.Prober{Dir: t.TempDir(), Argv: []string{exe, childWord}, Patience: 5 * time.Second}
	n.Service = storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{nfs.Type()}, QEMUImg: "qemu-img", Probe: n.prober.Probe,
		Config: func(context.Context) (string, error) { return "nfs: nas\n\t" + strings.Join(lines, "\n\t") + "\n", nil },
	})
	n.ctx = api.WithStreams(t.Context(), api.Streams{Out: n.said, Err: n.said})
	return n
}

func (n *nas) alloc(t *testing.T) id.Volume {
	t.Helper()
	v, err := n.Alloc(n.ctx, "nas", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatalf("%v\n%s", err, n.said)
	}
	return v
}

// offline fails unless an error says at once which storage and server are gone.
func offline(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "storage 'nas' is not online: server 127.0.0.1") {
		t.Errorf("got %v", err)
	}
}

func children(t *testing.T) int {
	t.Helper()
	n := 0
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		line, _ := os.ReadFile(name) // it may have ended
		if strings.Contains(string(line), childWord+"\x00") {
			n++
		}
	}
	return n
}

// TestGoneBefore: with the server off, nothing lands below the mount point.
func TestGoneBefore(t *testing.T) {
	n := newNAS(t, "vers=4.2")
	n.server.Stop()
	_, err := n.Alloc(n.ctx, "nas", storage.Alloc{Guest: 100, Format: "raw", Size: 1024})
	offline(t, err)
	if below, _ := filepath.Glob(n.path + "/*"); len(below) > 0 {
		t.Errorf("on the root file system: %q", below)
	}
	n.server.Resume()
	n.alloc(t)
}

// TestGoneAfter: a server that is gone, or whose packets are lost, is waited for once, by
// one process; then all that is wanted fails at once, and all goes on when it is back.
func TestGoneAfter(t *testing.T) {
	for name, lose := range map[string]func(*nas) func(){
		"stopped":         func(n *nas) func() { n.server.Stop(); return n.server.Resume },
		"packets dropped": func(*nas) func() { return testnode.Drop(t, testnode.NFSPorts()...) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNAS(t, "vers=4.2")
			v := n.alloc(t)
			restore := lose(n)
			time.Sleep(1100 * time.Millisecond) // answers are good for a second
			begun := time.Now()
			_, err := n.Status(n.ctx, "nas")
			offline(t, err)
			first := time.Since(begun)
			begun = time.Now()
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					_, err := n.List(n.ctx, "nas", storage.Filter{})
					offline(t, err)
					_, err = n.Info(n.ctx, v)
					offline(t, err)
					_, err = n.Alloc(n.ctx, "nas", storage.Alloc{Guest: 100, Format: "raw", Size: 1024})
					offline(t, err)
					offline(t, n.Free(n.ctx, v))
				})
			}
			wg.Wait()
			t.Logf("the first question took %s, 40 more %s", first, time.Since(begun))
			if c := children(t); c > 1 {
				t.Errorf("%d processes ask", c)
			}
			list, err := n.Statuses(n.ctx, nil)
			if err != nil || len(list) != 1 || list[0].Active {
				t.Errorf("%+v, %v", list, err)
			}
			restore()
			for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
				if _, err = n.Status(n.ctx, "nas"); err == nil {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("it does not come back: %v", err)
				}
			}
			if err := n.Free(n.ctx, v); err != nil {
				t.Error(err)
			}
			for end := time.Now().Add(time.Minute); children(t) > 0; time.Sleep(100 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("a process is left")
				}
			}
		})
	}
}

// TestReadOnlyExport: what is there can be used, what is to be made says why not.
func TestReadOnlyExport(t *testing.T) {
	n := newNAS(t, "vers=4.2,ro")
	if err := n.Activate(n.ctx, "nas"); err == nil || !strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("without its folder: %v", err)
	}
	// The client remembers for a while what was not there.
	p, err := n.Pool(n.ctx, "nas")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Deactivate(n.ctx); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(n.export+"/images/100", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.export+"/images/100/vm-100-disk-0.raw", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := n.List(n.ctx, "nas", storage.Filter{}); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := n.Alloc(n.ctx, "nas", storage.Alloc{Guest: 100, Format: "raw", Size: 1024}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("alloc: %v", err)
	}
}

// TestNotExported: what the server does not offer is said so.
func TestNotExported(t *testing.T) {
	n := newNAS(t, "vers=3,port=0") // the port mapper knows
	n.alloc(t)
	other := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{nfs.Type()},
		Config: func(context.Context) (string, error) {
			return "nfs: nas\n\tserver 127.0.0.1\n\texport /nowhere\n\tpath " + n.path + "2\n\toptions vers=3\n", nil
		},
	})
	if err := other.Activate(n.ctx, "nas"); err == nil || !strings.Contains(err.Error(), "mount error: ") || !strings.Contains(err.Error(), "access denied") {
		t.Errorf("got %v", err)
	}
	found, err := nfs.Scan(n.ctx, run.Host{}, "127.0.0.1")
	if err != nil || !slices.ContainsFunc(found, func(e nfs.Export) bool { return e.Path == n.export && e.Options != "" }) {
		t.Errorf("scan: %+v, %v", found, err)
	}
}

// TestKilled: a copy that is killed in the middle leaves a volume that is listed and can
// be removed, and the storage goes on.
func TestKilled(t *testing.T) {
	n := newNAS(t, "vers=4.2")
	n.prober.Patience = time.Minute // what was written goes to the server first
	v := n.alloc(t)
	path, err := n.Path(n.ctx, v, "")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("qemu-img", "bench", "-w", "-c", "1000000", "-s", "65536", "-f", "qcow2", path)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	_ = c.Process.Kill()
	_ = c.Wait()
	list, err := n.List(n.ctx, "nas", storage.Filter{})
	if err != nil || len(list) != 1 || list[0].Name != v.Name {
		t.Errorf("%+v, %v", list, err)
	}
	if err := n.Free(n.ctx, v); err != nil {
		t.Error(err)
	}
	n.alloc(t)
}

// TestUnmount: deactivated, it is mounted no more; in use, it says so.
func TestUnmount(t *testing.T) {
	n := newNAS(t, "vers=4.2")
	v := n.alloc(t)
	p, err := n.Pool(n.ctx, "nas")
	if err != nil {
		t.Fatal(err)
	}
	path, _ := n.Path(n.ctx, v, "")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Deactivate(n.ctx); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("in use: %v", err)
	}
	_ = f.Close()
	for range 2 {
		if err := p.Deactivate(n.ctx); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it is still mounted")
	}
}
