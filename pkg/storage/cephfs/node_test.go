package cephfs

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// TestKernelNode is the file system as the kernel mounts it.
func TestKernelNode(t *testing.T) {
	testnode.Need(t, "ceph")
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("to start a Ceph on an emulated machine takes a minute: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	c := testceph.Start(t)
	c.FS()
	kernel := func(t *testing.T, subdir string) []string {
		t.Helper()
		options := slices.DeleteFunc(section(t, c, subdir), func(o string) bool { return o == "fuse 1" || strings.HasPrefix(o, "monhost") })
		return append(options, "monhost "+c.MonHost, "options ms_mode=crc")
	}
	own := func(t *testing.T) []string { // of a node whose Ceph is its own
		t.Helper()
		return slices.DeleteFunc(kernel(t, ""), func(o string) bool { return strings.HasPrefix(o, "monhost") || strings.HasPrefix(o, "options") })
	}
	serve := func(t *testing.T) *world {
		t.Helper()
		return serveAs(t, t.TempDir(), map[string]string{"keyring": c.Secret()}, kernel(t, "")...)
	}
	top := serve(t)
	top.ok(top.Activate(top.ctx, "it"))
	top.sized()
	t.Run("Managed", func(t *testing.T) {
		root := t.TempDir()
		c.Manage(root)
		w := serveAs(t, root, nil, own(t)...)
		w.ok(w.Activate(w.ctx, "it"))
		p, err := w.Pool(w.ctx, "it")
		w.ok(err)
		w.ok(p.Deactivate(w.ctx))
	})
	t.Run("Content", func(t *testing.T) { content(t, serve(t)) })
	t.Run("WrongKey", func(t *testing.T) { wrongKey(t, c, own(t)) })
	folders := 0
	t.Run("Contract", func(t *testing.T) {
		t.Setenv("VIRTSMITH_TEST_ALL", "") // where all is emulated, few rounds are enough
		storagetest.Run(t, storagetest.Options{
			Type: Type(),
			Section: func(t *testing.T) []string {
				folders++
				subdir := fmt.Sprintf("/kernel%d", folders)
				top.ok(os.Mkdir(top.path+subdir, 0o755))
				return kernel(t, subdir)
			},
			Secrets: map[string]string{"keyring": c.Secret()},
			Formats: []string{"raw"},
			Slow:    true,
		})
	})
	t.Run("ServersStopped", func(t *testing.T) { serversStopped(t, c, serve) })
}
