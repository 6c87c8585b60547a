package host_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
)

func must(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
	}
}

func all(t *testing.T) {
	t.Helper()
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes half a minute: set VIRTSMITH_TEST_ALL=1")
	}
}

// uses lists what the disks of the node are used for, and their partitions.
func uses(t *testing.T, names ...string) string {
	t.Helper()
	must(t, "udevadm", "settle", "--timeout=20")
	i := host.DiskInventory{Runner: run.Host{}, Warn: func(err error) { t.Errorf("warning: %v", err) }}
	disks, err := i.Disks(t.Context(), host.DiskQuery{Names: names, Partitions: true})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, d := range disks {
		fmt.Fprintf(&b, "%s: %s, %s, gpt %t, mounted %t, osds %v\n", d.Name, d.Type, d.Used, d.GPT, d.Mounted, d.Ceph.OSDs)
	}
	return b.String()
}

// TestNodeDisks has real disks used in all the ways there are.
func TestNodeDisks(t *testing.T) {
	testnode.Need(t, "device-mapper")
	parted, osd, plain, mapped := testnode.Disk(t, 0), testnode.Disk(t, 1), testnode.Disk(t, 2), testnode.Disk(t, 3)
	must(t, "parted", "-s", parted, "mklabel", "gpt", "mkpart", "boot", "1MiB", "2MiB", "set", "1", "bios_grub", "on",
		"mkpart", "efi", "2MiB", "50MiB", "set", "2", "esp", "on", "mkpart", "root", "50MiB", "1GiB", "mkpart", "lvm", "1GiB", "2GiB", "mkpart", "free", "2GiB", "3GiB")
	must(t, "udevadm", "settle", "--timeout=20")
	must(t, "mkfs.ext4", "-q", parted+"3")
	at := t.TempDir()
	must(t, "mount", parted+"3", at)
	t.Cleanup(func() { must(t, "umount", at) })
	must(t, "vgcreate", "-y", "one", parted+"4")
	t.Cleanup(func() { must(t, "vgremove", "-ff", "-y", "one"); must(t, "pvremove", "-ff", "-y", parted+"4") })
	must(t, "vgcreate", "-y", "two", osd)
	t.Cleanup(func() { must(t, "vgremove", "-ff", "-y", "two"); must(t, "pvremove", "-ff", "-y", osd) })
	must(t, "lvcreate", "-y", "-L", "100m", "-n", "osd-block-0a1b", "--addtag", "ceph.osd_id=7", "--addtag", "ceph.encrypted=0", "two")
	must(t, "mkfs.ext4", "-q", plain)
	must(t, "dmsetup", "create", "mapped", "--table", "0 2048 linear "+mapped+" 0")
	t.Cleanup(func() { must(t, "dmsetup", "remove", "--retry", "mapped") })

	names := []string{filepath.Base(parted), filepath.Base(osd), filepath.Base(plain), filepath.Base(mapped)}
	want := fmt.Sprintf(`%[1]s: unknown, partitions, gpt true, mounted false, osds []
%[1]s1: partition, BIOS boot, gpt true, mounted false, osds []
%[1]s2: partition, EFI, gpt true, mounted false, osds []
%[1]s3: partition, ext4, gpt true, mounted true, osds []
%[1]s4: partition, LVM, gpt true, mounted false, osds []
%[1]s5: partition, , gpt true, mounted false, osds []
%[2]s: unknown, LVM, gpt false, mounted false, osds [7]
%[3]s: unknown, ext4, gpt false, mounted false, osds []
%[4]s: unknown, Device Mapper, gpt false, mounted false, osds []
`, names[0], names[1], names[2], names[3])
	if diff := cmp.Diff(want, uses(t, names...)); diff != "" {
		t.Error(diff)
	}
}

// TestNodeDisksISCSI: a disk of an iSCSI session is none of the node's.
func TestNodeDisksISCSI(t *testing.T) {
	all(t)
	testnode.Need(t, "iscsi")
	before := uses(t)
	served := filepath.Join(t.TempDir(), "disk")
	must(t, "truncate", "-s", "64M", served)
	const iqn = "iqn.2026-01.example:disks"
	testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: []string{served}})
	if exec.Command("pidof", "iscsid").Run() != nil {
		must(t, "iscsid")
		t.Cleanup(func() { must(t, "pkill", "-x", "iscsid") })
	}
	must(t, "iscsiadm", "-m", "discovery", "-t", "sendtargets", "-p", "127.0.0.1")
	must(t, "iscsiadm", "-m", "node", "-T", iqn, "--login")
	t.Cleanup(func() {
		must(t, "iscsiadm", "-m", "node", "-T", iqn, "--logout")
		must(t, "iscsiadm", "-m", "node", "-T", iqn, "-o", "delete")
	})
	for range 100 {
		if found, _ := filepath.Glob("/sys/block/sd*"); len(found) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if found, _ := filepath.Glob("/sys/block/sd*"); len(found) == 0 {
		t.Fatal("the session brought no disk")
	}
	if diff := cmp.Diff(before, uses(t)); diff != "" {
		t.Error(diff)
	}
}

