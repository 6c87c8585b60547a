package qm

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testiscsi"
)

// TestISCSIDirect: a VM boots from a LUN that its QEMU reaches by itself, gets another
// one while it runs, and is copied to files.
func TestISCSIDirect(t *testing.T) {
	if out, _ := exec.Command("qemu-img", "info", "iscsi://127.0.0.1:1/none/1").CombinedOutput(); strings.Contains(string(out), "Unknown protocol") {
		t.Skip("QEMU has no driver for iSCSI: it is in the package qemu-block-extra")
	}
	server := testiscsi.New(t)
	target := server.Target()
	guest := filepath.Join(testguest.Dir(t), "guest.raw")
	_, disk := target.LUN(1 << 20)
	command(t, "cp", "--sparse=always", guest, disk)
	target.AddFile(7, disk)
	_, empty := target.LUN(8 << 20)

	n := newPowerNode(t, `agent: 1
boot: order=scsi0
cpu: qemu64
memory: 256
scsi0: san:lun7
scsihw: virtio-scsi-pci
serial0: socket
vga: serial0
`)
	n.write("etc/pve/storage.cfg", "iscsidirect: san\n\tportal "+server.Portal+"\n\ttarget "+target.Name+"\n\tcontent images\n", 0o640)
	n.ok("start", "100")
	answers := func() {
		n.await(90*time.Second, "the guest answers", func() bool {
			_, code := n.qm(nil, "guest", "cmd", "100", "ping")
			return code == 0
		})
	}
	inGuest := func(script string) string {
		return n.ok("guest", "exec", "100", "--", "sh", "-c", script)
	}
	answers()
	n.ok("set", "100", "--scsi1", "san:lun2")
	n.await(20*time.Second, "the guest sees the second disk", func() bool {
		return strings.Contains(inGuest("cat /sys/block/sdb/size"), strconv.Itoa(8<<20/512))
	})
	inGuest("echo 4711 | dd of=/dev/sdb bs=512 conv=sync; sync")
	if got := command(t, "head", "-c", "4", empty); got != "4711" {
		t.Errorf("what the guest has written is on the target as %q", got)
	}
	n.ok("stop", "100")

	n.ok("set", "100", "--delete", "scsi1")
	n.ok("clone", "100", "101", "--full", "--storage", "local")
	copied, err := filepath.Glob(filepath.Join(n.root, "var/lib/vz/images/101/*"))
	if err != nil || len(copied) != 1 {
		t.Fatalf("the copy has %q, %v", copied, err)
	}
	command(t, "qemu-img", "compare", "-f", "raw", disk, copied[0])
	n.ok("destroy", "101")

	server.Kill()
	if said, code := n.qm(nil, "start", "100"); code == 0 || !strings.Contains(said, "storage 'san' is not online") {
		t.Errorf("start without a target: %d, %s", code, said)
	}
	n.clean()
}
