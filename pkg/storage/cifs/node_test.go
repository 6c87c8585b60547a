package cifs_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/cifs"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
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

const password = "geheim, = 100%"

// section returns the options of a storage whose mount ends with the test.
func section(t *testing.T, share string, more ...string) []string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "mnt")
	t.Cleanup(func() {
		for unix.Unmount(at, 0) == nil {
		}
		_ = unix.Unmount(at, unix.MNT_FORCE|unix.MNT_DETACH)
	})
	return append([]string{"server 127.0.0.1", "share " + share, "username tester", "path " + at}, more...)
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

// serveAll starts a Samba with the shares big and small, and returns the options of the
// contract on it.
func serveAll(t *testing.T, more ...string) storagetest.Options {
	t.Helper()
	testnode.Need(t, "cifs")
	big, small := t.TempDir(), testnode.FileSystem(t, 60)
	// Who cannot enter the folders above it has no share.
	for dir := big; dir != "/"; dir = filepath.Dir(dir) {
		_ = os.Chmod(dir, 0o755)
	}
	testnode.Samba(t, "tester", password, map[string]string{"big": big, "small": small})
	if err := os.Mkdir(big+"/folder", 0o755); err != nil {
		t.Fatal(err)
	}
	// Mounting takes a while in the node: it is done once.
	once := func(share string, more ...string) func(*testing.T) []string {
		lines := section(t, share, more...)
		return func(t *testing.T) []string {
			t.Cleanup(func() { empty(t, lines) })
			return lines
		}
	}
	return storagetest.Options{
		Type:    cifs.Type(),
		Secrets: map[string]string{"password": password},
		Section: once("big", append([]string{"subdir /folder"}, more...)...),
		Small:   once("small", more...),
		Formats: []string{"qcow2"},
	}
}

func TestContract(t *testing.T) {
	o := serveAll(t)
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		o.Formats = nil // each takes a minute
	}
	storagetest.Run(t, o)
}

// chains asks for snapshots that are files of their own.
const chains = "snapshot-as-volume-chain 1"

func TestContractOfChains(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes minutes: set VIRTSMITH_TEST_ALL=1")
	}
	storagetest.Run(t, serveAll(t, chains))
}

func TestChain(t *testing.T) {
	o := serveAll(t, chains)
	o.Slow = true
	storagetest.Chain(t, o)
}

// smb is a storage of a Samba, asked as on a node: by a child.
type smb struct {
	*storage.Service
	server *testnode.Server
	path   string
	folder string
	said   *bytes.Buffer
	ctx    context.Context //nolint:containedctx // that of the test
}

func newSMB(t *testing.T, given string) *smb {
	t.Helper()
	testnode.Need(t, "cifs")
	s := &smb{said: &bytes.Buffer{}, folder: t.TempDir()}
	s.server = testnode.Samba(t, "tester", password, map[string]string{"data": s.folder})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := section(t, "data")
	s.path = strings.TrimPrefix(lines[3], "path ")
	root := t.TempDir()
	p := &mount.Prober{Dir: root + "/run", Argv: []string{exe, childWord}, Patience: 5 * time.Second}
	s.Service = storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: []storage.Type{cifs.Type()}, QEMUImg: "qemu-img", Probe: p.Probe,
		Secrets: storage.SecretDir(root + "/etc/pve/priv"),
		Config: func(context.Context) (string, error) {
			return "cifs: smb\n\t" + strings.Join(lines, "\n\t") + "\n", nil
		},
	})
	s.ctx = api.WithStreams(t.Context(), api.Streams{Out: s.said, Err: s.said})
	pool, err := s.Pool(s.ctx, "smb")
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.(storage.Configurer).Added(s.ctx, map[string]string{"password": given}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWrongPassword: the server's refusal is told, in mounting and in scanning.
func TestWrongPassword(t *testing.T) {
	s := newSMB(t, "falsch")
	if err := s.Activate(s.ctx, "smb"); err == nil || !strings.Contains(err.Error(), "the server refuses the user, the password or the share") || strings.Contains(err.Error(), "falsch") {
		t.Errorf("got %v", err)
	}
	if below, _ := filepath.Glob(s.path + "/*"); len(below) > 0 {
		t.Errorf("on the root file system: %q", below)
	}
	if _, err := cifs.Scan(s.ctx, run.Host{}, "127.0.0.1", "tester", "falsch", ""); err == nil || !strings.Contains(err.Error(), "NT_STATUS_LOGON_FAILURE") {
		t.Errorf("scan: %v", err)
	}
	found, err := cifs.Scan(s.ctx, run.Host{}, "127.0.0.1", "tester", password, "")
	if diff := cmp.Diff([]cifs.Share{{Share: "data"}}, found); err != nil || diff != "" {
		t.Errorf("scan: %v\n%s", err, diff)
	}
}

// TestServerHangs: a server that hangs is waited for once, before and after it is
// mounted, and all goes on when it is back.
func TestServerHangs(t *testing.T) {
	s := newSMB(t, password)
	offline := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "storage 'smb' is not online: server 127.0.0.1") {
			t.Errorf("got %v", err)
		}
	}
	s.server.Freeze()
	offline(s.Activate(s.ctx, "smb"))
	if below, _ := filepath.Glob(s.path + "/*"); len(below) > 0 {
		t.Errorf("on the root file system: %q", below)
	}
	s.server.Thaw()
	v, err := s.Alloc(s.ctx, "smb", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatalf("%v\n%s", err, s.said)
	}
	s.server.Freeze()
	time.Sleep(1100 * time.Millisecond) // answers are good for a second
	begun := time.Now()
	for range 5 {
		_, err := s.Status(s.ctx, "smb")
		offline(err)
		_, err = s.Info(s.ctx, v)
		offline(err)
		_, err = s.List(s.ctx, "smb", storage.Filter{})
		offline(err)
		_, err = s.Alloc(s.ctx, "smb", storage.Alloc{Guest: 100, Format: "raw", Size: 1024})
		offline(err)
	}
	t.Logf("20 questions took %s", time.Since(begun))
	s.server.Thaw()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err = s.Info(s.ctx, v); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it does not come back: %v", err)
		}
	}
	if err := s.Free(s.ctx, v); err != nil {
		t.Error(err)
	}
	s.server.Kill()
	time.Sleep(1100 * time.Millisecond)
	_, err = s.Status(s.ctx, "smb")
	offline(err)
	p, err := s.Pool(s.ctx, "smb")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Deactivate(s.ctx); err != nil {
		t.Error(err)
	}
	offline(s.Activate(s.ctx, "smb"))
}
