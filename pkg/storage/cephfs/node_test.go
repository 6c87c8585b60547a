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
	c := testceph.Start(t)
	c.FS()
	root := t.TempDir()
	c.Manage(root)
	kernel := func(t *testing.T, subdir string) []string {
		options := slices.DeleteFunc(section(t, c, subdir), func(o string) bool { return o == "fuse 1" || strings.HasPrefix(o, "monhost") })
		return append(options, "monhost "+c.MonHost, "options ms_mode=crc")
	}
	top := serveAs(t, t.TempDir(), map[string]string{"keyring": c.Secret()}, kernel(t, "")...)
	top.ok(top.Activate(top.ctx, "it"))
	t.Run("Managed", func(t *testing.T) {
		options := slices.DeleteFunc(kernel(t, ""), func(o string) bool { return strings.HasPrefix(o, "monhost") || strings.HasPrefix(o, "options") })
		w := serveAs(t, root, nil, options...)
		w.ok(w.Activate(w.ctx, "it"))
		p, err := w.Pool(w.ctx, "it")
		w.ok(err)
		w.ok(p.Deactivate(w.ctx))
	})
	folders := 0
	t.Run("Contract", func(t *testing.T) {
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
}
