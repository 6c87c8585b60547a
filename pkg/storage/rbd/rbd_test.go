package rbd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// TestCeph is everything that needs a cluster, which is started once.
func TestCeph(t *testing.T) {
	needDriver(t)
	c := testceph.Start(t)
	t.Run("Contract", func(t *testing.T) {
		spaces := 0
		storagetest.Run(t, storagetest.Options{
			Type: Type(),
			Section: func(t *testing.T) []string {
				spaces++
				space := fmt.Sprintf("space%d", spaces)
				c.RBD("namespace", "create", testceph.Pool+"/"+space)
				return append(c.Section(), "namespace "+space)
			},
			Secrets: map[string]string{"keyring": c.Secret()},
			Slow:    true,
		})
	})
	for _, test := range []struct {
		name string
		run  func(*testing.T, *testceph.Cluster)
	}{
		{"Managed", managed},
		{"WrongKey", wrongKey},
		{"NoPool", noPool},
		{"Damaged", damaged},
		{"Strangers", strangers},
		{"DataPool", dataPool},
		{"FromSnapshot", fromSnapshot},
		{"Killed", killed},
		{"Boots", boots},
		{"Full", full},
		{"MonitorStopped", func(t *testing.T, c *testceph.Cluster) { stopped(t, c, "mon") }},
		{"OSDStopped", func(t *testing.T, c *testceph.Cluster) { slow(t); stopped(t, c, "osd") }},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
}

// needDriver skips the test where QEMU cannot reach images.
func needDriver(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	out, _ := exec.Command("qemu-img", "info", "rbd:none/none:conf=/nonexistent").CombinedOutput()
	if strings.Contains(string(out), "Unknown protocol") || strings.Contains(string(out), "Unknown driver") {
		t.Skip("QEMU has no driver for RBD: it is in the package qemu-block-extra")
	}
}

// A world is a service with the storage it.
type world struct {
	*storage.Service
	t    testing.TB
	ctx  context.Context //nolint:containedctx // that of the test
	said *bytes.Buffer
	root string
}

func serve(t testing.TB, root string, r run.Runner, secrets map[string]string, options ...string) *world {
	t.Helper()
	text := "rbd: it\n\t" + strings.Join(options, "\n\t") + "\n"
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: r, Types: []storage.Type{Type()}, QEMUImg: "qemu-img", Zone: time.UTC,
		Config:  func(context.Context) (string, error) { return text, nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
		Lock: func(ctx context.Context, name string, fn func(context.Context) error) error {
			return file.WithLock(ctx, filepath.Join(root, name), file.LockOptions{Patience: time.Minute}, fn)
		},
	})
	w := &world{Service: s, t: t, said: &bytes.Buffer{}, root: root}
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: w.said})
	p, err := s.Pool(w.ctx, "it")
	w.ok(err)
	if secrets == nil || !file.Exists(filepath.Join(root, "etc/pve/priv/ceph/it.keyring")) {
		w.ok(p.(storage.Configurer).Added(w.ctx, secrets))
	}
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.said)
	}
}

// managed: the cluster whose ceph.conf is in /etc/pve.
func managed(t *testing.T, c *testceph.Cluster) {
	root := t.TempDir()
	c.Manage(root)
	w := serve(t, root, run.Host{}, nil)
	key, err := os.ReadFile(filepath.Join(root, "etc/pve/priv/ceph/it.keyring"))
	w.ok(err)
	if string(key) != c.Secret() {
		t.Errorf("the keyring of the storage is %q", key)
	}
	v, err := w.Alloc(w.ctx, "it", storage.Alloc{Guest: 100, Size: 1024})
	w.ok(err)
	path, err := w.Path(w.ctx, v, "")
	w.ok(err)
	if want := "rbd:rbd/vm-100-disk-0:conf=" + root + "/etc/pve/ceph.conf:id=admin:keyring=" + root + "/etc/pve/priv/ceph/it.keyring"; path != want {
		t.Errorf("path is %s", path)
	}
	w.ok(w.Free(w.ctx, v))
}