// TestNodeDisksHung: a device that answers nothing hangs pvs for good. The list comes
// all the same, and asking again and again leaves no more than one process of each kind.
func TestNodeDisksHung(t *testing.T) {
	all(t)
	testnode.Need(t, "device-mapper")
	disk := testnode.Disk(t, 3)
	must(t, "dmsetup", "create", "hung", "--table", "0 204800 linear "+disk+" 0")
	must(t, "udevadm", "settle", "--timeout=20")
	resumed := false
	resume := func() {
		if !resumed {
			must(t, "dmsetup", "resume", "hung")
			resumed = true
		}
	}
	t.Cleanup(func() {
		resume()
		must(t, "udevadm", "settle", "--timeout=20")
		must(t, "dmsetup", "remove", "--retry", "hung")
	})
	must(t, "dmsetup", "suspend", "hung")
	var warnings []string
	// An emulated node is slow: what does not hang must come to its end.
	i := host.DiskInventory{Runner: run.Host{}, Patience: 20 * time.Second, Warn: func(err error) { warnings = append(warnings, err.Error()) }}
	for n := range 2 {
		warnings = nil
		start := time.Now()
		disks, err := i.Disks(t.Context(), host.DiskQuery{NoSMART: true})
		if err != nil || len(disks) < testnode.Disks {
			t.Errorf("round %d: %d disks, %v", n, len(disks), err)
		}
		t.Logf("round %d: %v, %q", n, time.Since(start), warnings)
		if out, err := exec.Command("ps", "-C", "pvs,lvs,lsblk", "-o", "pid,stat,etime,args").Output(); err == nil {
			t.Logf("%s", out)
		}
		if !strings.Contains(strings.Join(warnings, "\n"), "no answer in time") {
			t.Errorf("round %d: warnings %q", n, warnings)
		}
		if n > 0 && !strings.Contains(strings.Join(warnings, "\n"), "still waits for an answer") {
			t.Errorf("round %d: asked once more: %q", n, warnings)
		}
	}
	for _, name := range []string{"pvs", "lvs"} {
		if out, _ := exec.Command("pgrep", "-c", "-x", name).Output(); strings.TrimSpace(string(out)) > "1" {
			t.Errorf("%s processes of %s", strings.TrimSpace(string(out)), name)
		}
	}
	resume()
	for range 100 {
		if exec.Command("pgrep", "-x", "pvs|lvs").Run() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, err := os.Stat("/dev/mapper/hung"); err != nil {
		t.Error(err)
	}
	warnings = nil
	if _, err := i.Disks(t.Context(), host.DiskQuery{NoSMART: true}); err != nil || len(warnings) > 0 {
		t.Errorf("after all: %v, %q", err, warnings)
	}
}

// TestNodeDisksZFS: pools take disks whole and divide them themselves; a log is told by
// the list of pools alone.
func TestNodeDisksZFS(t *testing.T) {
	testnode.Need(t, "zfs")
	whole, log := testnode.Disk(t, 0), testnode.Disk(t, 1)
	must(t, "parted", "-s", log, "mklabel", "gpt", "mkpart", "log", "1MiB", "1GiB")
	must(t, "udevadm", "settle", "--timeout=20")
	must(t, "zpool", "create", "-f", "tank", whole, "log", log+"1")
	t.Cleanup(func() {
		must(t, "zpool", "destroy", "tank")
		must(t, "zpool", "labelclear", "-f", log+"1")
	})
	names := []string{filepath.Base(whole), filepath.Base(log)}
	want := fmt.Sprintf(`%[1]s: unknown, partitions, gpt true, mounted false, osds []
%[1]s1: partition, ZFS, gpt true, mounted false, osds []
%[1]s9: partition, ZFS reserved, gpt true, mounted false, osds []
%[2]s: unknown, partitions, gpt true, mounted false, osds []
%[2]s1: partition, ZFS, gpt true, mounted false, osds []
`, names[0], names[1])
	if diff := cmp.Diff(want, uses(t, names...)); diff != "" {
		t.Error(diff)
	}
}
