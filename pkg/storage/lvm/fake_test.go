package lvm_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
)

// fake is a world whose LVM has the given logical volumes, see [lvmtest.Recorder].
func fake(t *testing.T, options string, volumes ...string) (*lvmtest.World, *lvmtest.Recorder) {
	r := &lvmtest.Recorder{Volumes: volumes, Answers: map[string]string{
		"qemu-img measure": `{"required": 327680, "fully-allocated": 16777216}`,
	}}
	text := "lvm: vg\n\tvgname " + lvmtest.VG + "\n\tcontent images,rootdir\n" + options
	return lvmtest.New(t, r, text, lvm.Type(), diskType()), r
}

// TestDry: what a dry run tells, and that it does nothing.
func TestDry(t *testing.T) {
	const vg, chain = lvmtest.VG, "\tsnapshot-as-volume-chain 1\n"
	v, q := volume("vm-100-disk-0"), volume("vm-100-disk-1.qcow2")
	alloc := func(format string) func(w *lvmtest.World) error {
		return func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "vg", storage.Alloc{Guest: 100, Format: format, Size: 4096})
			return err
		}
	}
	for _, test := range []struct {
		name, options string
		do            func(w *lvmtest.World) error
		want          []string
	}{
		{"alloc", "", alloc(""), []string{"lvcreate -aly -Wy --yes --size 4096k --name vm-100-disk-2 --setautoactivation n --addtag pve-vm-100 " + vg}},
		{"alloc a chain", chain, alloc(""), []string{
			"lvcreate -aly -Wy --yes --size 16384k --name vm-100-disk-2.qcow2 --setautoactivation n --addtag pve-vm-100 --addtag pve-vm-100-disk-2.qcow2 " + vg,
			"qemu-img create -f qcow2 /dev/" + vg + "/vm-100-disk-2.qcow2 4096K",
		}},
		{"two allocs", "", func(w *lvmtest.World) error { return errors.Join(alloc("raw")(w), alloc("raw")(w)) }, []string{
			"lvcreate -aly -Wy --yes --size 4096k --name vm-100-disk-2 --setautoactivation n --addtag pve-vm-100 " + vg,
			"lvcreate -aly -Wy --yes --size 4096k --name vm-100-disk-3 --setautoactivation n --addtag pve-vm-100 " + vg,
		}},
		{"free", "", func(w *lvmtest.World) error { return w.Free(w.Ctx, v) }, []string{"lvremove -f " + vg + "/vm-100-disk-0"}},
		{"free for good", "\tsaferemove 1\n", func(w *lvmtest.World) error { return w.Free(w.Ctx, v) }, []string{
			"lvrename " + vg + " vm-100-disk-0 del-vm-100-disk-0", "lvremove -f " + vg + "/del-vm-100-disk-0",
		}},
		{"free a chain", chain, func(w *lvmtest.World) error { return w.Free(w.Ctx, q) }, []string{
			"lvremove -f " + vg + "/vm-100-disk-1.qcow2", "lvremove -f " + vg + "/snap_vm-100-disk-1_a.qcow2",
		}},
		{"activate", "", func(w *lvmtest.World) error { return w.ActivateVolumes(w.Ctx, "", v) }, []string{"lvchange -aey " + vg + "/vm-100-disk-0"}},
		{"activate a shared chain", chain + "\tshared 1\n", func(w *lvmtest.World) error { return w.ActivateVolumes(w.Ctx, "", q) }, []string{
			"lvchange -aey " + vg + "/vm-100-disk-1.qcow2", "lvchange --refresh " + vg + "/vm-100-disk-1.qcow2",
			"lvchange -aey " + vg + "/snap_vm-100-disk-1_a.qcow2", "lvchange --refresh " + vg + "/snap_vm-100-disk-1_a.qcow2",
		}},
		{"snapshot", chain, func(w *lvmtest.World) error { return w.Snapshot(w.Ctx, q, "b") }, []string{
			"lvcreate -aly -Wy --yes --size 16384k --name next_vm-100-disk-1.qcow2 --setautoactivation n --addtag pve-vm-100 --addtag pve-vm-100-disk-1.qcow2 " + vg,
			"qemu-img create -f qcow2 -u -b /dev/" + vg + "/snap_vm-100-disk-1_b.qcow2 -F qcow2 /dev/" + vg + "/next_vm-100-disk-1.qcow2 0K",
			"lvrename " + vg + " vm-100-disk-1.qcow2 snap_vm-100-disk-1_b.qcow2",
			"lvrename " + vg + " next_vm-100-disk-1.qcow2 vm-100-disk-1.qcow2",
		}},
		{"keep the state of what QEMU has open", chain, func(w *lvmtest.World) error { return w.SnapshotOpen(w.Ctx, q, "b") }, []string{
			"lvcreate -aly -Wy --yes --size 16384k --name next_vm-100-disk-1.qcow2 --setautoactivation n --addtag pve-vm-100 --addtag pve-vm-100-disk-1.qcow2 " + vg,
			"qemu-img create -f qcow2 -u -b /dev/" + vg + "/snap_vm-100-disk-1_b.qcow2 -F qcow2 /dev/" + vg + "/next_vm-100-disk-1.qcow2 0K",
			"lvrename " + vg + " vm-100-disk-1.qcow2 snap_vm-100-disk-1_b.qcow2",
			"lvrename " + vg + " next_vm-100-disk-1.qcow2 vm-100-disk-1.qcow2",
		}},
		{"replace by a state", chain, func(w *lvmtest.World) error { return w.ReplaceBySnapshot(w.Ctx, q, "a") }, []string{
			"lvrename " + vg + " snap_vm-100-disk-1_a.qcow2 merged_vm-100-disk-1.qcow2", "lvrename " + vg + " vm-100-disk-1.qcow2 del-vm-100-disk-1.qcow2",
			"lvrename " + vg + " merged_vm-100-disk-1.qcow2 vm-100-disk-1.qcow2", "lvremove -f " + vg + "/del-vm-100-disk-1.qcow2",
		}},
		{"rollback", chain, func(w *lvmtest.World) error { return w.Rollback(w.Ctx, q, "a") }, []string{
			"lvcreate -aly -Wy --yes --size 16384k --name next_vm-100-disk-1.qcow2 --setautoactivation n --addtag pve-vm-100 --addtag pve-vm-100-disk-1.qcow2 " + vg,
			"qemu-img create -f qcow2 -u -b /dev/" + vg + "/snap_vm-100-disk-1_a.qcow2 -F qcow2 /dev/" + vg + "/next_vm-100-disk-1.qcow2 0K",
			"lvrename " + vg + " vm-100-disk-1.qcow2 del-vm-100-disk-1.qcow2",
			"lvrename " + vg + " next_vm-100-disk-1.qcow2 vm-100-disk-1.qcow2", "lvremove -f " + vg + "/del-vm-100-disk-1.qcow2",
		}},
		{"delete the first snapshot", chain, func(w *lvmtest.World) error { return w.DeleteSnapshot(w.Ctx, q, "a", false) }, []string{
			"qemu-img commit -d -f qcow2 /dev/" + vg + "/vm-100-disk-1.qcow2",
			"lvrename " + vg + " snap_vm-100-disk-1_a.qcow2 merged_vm-100-disk-1.qcow2", "lvrename " + vg + " vm-100-disk-1.qcow2 del-vm-100-disk-1.qcow2",
			"lvrename " + vg + " merged_vm-100-disk-1.qcow2 vm-100-disk-1.qcow2", "lvremove -f " + vg + "/del-vm-100-disk-1.qcow2",
		}},
		{"delete a snapshot that QEMU has merged", chain, func(w *lvmtest.World) error { return w.DeleteSnapshot(w.Ctx, q, "a", true) }, []string{"lvremove -f " + vg + "/snap_vm-100-disk-1_a.qcow2"}},
		{"resize", "", func(w *lvmtest.World) error { return w.Resize(w.Ctx, v, 16<<20, false) }, []string{"lvextend -L 16384k " + vg + "/vm-100-disk-0"}},
		{"resize a chain", chain, func(w *lvmtest.World) error { return w.Resize(w.Ctx, q, 12<<20, true) }, []string{"lvextend -L 16384k " + vg + "/vm-100-disk-1.qcow2"}},
		{"rename", "", func(w *lvmtest.World) error { _, err := w.Rename(w.Ctx, v, 200, ""); return err }, []string{
			"lvrename " + vg + " vm-100-disk-0 vm-200-disk-0", "lvchange --deltag pve-vm-100 --addtag pve-vm-200 " + vg + "/vm-200-disk-0",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, r := fake(t, test.options, "vm-100-disk-0 -wi-a----- - pve-vm-100", "vm-100-disk-1.qcow2 -wi-a----- -", "snap_vm-100-disk-1_a.qcow2 -wi------- -", "snap_vm-100-disk-1_a -wi-a----- -")
			var told strings.Builder
			w.Ctx = plan.With(w.Ctx, plan.New(&told))
			w.OK(t, test.do(w))
			if diff := cmp.Diff(strings.Join(test.want, "\n")+"\n", told.String()); diff != "" {
				t.Error(diff)
			}
			if changed := r.Changes(); len(changed) > 0 {
				t.Errorf("a dry run did %q", changed)
			}
		})
	}
}

