package lvm_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
)

func world(t *testing.T, options ...string) *lvmtest.World {
	text := "lvm: vg\n\tvgname " + lvmtest.VG + "\n\tcontent images,rootdir\n"
	for _, o := range options {
		text += "\t" + o + "\n"
	}
	return lvmtest.New(t, run.Host{}, text, lvm.Type(), diskType())
}

func volume(name string) id.Volume { return id.Volume{Storage: "vg", Name: name} }

// TestGroup: what is peculiar to logical volumes.
func TestGroup(t *testing.T) {
	lvmtest.Group(t, "60")
	t.Run("full", func(t *testing.T) {
		w := world(t)
		_, err := w.Service.Alloc(w.Ctx, "vg", storage.Alloc{Guest: 100, Format: "raw", Size: 128 << 10})
		if err == nil || !strings.HasPrefix(err.Error(), "not enough free space (") {
			t.Error(err)
		}
		if left := lvmtest.Names(t); left != "" {
			t.Errorf("there is left: %s", left)
		}
	})
	t.Run("removed for good", func(t *testing.T) {
		lvmtest.Empty(t)
		w := world(t, "saferemove 1", "saferemove-stepsize 4")
		v := w.Alloc(t, "vg", 100, "raw", 8<<10)
		lvmtest.Write(t, lvmtest.Device(v.Name), strings.Repeat("secret..", 1<<20), 0)
		w.OK(t, w.Free(w.Ctx, v))
		if left := lvmtest.Names(t); left != "" {
			t.Errorf("there is left: %s", left)
		}
		for _, line := range []string{
			"zero-out data on image vm-100-disk-0 (/dev/" + lvmtest.VG + "/del-vm-100-disk-0)",
			"successfully removed volume vm-100-disk-0 (" + lvmtest.VG + "/del-vm-100-disk-0)",
		} {
			if !strings.Contains(w.Said.String(), line) {
				t.Errorf("the user was not told %q, but\n%s", line, w.Said)
			}
		}
		lvmtest.Run(t, "lvcreate", "-q", "-y", "-Wn", "-Zn", "-l", "100%FREE", "-n", "look", lvmtest.VG)
		if all := lvmtest.Read(t, lvmtest.Device("look"), 0, 50<<20); strings.Contains(all, "secret") {
			t.Error("the data is still there")
		}
	})
	t.Run("a chain removed for good", func(t *testing.T) {
		if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
			t.Skip("takes a minute: set VIRTSMITH_TEST_ALL=1")
		}
		lvmtest.Empty(t)
		look := func() string {
			t.Helper()
			lvmtest.Run(t, "lvcreate", "-q", "-y", "-Wn", "-Zn", "-l", "100%FREE", "-n", "look", lvmtest.VG)
			return lvmtest.Device("look")
		}
		lvmtest.Run(t, "blkdiscard", "-z", look()) // other tests leave what they had
		lvmtest.Run(t, "lvremove", "-q", "-y", lvmtest.VG+"/look")
		w := world(t, "saferemove 1", "saferemove-stepsize 1", "snapshot-as-volume-chain 1")
		v := w.Alloc(t, "vg", 100, "qcow2", 4<<10)
		write := func(at string) {
			t.Helper()
			out := lvmtest.Run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 0x73 "+at+" 64k", lvmtest.Device(v.Name))
			if strings.Contains(out, "failed") {
				t.Error(out)
			}
		}
		for i, snap := range []string{"one", "two", "three"} {
			write(string(rune('0'+i)) + "M")
			w.OK(t, w.Snapshot(w.Ctx, v, snap))
		}
		write("3M")
		w.OK(t, w.Rollback(w.Ctx, v, "three"))
		w.OK(t, w.DeleteSnapshot(w.Ctx, v, "two", false))
		w.OK(t, w.DeleteSnapshot(w.Ctx, v, "one", false))
		w.OK(t, w.Free(w.Ctx, v))
		if left := lvmtest.Names(t); left != "" {
			t.Errorf("there is left: %s", left)
		}
		if all := lvmtest.Read(t, look(), 0, 50<<20); strings.Contains(all, "ssssssss") || strings.Contains(all, "QFI") {
			t.Error("the data is still there")
		}
	})
	t.Run("removal cut off", func(t *testing.T) {
		lvmtest.Empty(t)
		plain := world(t)
		v, other := plain.Alloc(t, "vg", 100, "raw", 4<<10), plain.Alloc(t, "vg", 100, "raw", 4<<10)
		lvmtest.Run(t, "lvrename", "-q", lvmtest.VG, v.Name, "del-"+v.Name)
		if got := lvmtest.Names(t); got != "del-vm-100-disk-0\nvm-100-disk-1" {
			t.Error(got)
		}
		w := world(t, "saferemove 1")
		list, err := w.List(w.Ctx, "vg", storage.Filter{})
		w.OK(t, err)
		if len(list) != 1 || list[0].Name != other.Name {
			t.Errorf("%+v", list)
		}
		w.OK(t, w.Free(w.Ctx, other))
		if left := lvmtest.Names(t); left != "" {
			t.Errorf("there is left: %s", left)
		}
	})
	t.Run("in use", func(t *testing.T) {
		lvmtest.Empty(t)
		for _, option := range []string{"saferemove 0", "saferemove 1"} {
			w := world(t, option)
			v := w.Alloc(t, "vg", 100, "raw", 4<<10)
			f, err := os.Open(lvmtest.Device(v.Name))
			w.OK(t, err)
			if err := w.Free(w.Ctx, v); !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), "in use") {
				t.Errorf("%s: %v", option, err)
			}
			if err := w.DeactivateVolumes(w.Ctx, "", v); err == nil {
				t.Error("it was deactivated")
			}
			f.Close()
			w.OK(t, w.DeactivateVolumes(w.Ctx, "", v))
			w.OK(t, w.DeactivateVolumes(w.Ctx, "", v))
			w.OK(t, w.Free(w.Ctx, v))
		}
	})
	t.Run("old data", func(t *testing.T) {
		lvmtest.Empty(t)
		w := world(t)
		v := w.Alloc(t, "vg", 100, "raw", 4<<10)
		lvmtest.Write(t, lvmtest.Device(v.Name), strings.Repeat("x", 4<<20), 0)
		w.OK(t, w.Free(w.Ctx, v))
		v = w.Alloc(t, "vg", 100, "raw", 528)
		end := lvmtest.Read(t, lvmtest.Device(v.Name), 528<<10, 4<<20-528<<10)
		if strings.Trim(end, "\x00") != "" {
			t.Error("behind the end of the disk there is what another had")
		}
		info, err := w.Info(w.Ctx, v)
		w.OK(t, err)
		if info.Size != 4<<20 {
			t.Errorf("%+v", info)
		}
	})
	t.Run("tags", func(t *testing.T) {
		lvmtest.Empty(t)
		lvmtest.Run(t, "lvcreate", "-q", "-y", "-L", "4m", "-n", "vm-100-disk-7", lvmtest.VG)
		w := world(t, "tagged_only 1")
		v := w.Alloc(t, "vg", 100, "raw", 4<<10)
		list, err := w.List(w.Ctx, "vg", storage.Filter{})
		w.OK(t, err)
		if len(list) != 1 || list[0].Name != v.Name {
			t.Errorf("%+v", list)
		}
		moved, err := w.Rename(w.Ctx, v, 200, "")
		w.OK(t, err)
		tags := strings.TrimSpace(lvmtest.Run(t, "lvs", "--noheadings", "-o", "lv_tags", lvmtest.VG+"/"+moved.Name))
		if tags != "pve-vm-200" {
			t.Errorf("tags: %s", tags)
		}
	})
	t.Run("scan", func(t *testing.T) {
		got, err := lvm.Scan(t.Context(), run.Host{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]lvm.Found{{VG: lvmtest.VG, Size: 56 << 20, Free: 56 << 20}}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("no such group", func(t *testing.T) {
		w := lvmtest.New(t, run.Host{}, "lvm: vg\n\tvgname nosuch\n", lvm.Type())
		if err := w.Activate(w.Ctx, "vg"); err == nil || err.Error() != "no such volume group 'nosuch'" {
			t.Error(err)
		}
	})
}

// TestChain: states as logical volumes of their own.
func TestChain(t *testing.T) {
	lvmtest.Group(t, "")
	w := world(t, "snapshot-as-volume-chain 1")
	qio := func(commands ...string) string {
		t.Helper()
		args := []string{"-f", "qcow2"}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		out := lvmtest.Run(t, "qemu-io", append(args, lvmtest.Device("vm-100-disk-0.qcow2"))...)
		if strings.Contains(out, "failed") {
			t.Error(out)
		}
		return out
	}
	v := w.Alloc(t, "vg", 100, "qcow2", 16<<10)
	if v.Name != "vm-100-disk-0.qcow2" {
		t.Fatalf("%s", v)
	}
	for i, snap := range []string{"one", "two", "three"} {
		qio("write -P 0x1"+string(rune('0'+i))+" "+string(rune('0'+i))+"M 64k", "write -P 0x2"+string(rune('0'+i))+" 8M 64k")
		w.OK(t, w.Snapshot(w.Ctx, v, snap))
	}
	qio("write -P 0x30 9M 64k")
	names := func() string {
		t.Helper()
		list, err := w.Snapshots(w.Ctx, v)
		w.OK(t, err)
		var names []string
		for _, s := range list {
			names = append(names, s.Name)
		}
		return strings.Join(names, " ")
	}
	if got := names(); got != "one two three" {
		t.Errorf("snapshots: %s", got)
	}
	blocked, ok := errors.AsType[*storage.BlockedError](w.CanRollback(w.Ctx, v, "one"))
	if !ok || strings.Join(blocked.Blockers, " ") != "two three" || blocked.Text != "can't rollback, 'one' is not most recent snapshot on 'vm-100-disk-0.qcow2'" {
		t.Errorf("%+v", blocked)
	}
	if _, err := w.Rename(w.Ctx, v, 200, ""); err == nil {
		t.Error("a volume with snapshots was renamed")
	}
	all := []string{"read -P 0x10 0M 64k", "read -P 0x11 1M 64k", "read -P 0x12 2M 64k", "read -P 0x22 8M 64k", "read -P 0x30 9M 64k"}
	qio(all...)
	w.OK(t, w.DeleteSnapshot(w.Ctx, v, "two", false)) // the one in the middle
	qio(all...)
	w.OK(t, w.Resize(w.Ctx, v, 24<<20, false))
	qio("write -P 0x40 20M 64k")
	w.OK(t, w.DeleteSnapshot(w.Ctx, v, "one", false)) // the first one
	qio(all...)
	if got := names(); got != "three" {
		t.Errorf("snapshots: %s", got)
	}

	// A rollback that was cut off between two names.
	lvmtest.Run(t, "lvrename", "-q", lvmtest.VG, v.Name, "next_"+v.Name)
	w.OK(t, w.ActivateVolumes(w.Ctx, "", v))
	qio(all...)
	// A removal that was cut off between two names.
	lvmtest.Run(t, "lvrename", "-q", lvmtest.VG, v.Name, "merged_"+v.Name)
	if _, err := w.Info(w.Ctx, v); err != nil {
		t.Error(err)
	}
	qio(all...)

	w.OK(t, w.Rollback(w.Ctx, v, "three"))
	qio("read -P 0x12 2M 64k", "read -P 0 9M 64k")
	// The last one goes into a logical volume that is too small for what the disk has become.
	w.OK(t, w.Resize(w.Ctx, v, 64<<20, false))
	qio("write -P 0x50 60M 64k")
	w.OK(t, w.DeleteSnapshot(w.Ctx, v, "three", false))
	qio("read -P 0x12 2M 64k", "read -P 0x50 60M 64k")
	if got := lvmtest.Names(t); got != v.Name {
		t.Errorf("there is: %s", got)
	}
	moved, err := w.Rename(w.Ctx, v, 200, "")
	w.OK(t, err)
	if moved.Name != "vm-200-disk-0.qcow2" {
		t.Errorf("%s", moved)
	}
	w.OK(t, w.Snapshot(w.Ctx, moved, "one"))
	w.OK(t, w.Free(w.Ctx, moved))
	if got := lvmtest.Names(t); got != "" {
		t.Errorf("there is left: %s", got)
	}
}

// TestChainOpen: what is done while a QEMU has the volume open, which is not told of it here.
func TestChainOpen(t *testing.T) {
	lvmtest.Group(t, "")
	w := world(t, "snapshot-as-volume-chain 1")
	v := w.Alloc(t, "vg", 100, "qcow2", 16<<10)
	device := lvmtest.Device(v.Name)
	lvmtest.Run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", device)
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	w.OK(t, err)
	defer f.Close()
	if err := w.Snapshot(w.Ctx, v, "one"); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("the storage's own snapshot of what is open: %v", err)
	}
	w.OK(t, w.SnapshotOpen(w.Ctx, v, "one"))
	links, err := w.Chain(w.Ctx, v)
	w.OK(t, err)
	state := lvmtest.Device("snap_vm-100-disk-0_one.qcow2")
	if diff := cmp.Diff([]storage.Link{{Path: device}, {Snapshot: "one", Path: state}}, links); diff != "" {
		t.Error(diff)
	}
	// What is open is the state now.
	opened, err := f.Stat()
	w.OK(t, err)
	if now, err := os.Stat(state); err != nil || !os.SameFile(opened, now) && now.Sys().(*syscall.Stat_t).Rdev != opened.Sys().(*syscall.Stat_t).Rdev {
		t.Errorf("the state is another device: %v", err)
	}
	w.OK(t, w.Resize(w.Ctx, v, 32<<20, false))
	w.OK(t, w.WidenSnapshot(w.Ctx, v, "one"))
	sizes := strings.Fields(lvmtest.Run(t, "lvs", "--noheadings", "--units", "m", "--nosuffix", "-o", "lv_size", lvmtest.VG))
	if len(sizes) != 2 || sizes[0] != sizes[1] {
		t.Errorf("sizes: %q", sizes)
	}
	// As when QEMU did not take the new one: all is as before.
	w.OK(t, w.ReplaceBySnapshot(w.Ctx, v, "one"))
	if got := lvmtest.Names(t); got != v.Name {
		t.Errorf("there is: %s", got)
	}
	if out := lvmtest.Run(t, "qemu-io", "-f", "qcow2", "-c", "read -P 7 1M 64k", device); strings.Contains(out, "failed") {
		t.Error(out)
	}
}

// diskType is a storage whose volumes are the disks of the node.
func diskType() storage.Type {
	type config struct{ storage.Common }
	return storage.NewType(storage.Type{Name: "disk", Contents: []storage.Content{storage.None, storage.Images}},
		func(_ config, env storage.Env) (storage.Pool, error) { return disks{}, nil })
}

type disks struct{ storage.Pool }

func (disks) Parse(name string) (storage.Name, error) {
	return storage.Name{Content: storage.Images, File: name, Format: "raw"}, nil
}
func (disks) Path(name, _ string) (string, error) { return "/dev/" + name, nil }
func (disks) Activate(context.Context) error      { return nil }

// TestBase: a volume group is made on a volume of another storage, when that is blank.
func TestBase(t *testing.T) {
	testnode.Need(t, "device-mapper")
	disk := testnode.Disk(t, 1)
	base := "disks:" + strings.TrimPrefix(disk, "/dev/")
	added := func(vg string) (*lvmtest.World, error) {
		w := lvmtest.New(t, run.Host{}, "disk: disks\n\nlvm: vg\n\tvgname "+vg+"\n\tbase "+base+"\n", lvm.Type(), diskType())
		p, err := w.Pool(w.Ctx, "vg")
		w.OK(t, err)
		return w, p.(storage.Configurer).Added(w.Ctx, nil)
	}
	lvmtest.Run(t, "mkfs.ext4", "-q", disk, "64M")
	_, err := added(lvmtest.VG)
	if err == nil || !strings.Contains(err.Error(), "is not blank (ext4)") {
		t.Errorf("a file system: %v", err)
	}
	lvmtest.Run(t, "e2fsck", "-n", disk)
	lvmtest.Run(t, "wipefs", "-q", "-a", disk)
	w, err := added(lvmtest.VG)
	w.OK(t, err)
	t.Cleanup(func() {
		lvmtest.Run(t, "vgremove", "-q", "-f", "-y", lvmtest.VG)
		lvmtest.Run(t, "pvremove", "-q", "-y", disk)
	})
	v := w.Alloc(t, "vg", 100, "raw", 4096)
	if _, err = added(lvmtest.VG); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := added("virtsmith-other"); err == nil || !strings.HasSuffix(err.Error(), "is already used by volume group '"+lvmtest.VG+"'") {
		t.Errorf("the base of another group: %v", err)
	}
	w.OK(t, w.Free(w.Ctx, v))
}

// TestKilled: what a kill leaves can be found and removed, and is whole.
func TestKilled(t *testing.T) {
	const chain = "snapshot-as-volume-chain 1"
	v := volume("vm-100-disk-0.qcow2")
	if lvmtest.Endless() {
		w := world(t, chain)
		for {
			other := w.Alloc(t, "vg", 200, "qcow2", 4096)
			if states, err := w.Snapshots(w.Ctx, v); err == nil && len(states) > 0 {
				w.OK(t, w.DeleteSnapshot(w.Ctx, v, states[0].Name, false))
			}
			w.OK(t, w.Snapshot(w.Ctx, v, "one"))
			w.OK(t, w.Rollback(w.Ctx, v, "one"))
			w.OK(t, w.Free(w.Ctx, other))
		}
	}
	testnode.Need(t, "device-mapper")
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes a minute: set VIRTSMITH_TEST_ALL=1")
	}
	lvmtest.Group(t, "")
	w := world(t, chain)
	if made := w.Alloc(t, "vg", 100, "qcow2", 4096); made != v {
		t.Fatal(made)
	}
	device := lvmtest.Device(v.Name)
	lvmtest.Run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", device)
	lvmtest.Killed(t, "TestKilled", 8, func() {
		// What the killed one had started may be at it for a moment.
		for range 100 {
			if _, err := exec.Command("pgrep", "-x", "lvcreate|lvrename|lvremove|lvchange|qemu-img").Output(); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.OK(t, w.ActivateVolumes(w.Ctx, "", v))
		if out := lvmtest.Run(t, "qemu-io", "-f", "qcow2", "-c", "read -P 7 1M 64k", device); strings.Contains(out, "failed") {
			t.Errorf("the data is lost: %s\n%s", out, lvmtest.Names(t))
		}
		list, err := w.List(w.Ctx, "vg", storage.Filter{Guest: 200})
		w.OK(t, err)
		for _, left := range list {
			w.OK(t, w.Free(w.Ctx, volume(left.Name)))
		}
	})
	w.OK(t, w.Free(w.Ctx, v))
	if got := lvmtest.Names(t); got != "" {
		t.Errorf("there is left: %s", got)
	}
}
