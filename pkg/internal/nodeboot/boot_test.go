package nodeboot

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// long skips what takes minutes when only seconds are there.
func long(t *testing.T) {
	t.Helper()
	if testnode.Inside() && os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("boots a guest on an emulated machine: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
}

// up starts a VM of the small guest, waits until it shows the mark on its disk, and
// returns its console.
func up(w *World, vmid, mark string) *Console {
	w.Helper()
	w.QM("start", vmid)
	c := w.Console(vmid)
	c.Await(Ready+mark+"\r\n", 5*time.Minute)
	return c
}

// down stops a VM.
func down(w *World, c *Console, vmid string) {
	w.Helper()
	c.Leave()
	w.QM("stop", vmid)
}

const iqn = "iqn.2003-01.org.example:vs"

// A place is a storage called mine that a node can have.
type place struct {
	name   string
	format string
	// add makes it, and defines it with pvesm. It returns the disk a VM boots from.
	add func(t *testing.T, w *World, image string) (disk string)
	// volumes lists what lies there, on the side of who serves it; nil where nothing can
	// be made there.
	volumes func(t *testing.T) string
	chain   bool // keeps snapshots of disks
}

func places() []place {
	var export string // of the server that runs
	files := func(t *testing.T) string {
		t.Helper()
		found, err := filepath.Glob(export + "/images/*")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, "\n")
	}
	volumes := func(t *testing.T) string { t.Helper(); return lvmtest.Names(t) }
	return []place{
		{name: "lvm with a chain", format: "qcow2", chain: true, volumes: volumes, add: func(t *testing.T, w *World, image string) string {
			lvmtest.Group(t, "")
			w.PVESM("add", "lvm", "mine", "--vgname", lvmtest.VG, "--content", "images", "--snapshot-as-volume-chain", "1")
			return imported(image)
		}},
		{name: "cifs", format: "raw", volumes: files, add: func(t *testing.T, w *World, image string) string {
			testnode.Need(t, "cifs")
			export = t.TempDir()
			testnode.Samba(t, "tester", "secret", map[string]string{"data": export})
			w.PVESM("add", "cifs", "mine", "--server", "127.0.0.1", "--share", "data", "--username", "tester", "--password", "secret", "--content", "images")
			return imported(image)
		}},
		{name: "iscsi", add: func(t *testing.T, w *World, image string) string {
			testnode.Need(t, "iscsi")
			lun := filepath.Join(t.TempDir(), "lun")
			lvmtest.Run(t, "cp", "--sparse=always", image, lun)
			testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: []string{lun}})
			testnode.Initiator(t)
			w.PVESM("add", "iscsi", "mine", "--portal", "127.0.0.1", "--target", iqn, "--content", "images")
			return first(t, w.PVESM("list", "mine"))
		}},
		{name: "zfspool", format: "raw", chain: true, volumes: datasets, add: func(t *testing.T, w *World, image string) string {
			pool(t)
			if found := w.PVESM("scan", "zfs"); !strings.Contains("\n"+found, "\n"+tank+"\n") {
				t.Errorf("the scan finds %q", found)
			}
			w.PVESM("add", "zfspool", "mine", "--pool", tank, "--content", "images", "--sparse", "1")
			return imported(image)
		}},
		{name: "zfs over iSCSI", format: "raw", chain: true, volumes: datasets, add: func(t *testing.T, w *World, image string) string {
			testnode.Need(t, "lio")
			pool(t)
			remote(t, w)
			w.PVESM("add", "zfs", "mine", "--portal", "127.0.0.1", "--target", iqn, "--pool", tank, "--iscsiprovider", "LIO", "--lio_tpg", "tpg1",
				"--blocksize", "8k", "--content", "images", "--sparse", "1")
			return imported(image)
		}},
	}
}

func imported(image string) string { return "mine:0,import-from=" + image }

// first returns the first volume of a list of pvesm.
func first(t testing.TB, list string) string {
	t.Helper()
	lines := strings.Split(list, "\n")
	if len(lines) < 2 || lines[1] == "" {
		t.Fatalf("no volumes: %s", list)
	}
	return strings.Fields(lines[1])[0]
}

// tank is a ZFS pool on a spare disk.
const tank = "vstank"