// TestRefused: what is not possible is refused before anything is touched.
func TestRefused(t *testing.T) {
	const chain = "\tsnapshot-as-volume-chain 1\n"
	v, q := volume("vm-100-disk-0"), volume("vm-100-disk-1.qcow2")
	for _, test := range []struct {
		want, options string
		do            func(w *lvmtest.World) error
	}{
		{"unsupported format 'qcow2': storage 'vg' has no snapshot-as-volume-chain", "", func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "vg", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1})
			return err
		}},
		{"illegal name 'vm-100-disk-5' - wrong extension for format 'qcow2'", chain, func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "vg", storage.Alloc{Guest: 100, Format: "qcow2", File: "vm-100-disk-5", Size: 1})
			return err
		}},
		{"illegal name 'base-100-disk-5' - should be 'vm-100-*'", "", func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "vg", storage.Alloc{Guest: 100, Format: "raw", File: "base-100-disk-5", Size: 1})
			return err
		}},
		{"can't snapshot 'raw' volume", chain, func(w *lvmtest.World) error { return w.Snapshot(w.Ctx, v, "a") }},
		{"can't rollback snapshot for 'raw' volume", chain, func(w *lvmtest.World) error { return w.CanRollback(w.Ctx, v, "a") }},
		{"can't delete snapshot for 'raw' volume", chain, func(w *lvmtest.World) error { return w.DeleteSnapshot(w.Ctx, v, "a", false) }},
		{"snapshot 'a' of 'vm-100-disk-1.qcow2' exists already", chain, func(w *lvmtest.World) error { return w.Snapshot(w.Ctx, q, "a") }},
		{"can't rename volume 'vm-100-disk-1.qcow2': it has snapshots, which are volumes of their own", chain, func(w *lvmtest.World) error {
			_, err := w.Rename(w.Ctx, q, 200, "")
			return err
		}},
		{"can't clone volumes of type 'lvm'", "", func(w *lvmtest.World) error { _, err := w.Clone(w.Ctx, v, 200, ""); return err }},
		{"can't make bases of volumes of type 'lvm'", "", func(w *lvmtest.World) error { _, err := w.CreateBase(w.Ctx, v); return err }},
		{"unable to parse lvm volume name 'base-100-disk-0'", "", func(w *lvmtest.World) error { return w.Free(w.Ctx, volume("base-100-disk-0")) }},
		{"lvm name '100/vm-100-disk-0.qcow2' contains illegal characters", "", func(w *lvmtest.World) error { return w.Free(w.Ctx, volume("100/vm-100-disk-0.qcow2")) }},
		{"storage 'vg': saferemove_throughput 'fast' is no rate: use bytes per second, as 10485760 or 10m", "\tsaferemove 1\n\tsaferemove_throughput fast\n", func(w *lvmtest.World) error { return w.Free(w.Ctx, v) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			w, r := fake(t, test.options, "vm-100-disk-0 -wi-a----- -", "vm-100-disk-1.qcow2 -wi-a----- -", "snap_vm-100-disk-1_a.qcow2 -wi-a----- -")
			if err := test.do(w); err == nil || err.Error() != test.want {
				t.Errorf("got %v", err)
			}
			for _, c := range r.Changes() {
				if !strings.HasPrefix(c, "lvchange ") { // to be active is no change of it
					t.Errorf("it did %q", c)
				}
			}
		})
	}
}

