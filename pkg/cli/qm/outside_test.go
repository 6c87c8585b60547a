package qm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/storage/outside"
)

// TestOutside: a VM boots from a volume of a program that is a storage type, is copied
// there and taken apart again.
func TestOutside(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("boots a guest: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	n := newPowerNode(t, `agent: 1
boot: order=scsi0
cpu: qemu64
memory: 256
scsihw: virtio-scsi-pci
serial0: socket
vga: serial0
`)
	folder := outside.Finder{Root: n.root}.Folders()[0]
	command(t, "go", "build", "-C", conformance.Root(t), "-o", filepath.Join(folder, "example"), "./contrib/storage-example")
	n.write("etc/pve/storage.cfg", "example: mine\n\tpath "+n.root+"/srv\n\tcontent images\n", 0o640)
	n.ok("set", "100", "--scsi0", "mine:0,import-from="+filepath.Join(testguest.Dir(t), "guest.raw"))
	n.ok("start", "100")
	n.await(90*time.Second, "the guest answers", func() bool {
		_, code := n.qm(nil, "guest", "cmd", "100", "ping")
		return code == 0
	})
	n.ok("stop", "100")
	n.ok("snapshot", "100", "before")
	n.ok("rollback", "100", "before")
	n.ok("delsnapshot", "100", "before")
	n.ok("template", "100")
	n.ok("clone", "100", "101")
	if linked := filepath.Join(n.root, "srv/vm-101-disk-0/base"); command(t, "cat", linked) != "base-100-disk-0" {
		t.Error("the clone is not linked")
	}
	n.ok("destroy", "101")
	n.ok("destroy", "100")
	if left, _ := filepath.Glob(n.root + "/srv/*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
