package qm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiskGuest moves, grows, clones and detaches the disks of a guest that writes all
// the while.
func TestDiskGuest(t *testing.T) {
	l := newLab(t, labConfig)
	fast := filepath.Join(l.root, "srv/fast")
	if err := os.MkdirAll(fast, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := "dir: local\n\tpath " + l.root + "/var/lib/vz\n\tcontent images\n\ndir: fast\n\tpath " + fast + "\n\tcontent images\n\n"
	if err := os.WriteFile(filepath.Join(l.root, "etc/pve/storage.cfg"), []byte(cfg), 0o640); err != nil {
		t.Fatal(err)
	}
	l.boot(t)
	l.sh(t, `echo start >/data/log; (i=0; while :; do i=$((i+1)); echo $i >>/data/log; sync; usleep 20000; done) >/dev/null 2>&1 </dev/null &`)

	out := l.do(t, "disk", "move", "100", "virtio0", "fast", "--delete", "1")
	if !strings.Contains(out, "(100.00%)") {
		t.Errorf("no progress in:\n%s", out)
	}
	l.do(t, "clone", "100", "101", "--storage", "local")
	l.do(t, "disk", "resize", "100", "scsi1", "+32M")
	if size := l.sh(t, "cat /sys/block/sda/size"); size != "196608" {
		t.Errorf("the guest sees %s sectors of scsi1", size)
	}
	l.do(t, "disk", "move", "100", "scsi1", "fast")
	l.do(t, "set", "100", "--delete", "scsi1")
	if disks := l.sh(t, "ls /sys/block"); strings.Contains(disks, "sda") {
		t.Errorf("the guest has %s still", disks)
	}
	var nodes []struct{ File string }
	l.ask(t, "query-named-block-nodes", &nodes)
	for _, n := range nodes {
		if strings.Contains(n.File, "vm-100-disk-1") || strings.Contains(n.File, "local") || strings.Contains(n.File, "/101/") {
			t.Errorf("QEMU has %s open", n.File)
		}
	}
	if first := l.sh(t, "head -n 1 /data/log"); first != "start" {
		t.Errorf("the file begins with %q", first)
	}
	lines := l.sh(t, "sync; sleep 1; wc -l </data/log")
	l.do(t, "stop", "100")
	l.boot(t)
	if again := l.sh(t, "wc -l </data/log"); len(again) < len(lines) || again < lines {
		t.Errorf("the file had %s lines, and %s after a start from the new disk", lines, again)
	}
	if bad := l.sh(t, `awk 'NR>1 && $1!=NR-1' /data/log | head -n 3`); bad != "" {
		t.Errorf("lines are missing: %s", bad)
	}
	l.do(t, "stop", "100")
	command(t, "qemu-img", "check", filepath.Join(l.root, "var/lib/vz/images/101/vm-101-disk-0.qcow2"))
}
