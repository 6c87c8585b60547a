package lvmthin_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/lvmthin"
)

// fake is a world whose LVM has the given logical volumes, each as "name attributes pool", and
// lets everything happen.
func fake(t *testing.T, volumes ...string) (*lvmtest.World, *lvmtest.Recorder) {
	r := &lvmtest.Recorder{Volumes: append([]string{"data twi-aotz-- -"}, volumes...)}
	return lvmtest.New(t, r, config, lvmthin.Type()), r
}

// TestCommands: what is run for what.
func TestCommands(t *testing.T) {
	const vg = lvmtest.VG
	for _, test := range []struct {
		name    string
		volumes []string
		do      func(w *lvmtest.World) (string, error)
		want    []string
		returns string
	}{
		{
			"alloc", []string{"vm-100-disk-0 Vwi-a-tz-- data", "base-100-disk-1 Vri---tz-k data", "vm-101-disk-2 Vwi-a-tz-- data"},
			func(w *lvmtest.World) (string, error) {
				v, err := w.Service.Alloc(w.Ctx, "thin", storage.Alloc{Guest: 100, Size: 4096})
				return v.Name, err
			},
			[]string{"lvcreate -aly -V 4096k --name vm-100-disk-2 --thinpool " + vg + "/data", "lvchange --setautoactivation n " + vg + "/vm-100-disk-2"},
			"vm-100-disk-2",
		},
		{
			"free", []string{"vm-100-disk-0 Vwi-a-tz-- data", "snap_vm-100-disk-0_a Vri---tz-k data", "snap_vm-100-disk-0_b Vri---tz-k data", "snap_vm-100-disk-1_a Vri---tz-k data"},
			func(w *lvmtest.World) (string, error) { return "", w.Free(w.Ctx, volume("vm-100-disk-0")) },
			[]string{"lvremove -f " + vg + "/snap_vm-100-disk-0_a", "lvremove -f " + vg + "/snap_vm-100-disk-0_b", "lvremove -f " + vg + "/vm-100-disk-0"},
			"",
		},
		{
			"snapshot", []string{"vm-100-disk-0 Vwi-a-tz-- data"},
			func(w *lvmtest.World) (string, error) { return "", w.Snapshot(w.Ctx, volume("vm-100-disk-0"), "a") },
			[]string{"lvcreate -n snap_vm-100-disk-0_a -pr -s " + vg + "/vm-100-disk-0"},
			"",
		},
		{
			"rollback", []string{"vm-100-disk-0 Vwi-a-tz-- data", "snap_vm-100-disk-0_a Vri---tz-k data"},
			func(w *lvmtest.World) (string, error) { return "", w.Rollback(w.Ctx, volume("vm-100-disk-0"), "a") },
			[]string{
				"lvcreate -n next_vm-100-disk-0 -prw -kn -s " + vg + "/snap_vm-100-disk-0_a", "lvrename " + vg + " vm-100-disk-0 del-vm-100-disk-0",
				"lvrename " + vg + " next_vm-100-disk-0 vm-100-disk-0", "lvchange --setautoactivation n " + vg + "/vm-100-disk-0", "lvremove -f " + vg + "/del-vm-100-disk-0",
			},
			"",
		},
		{
			"rollback after one that was cut off", []string{"vm-100-disk-0 Vwi-a-tz-- data", "next_vm-100-disk-0 Vwi-a-tz-- data", "del-vm-100-disk-0 Vwi-a-tz-- data", "snap_vm-100-disk-0_a Vri---tz-k data"},
			func(w *lvmtest.World) (string, error) { return "", w.Rollback(w.Ctx, volume("vm-100-disk-0"), "a") },
			[]string{
				"lvremove -f " + vg + "/next_vm-100-disk-0", "lvcreate -n next_vm-100-disk-0 -prw -kn -s " + vg + "/snap_vm-100-disk-0_a",
				"lvrename " + vg + " vm-100-disk-0 del-del-vm-100-disk-0", "lvrename " + vg + " next_vm-100-disk-0 vm-100-disk-0",
				"lvchange --setautoactivation n " + vg + "/vm-100-disk-0", "lvremove -f " + vg + "/del-del-vm-100-disk-0",
			},
			"",
		},
		{
			"base", []string{"vm-100-disk-0 Vwi-a-tz-- data"},
			func(w *lvmtest.World) (string, error) {
				v, err := w.CreateBase(w.Ctx, volume("vm-100-disk-0"))
				return v.Name, err
			},
			[]string{"lvrename " + vg + " vm-100-disk-0 base-100-disk-0", "lvchange -an -pr -ky " + vg + "/base-100-disk-0"},
			"base-100-disk-0",
		},
		{
			"clone", []string{"base-100-disk-0 Vri---tz-k data"},
			func(w *lvmtest.World) (string, error) {
				v, err := w.Clone(w.Ctx, volume("base-100-disk-0"), 200, "")
				return v.Name, err
			},
			[]string{"lvcreate -n vm-200-disk-0 -prw -kn -s " + vg + "/base-100-disk-0", "lvchange --setautoactivation n " + vg + "/vm-200-disk-0"},
			"vm-200-disk-0",
		},
		{
			"rename", []string{"vm-100-disk-0 Vwi-a-tz-- data"},
			func(w *lvmtest.World) (string, error) {
				v, err := w.Rename(w.Ctx, volume("vm-100-disk-0"), 200, "")
				return v.Name, err
			},
			[]string{"lvrename " + vg + " vm-100-disk-0 vm-200-disk-0"},
			"vm-200-disk-0",
		},
		{
			"resize", []string{"vm-100-disk-0 Vwi-a-tz-- data"},
			func(w *lvmtest.World) (string, error) {
				return "", w.Resize(w.Ctx, volume("vm-100-disk-0"), 9<<20, true)
			},
			[]string{"lvextend -L 9216k " + vg + "/vm-100-disk-0"},
			"",
		},
		{
			"activate a base", []string{"base-100-disk-0 Vri---tz-k data"},
			func(w *lvmtest.World) (string, error) {
				return "", w.ActivateVolumes(w.Ctx, "", volume("base-100-disk-0"))
			},
			[]string{"lvchange -ay -K " + vg + "/base-100-disk-0"},
			"",
		},
		{
			"activate after a rollback that was cut off", []string{"next_vm-100-disk-0 Vwi-a-tz-- data", "del-vm-100-disk-0 Vwi-a-tz-- data"},
			func(w *lvmtest.World) (string, error) {
				return "", w.ActivateVolumes(w.Ctx, "", volume("vm-100-disk-0"))
			},
			[]string{"lvrename " + vg + " next_vm-100-disk-0 vm-100-disk-0"},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, r := fake(t, test.volumes...)
			got, err := test.do(w)
			w.OK(t, err)
			if diff := cmp.Diff(test.want, r.Changes()); diff != "" {
				t.Error(diff)
			}
			if got != test.returns {
				t.Errorf("returned %s, want %s", got, test.returns)
			}
			w, r = fake(t, test.volumes...)
			var told strings.Builder
			w.Ctx = plan.With(w.Ctx, plan.New(&told))
			if _, err := test.do(w); err != nil && !errors.Is(err, storage.ErrNotExist) {
				t.Errorf("a dry run: %v", err)
			}
			if changed := r.Changes(); len(changed) > 0 {
				t.Errorf("a dry run did %q", changed)
			}
		})
	}
}