// TestFormats: which formats there are depends on the storage.
func TestFormats(t *testing.T) {
	for options, want := range map[string][]string{"": {"raw"}, "\tsnapshot-as-volume-chain 1\n": {"qcow2", "raw"}, "\tsnapshot-as-volume-chain 0\n": {"raw"}} {
		w, _ := fake(t, options)
		usual, all, err := w.DefaultFormat(w.Ctx, "vg")
		w.OK(t, err)
		if diff := cmp.Diff(want, all); diff != "" || usual != want[0] {
			t.Error(usual, diff)
		}
	}
}

// TestBaseOfFiles: a volume group does not lie on files.
func TestBaseOfFiles(t *testing.T) {
	for base, want := range map[string]string{
		"files:x.raw": "unsupported base type 'files'", "nosuch:x": "base storage ID 'nosuch' does not exist",
	} {
		files := storage.NewType(storage.Type{Name: "files", Contents: []storage.Content{storage.None}},
			func(struct{ storage.Common }, storage.Env) (storage.Pool, error) { return folder{}, nil })
		r := &lvmtest.Recorder{}
		w := lvmtest.New(t, r, "files: files\n\nlvm: vg\n\tvgname "+lvmtest.VG+"\n\tbase "+base+"\n", lvm.Type(), files)
		p, err := w.Pool(w.Ctx, "vg")
		w.OK(t, err)
		if err := p.(storage.Configurer).Added(w.Ctx, nil); err == nil || err.Error() != want {
			t.Error(err)
		}
		if changed := r.Changes(); len(changed) > 0 {
			t.Errorf("it did %q", changed)
		}
	}
}

type folder struct{ disks }

func (folder) Path(name, _ string) (string, error) { return "/srv/" + name, nil }

// TestMissingProgram: without LVM the error says so.
func TestMissingProgram(t *testing.T) {
	t.Setenv("PATH", filepath.Join(t.TempDir(), "none"))
	w := world(t)
	err := w.Activate(w.Ctx, "vg")
	if err == nil || !strings.Contains(err.Error(), "vgs: program not found, is its package installed?") {
		t.Error(err)
	}
	if _, err := os.Stat("/dev/" + lvmtest.VG); err == nil {
		t.Error("a group of that name is there")
	}
}