func pool(t *testing.T) {
	t.Helper()
	testnode.Need(t, "zfs")
	lvmtest.Run(t, "zpool", "create", "-f", tank, testnode.Disk(t, 1))
	t.Cleanup(func() {
		// udev looks into zvols for a moment.
		for try := 0; exec.Command("zpool", "destroy", "-f", tank).Run() != nil; try++ {
			if try > 100 {
				t.Error("the pool cannot be destroyed")
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func datasets(t *testing.T) string {
	t.Helper()
	_, below, _ := strings.Cut(lvmtest.Run(t, "zfs", "list", "-H", "-o", "name", "-r", tank), "\n")
	return strings.TrimSpace(below)
}

// remote makes the node a server of LIO that the world may log in to.
func remote(t *testing.T, w *World) {
	t.Helper()
	key, err := os.ReadFile(testnode.SSH(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.Root, "etc/pve/priv/zfs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "127.0.0.1_id_rsa"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	testnode.LIO(t, testnode.Target{IQN: iqn})
	lvmtest.Run(t, "targetcli", "saveconfig")
}

// TestBoot: a VM boots from a disk of each type of storage that only a node has, and
// leaves nothing there. LVM, thin LVM and NFS are in the tests below.
func TestBoot(t *testing.T) {
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			long(t)
			testnode.Need(t, "device-mapper")
			w := New(t)
			disk := p.add(t, w, Sector(t))
			if p.format == "qcow2" {
				disk += ",format=qcow2"
			}
			w.Create(disk)
			if p.chain {
				w.QM("snapshot", "100", "before")
			}
			c := up(w, "100", "-")
			c.Type("x")
			down(w, c, "100")
			mark := "x"
			if p.chain {
				w.QM("rollback", "100", "before")
				mark = "-"
			}
			c = up(w, "100", mark)
			down(w, c, "100")
			if p.chain {
				w.QM("delsnapshot", "100", "before")
			}
			w.QM("destroy", "100")
			if p.volumes == nil {
				if got := first(t, w.PVESM("list", "mine")); got != disk {
					t.Errorf("there is %s now", got)
				}
				return
			}
			if left := p.volumes(t); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// thin defines a storage on a thin pool.
func thin(t *testing.T) *World {
	t.Helper()
	lvmtest.Pool(t, "", "1g")
	w := New(t)
	w.PVESM("add", "lvmthin", "mine", "--vgname", lvmtest.VG, "--thinpool", "data", "--content", "images")
	return w
}

// TestThin takes a disk on a thin pool through its life: booted, changed, put back,
// cloned as a template.
func TestThin(t *testing.T) {
	testnode.Need(t, "device-mapper")
	w := thin(t)
	w.Create(imported(Sector(t)))
	w.QM("snapshot", "100", "before")
	c := up(w, "100", "-")
	c.Type("x")
	down(w, c, "100")
	w.QM("rollback", "100", "before")
	w.QM("delsnapshot", "100", "before")
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		linked(t, w)
	}
	w.QM("destroy", "100")
	if left := lvmtest.Names(t); left != "data" {
		t.Errorf("left: %s", left)
	}
}

// linked boots a clone of VM 100, which becomes a template.
func linked(t *testing.T, w *World) {
	t.Helper()
	w.QM("template", "100")
	w.QM("clone", "100", "101")
	w.Cleanup(func() { _, _ = w.Try("qm", "stop", "101") })
	c := up(w, "101", "-")
	c.Type("y")
	down(w, c, "101")
	if origin := strings.TrimSpace(lvmtest.Run(t, "lvs", "--noheadings", "-o", "origin", lvmtest.VG+"/vm-101-disk-0")); origin != "base-100-disk-0" {
		t.Errorf("the clone stems from %q", origin)
	}
	lvmtest.Run(t, "lvchange", "-ay", "-K", lvmtest.VG+"/base-100-disk-0")
	if base := lvmtest.Run(t, "head", "-c", "513", lvmtest.Device("base-100-disk-0")); !strings.HasSuffix(base, "-") {
		t.Errorf("the clone has written to its base: %q", base[512:])
	}
	w.QM("destroy", "101")
}

// TestSystem boots a real system from a thin pool, and grows its disk while it runs.
func TestSystem(t *testing.T) {
	long(t)
	testnode.Need(t, "device-mapper")
	guest := Guest(t)
	w := thin(t)
	w.Create(imported(guest))
	w.QM("start", "100")
	c := w.Console("100")
	c.Await(testguest.Ready+` \S+`, 40*time.Minute)
	size := c.Sh("cat /sys/block/sda/size")
	w.QM("disk", "resize", "100", "scsi0", "+20M")
	for deadline := time.Now().Add(5 * time.Minute); ; {
		grown := c.Sh("cat /sys/block/sda/size")
		if want := lvmtest.Run(t, "blockdev", "--getsz", lvmtest.Device("vm-100-disk-0")); grown == strings.TrimSpace(want) && grown != size {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the guest saw %s sectors, and sees %s now", size, grown)
		}
	}
	c.Sh("echo first >/data/mark; sync")
	down(w, c, "100")
	w.QM("destroy", "100")
	if left := lvmtest.Names(t); left != "data" {
		t.Errorf("left: %s", left)
	}
}

// TestMove boots a guest from LVM, moves its disk to NFS while it runs, boots it from
// there, and moves it back.
func TestMove(t *testing.T) {
	long(t)
	testnode.Need(t, "device-mapper", "nfs")
	lvmtest.Group(t, "")
	export := t.TempDir()
	testnode.NFS(t, export)
	w := New(t)
	w.PVESM("add", "lvm", "mine", "--vgname", lvmtest.VG, "--content", "images")
	w.PVESM("add", "nfs", "nas", "--server", "127.0.0.1", "--export", export, "--content", "images", "--options", "vers=4.2")
	w.Create(imported(Sector(t)))
	c := up(w, "100", "-")
	c.Type("x")
	w.QM("disk", "move", "100", "scsi0", "nas", "--format", "qcow2", "--delete", "1")
	if left := lvmtest.Names(t); left != "" {
		t.Errorf("left after moving away: %s", left)
	}
	c.Await(Ready+"x\r\n", time.Minute)
	c.Type("y")
	down(w, c, "100")
	c = up(w, "100", "y")
	down(w, c, "100")
	w.QM("disk", "move", "100", "scsi0", "mine", "--delete", "1")
	if left, _ := filepath.Glob(export + "/images/100/*"); len(left) > 0 {
		t.Errorf("left after moving back: %q", left)
	}
	if got := w.Option("100", "scsi0"); !strings.HasPrefix(got, "mine:vm-100-disk-0,") {
		t.Errorf("scsi0 is %s", got)
	}
	c = up(w, "100", "y")
	down(w, c, "100")
	w.QM("destroy", "100")
	if left := lvmtest.Names(t); left != "" {
		t.Errorf("left: %s", left)
	}
}