// TestRefused: what is not possible is refused before anything is touched.
func TestRefused(t *testing.T) {
	v := volume("vm-100-disk-0")
	for _, test := range []struct {
		want string
		do   func(w *lvmtest.World) error
	}{
		{"unsupported format 'qcow2'", func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "thin", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1})
			return err
		}},
		{"illegal name 'vm-101-disk-0' - should be 'vm-100-*'", func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "thin", storage.Alloc{Guest: 100, Format: "raw", File: "vm-101-disk-0", Size: 1})
			return err
		}},
		{"logical volume 'virtsmith-test/vm-100-disk-0' already exists", func(w *lvmtest.World) error {
			_, err := w.Service.Alloc(w.Ctx, "thin", storage.Alloc{Guest: 100, Format: "raw", File: "vm-100-disk-0", Size: 1})
			return err
		}},
		{"clone_image only works on base images", func(w *lvmtest.World) error {
			_, err := w.Clone(w.Ctx, v, 200, "")
			return err
		}},
		{"create_base not possible with base image", func(w *lvmtest.World) error {
			_, err := w.CreateBase(w.Ctx, volume("base-100-disk-1"))
			return err
		}},
		{"can't rollback, snapshot 'b' does not exist on 'vm-100-disk-0'", func(w *lvmtest.World) error { return w.CanRollback(w.Ctx, v, "b") }},
		{"invalid snapshot name 'a/b'", func(w *lvmtest.World) error { return w.Snapshot(w.Ctx, v, "a/b") }},
		{"unable to shrink volume 'vm-100-disk-0' from 8388608 to 1024 bytes", func(w *lvmtest.World) error { return w.Resize(w.Ctx, v, 1024, false) }},
		{"target volume 'vm-100-disk-9' already exists", func(w *lvmtest.World) error {
			_, err := w.Rename(w.Ctx, v, 100, "vm-100-disk-9")
			return err
		}},
	} {
		t.Run(test.want, func(t *testing.T) {
			w, r := fake(t, "vm-100-disk-0 Vwi-a-tz-- data", "vm-100-disk-9 Vwi-a-tz-- data", "base-100-disk-1 Vri---tz-k data")
			if err := test.do(w); err == nil || err.Error() != test.want {
				t.Errorf("got %v", err)
			}
			if changed := r.Changes(); len(changed) > 0 {
				t.Errorf("it did %q", changed)
			}
		})
	}
}

