package all_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// TestNodeZFS: the same between two pools of ZFS, whose volumes go as ZFS writes them, and
// with a folder. It takes a node with ZFS, and the matrix of all others has too many pairs
// to wait for these.
func TestNodeZFS(t *testing.T) {
	testnode.Need(t, "zfs")
	kinds := []kind{{name: "ext4", of: "dir", options: []string{"path " + t.TempDir()}, formats: []string{"qcow2", "raw", "subvol"}, fast: true}}
	for i, name := range []string{"zfs", "zfs2"} {
		pool := "vs" + name
		lvmtest.Run(t, "zpool", "create", "-f", pool, testnode.Disk(t, 2+i))
		t.Cleanup(func() { destroy(t, pool) })
		options := []string{"pool " + pool, "blocksize 16k"}
		if i == 0 {
			options = append(options, "sparse 1")
		}
		kinds = append(kinds, kind{name: name, of: "zfspool", options: options, formats: []string{"raw", "subvol"}, blocks: true, fast: true})
	}
	newMatrix(t, kinds).run(6<<20 + 1024)
}

// destroy ends a pool: udev looks into its disks for a moment.
func destroy(t *testing.T, pool string) {
	t.Helper()
	for range 100 {
		if exec.Command("zpool", "destroy", "-f", pool).Run() == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("the pool %s cannot be destroyed", pool)
}