// TestPools: what is no pool, or none of ours, is told apart.
func TestPools(t *testing.T) {
	for volumes, want := range map[string]string{
		"other twi-aotz-- -": "no such logical volume virtsmith-test/data",
		"data -wi-a----- -":  "logical volume virtsmith-test/data is no thin pool",
	} {
		w := lvmtest.New(t, &lvmtest.Recorder{Volumes: []string{volumes}}, config, lvmthin.Type())
		if err := w.Activate(w.Ctx, "thin"); err == nil || err.Error() != want {
			t.Errorf("%s: %v", volumes, err)
		}
	}
	w, r := fake(t, "vm-100-disk-0 Vwi-a-tz-- other", "vm-100-disk-1 -wi-a----- -", "vm-100-disk-2 Vwi-a-tz-- data")
	list, err := w.List(w.Ctx, "thin", storage.Filter{})
	w.OK(t, err)
	if len(list) != 1 || list[0].Name != "vm-100-disk-2" {
		t.Errorf("%+v", list)
	}
	// A volume of another pool has a name that is taken, but is none of ours.
	w.OK(t, w.Free(w.Ctx, volume("vm-100-disk-1")))
	if changed := r.Changes(); len(changed) > 0 || !strings.Contains(w.Said.String(), "does not exist") {
		t.Errorf("it did %q, and said %q", changed, w.Said)
	}
	w.OK(t, err)
	inactive := lvmtest.New(t, &lvmtest.Recorder{Volumes: []string{"data twi---tz-- -"}}, config, lvmthin.Type())
	w.OK(t, inactive.Activate(w.Ctx, "thin"))
}

// TestNames: what is a volume, and what it can do.
func TestNames(t *testing.T) {
	w, _ := fake(t)
	for name, want := range map[string]string{
		"vm-100-disk-0": "images 100 vm-100-disk-0 false", "base-100-disk-0": "images 100 base-100-disk-0 true", "vm-100-cloudinit": "images 100 vm-100-cloudinit false",
		"vm-0100-disk-0": "", "disk": "", "vm-100-": "", "vm-100-a b": "", "vm-99999999999-disk-0": "", "next_vm-100-disk-0": "", "del-vm-100-disk-0": "",
	} {
		n, err := w.Parse(w.Ctx, volume(name))
		got := ""
		if err == nil {
			got = fmt.Sprint(n.Content, " ", n.Guest, " ", n.File, " ", n.IsBase)
		}
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	path, err := w.Path(w.Ctx, volume("vm-100-disk-0"), "a")
	if path != "/dev/"+lvmtest.VG+"/snap_vm-100-disk-0_a" || err != nil {
		t.Error(path, err)
	}
	node, err := w.Blockdev(w.Ctx, volume("vm-100-disk-0"))
	if diff := cmp.Diff(map[string]any{"driver": "host_device", "filename": "/dev/" + lvmtest.VG + "/vm-100-disk-0"}, node); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for feature, want := range map[storage.Feature][]string{
		storage.FeatureSnapshot: {"current"}, storage.FeatureClone: {"base", "snap"}, storage.FeatureTemplate: {"current"},
		storage.FeatureCopy: {"base", "current", "snap"}, storage.FeatureSparse: {"base", "current"}, storage.FeatureRename: {"current"}, storage.FeatureReplicate: nil,
	} {
		var got []string
		for _, state := range []string{"base", "current", "snap"} {
			name, snap := "vm-100-disk-0", ""
			switch state {
			case "base":
				name = "base-100-disk-0"
			case "snap":
				snap = "a"
			}
			if has, _ := w.Has(w.Ctx, feature, volume(name), snap); has {
				got = append(got, state)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", feature, got, want)
		}
	}
}

// TestNative: on a machine without device-mapper, or without the group, errors say so.
func TestNative(t *testing.T) {
	if _, err := exec.LookPath("lvs"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and lvm2")
	}
	w := lvmtest.New(t, run.Host{}, config, lvmthin.Type())
	ctx, cancel := context.WithCancel(w.Ctx)
	defer cancel()
	err := w.Activate(ctx, "thin")
	if err == nil || !strings.Contains(err.Error(), "no such volume group '"+lvmtest.VG+"'") && !strings.Contains(err.Error(), "device-mapper") {
		t.Error(err)
	}
}
