package lvmthin_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/lvmthin"
)

const config = "lvmthin: thin\n\tvgname " + lvmtest.VG + "\n\tthinpool data\n\tcontent images,rootdir\n"

func world(t *testing.T) *lvmtest.World {
	return lvmtest.New(t, run.Host{}, config, lvmthin.Type())
}

func volume(name string) id.Volume { return id.Volume{Storage: "thin", Name: name} }

// TestThin: what is peculiar to thin volumes.
func TestThin(t *testing.T) {
	lvmtest.Pool(t, "", "1g")
	w := world(t)
	v := w.Alloc(t, "thin", 100, "raw", 8<<10)
	lvmtest.Write(t, lvmtest.Device(v.Name), "first", 1<<20)
	w.OK(t, w.Snapshot(w.Ctx, v, "one"))
	lvmtest.Write(t, lvmtest.Device(v.Name), "later", 1<<20)

	t.Run("clone of a snapshot", func(t *testing.T) {
		c, err := w.Clone(w.Ctx, v, 200, "one")
		w.OK(t, err)
		if c != volume("vm-200-disk-0") {
			t.Errorf("%s", c)
		}
		if got := lvmtest.Read(t, lvmtest.Device(c.Name), 1<<20, 5); got != "first" {
			t.Errorf("it has %q", got)
		}
		w.OK(t, w.Free(w.Ctx, c))
		if _, err := w.Clone(w.Ctx, v, 200, "none"); !errors.Is(err, storage.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("in use", func(t *testing.T) {
		f, err := os.Open(lvmtest.Device(v.Name))
		w.OK(t, err)
		defer f.Close()
		for what, err := range map[string]error{"remove": w.Free(w.Ctx, v), "rollback": w.Rollback(w.Ctx, v, "one")} {
			if !errors.Is(err, storage.ErrInUse) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := lvmtest.Read(t, lvmtest.Device(v.Name), 1<<20, 5); got != "later" {
			t.Errorf("it has %q", got)
		}
		if !lvmtest.Has(t, "snap_vm-100-disk-0_one") {
			t.Error("the snapshot is gone")
		}
	})
	t.Run("cut off rollback", func(t *testing.T) {
		lvmtest.Run(t, "lvcreate", "-q", "-kn", "-s", "-n", "next_"+v.Name, lvmtest.VG+"/snap_vm-100-disk-0_one")
		lvmtest.Run(t, "lvrename", "-q", lvmtest.VG, v.Name, "del-"+v.Name)
		w.OK(t, w.ActivateVolumes(w.Ctx, "", v))
		if got := lvmtest.Read(t, lvmtest.Device(v.Name), 1<<20, 5); got != "first" {
			t.Errorf("it has %q", got)
		}
	})
	t.Run("look-alikes", func(t *testing.T) {
		other, err := w.Service.Alloc(w.Ctx, "thin", storage.Alloc{Guest: 100, Format: "raw", File: v.Name + "_x", Size: 4096})
		w.OK(t, err)
		w.OK(t, w.Snapshot(w.Ctx, other, "two"))
		list, err := w.Snapshots(w.Ctx, v)
		w.OK(t, err)
		if len(list) != 1 || list[0].Name != "one" {
			t.Errorf("%+v", list)
		}
		w.OK(t, w.Free(w.Ctx, v))
		if list, err := w.Snapshots(w.Ctx, other); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		w.OK(t, w.Free(w.Ctx, other))
		if got := lvmtest.Names(t); got != "data" {
			t.Errorf("there is left: %s", got)
		}
	})
	t.Run("bases", func(t *testing.T) {
		v := w.Alloc(t, "thin", 100, "raw", 4096)
		w.OK(t, w.Snapshot(w.Ctx, v, "one"))
		if _, err := w.CreateBase(w.Ctx, v); err == nil || !strings.Contains(err.Error(), "snap_"+v.Name+"_one") {
			t.Errorf("a volume with snapshots: %v", err)
		}
		w.OK(t, w.DeleteSnapshot(w.Ctx, v, "one", true))
		base, err := w.CreateBase(w.Ctx, v)
		w.OK(t, err)
		if attr := strings.TrimSpace(lvmtest.Run(t, "lvs", "--noheadings", "-o", "lv_attr", lvmtest.VG+"/"+base.Name)); attr != "Vri---tz-k" {
			t.Errorf("its attributes are %s", attr)
		}
		w.OK(t, w.ActivateVolumes(w.Ctx, "", base))
		if f, err := os.OpenFile(lvmtest.Device(base.Name), os.O_WRONLY|os.O_SYNC, 0); err == nil {
			if _, err := f.WriteAt([]byte("x"), 0); err == nil {
				t.Error("a base was written to")
			}
			f.Close()
		}
		w.OK(t, w.DeactivateVolumes(w.Ctx, "", base))
		w.OK(t, w.Free(w.Ctx, base))
	})
	t.Run("containers", func(t *testing.T) {
		v := w.Alloc(t, "thin", 100, "raw", 16<<10)
		lvmtest.Run(t, "mkfs.ext4", "-q", lvmtest.Device(v.Name))
		st, err := w.Status(w.Ctx, "thin")
		w.OK(t, err)
		if st.Total != 1<<30 || st.Used == 0 || st.Used+st.Available != st.Total {
			t.Errorf("%+v", st)
		}
		w.OK(t, w.Free(w.Ctx, v))
	})
	t.Run("scan", func(t *testing.T) {
		got, err := lvmthin.Scan(t.Context(), run.Host{}, lvmtest.VG)
		w.OK(t, err)
		if diff := cmp.Diff([]lvmthin.Found{{LV: "data"}}, got); diff != "" {
			t.Error(diff)
		}
		if _, err := lvmthin.Scan(t.Context(), run.Host{}, "nosuch"); err == nil || err.Error() != "no such volume group 'nosuch'" {
			t.Error(err)
		}
	})
	t.Run("deactivated", func(t *testing.T) {
		v := w.Alloc(t, "thin", 100, "raw", 4096)
		lvmtest.Run(t, "vgchange", "-q", "-an", lvmtest.VG)
		w.OK(t, w.ActivateVolumes(w.Ctx, "", v))
		_ = lvmtest.Read(t, lvmtest.Device(v.Name), 0, 512)
		w.OK(t, w.Free(w.Ctx, v))
	})
	t.Run("streams of bases", func(t *testing.T) {
		v := w.Alloc(t, "thin", 100, "raw", 4096)
		lvmtest.Write(t, lvmtest.Device(v.Name), "data", 4<<20-4)
		base, err := w.CreateBase(w.Ctx, v)
		w.OK(t, err)
		pool, err := w.Pool(w.Ctx, "thin")
		w.OK(t, err)
		var b bytes.Buffer
		s := storage.Stream{Format: "raw+size"}
		w.OK(t, pool.(storage.Exporter).Export(w.Ctx, &b, base.Name, s))
		stream := b.Bytes()
		if _, err := pool.(storage.Importer).Import(w.Ctx, bytes.NewReader(stream), base.Name, s, false); !errors.Is(err, storage.ErrExists) {
			t.Errorf("a taken name: %v", err)
		}
		name, err := pool.(storage.Importer).Import(w.Ctx, bytes.NewReader(stream), base.Name, s, true)
		w.OK(t, err)
		if name == base.Name || !strings.HasPrefix(name, "base-100-disk-") {
			t.Errorf("it became %s", name)
		}
		var again bytes.Buffer
		w.OK(t, pool.(storage.Exporter).Export(w.Ctx, &again, name, s))
		if !bytes.Equal(stream, again.Bytes()) {
			t.Error("the copy is another")
		}
		w.OK(t, w.Free(w.Ctx, base))
		w.OK(t, w.Free(w.Ctx, volume(name)))
	})
}

// TestFull: a pool that becomes full in the middle of a copy says so, and what was begun
// is gone.
func TestFull(t *testing.T) {
	lvmtest.Pool(t, "100", "60m")
	w := world(t)
	keep := w.Alloc(t, "thin", 100, "raw", 16<<10)
	lvmtest.Write(t, lvmtest.Device(keep.Name), strings.Repeat("keep", 1<<20), 0)
	source := t.TempDir() + "/source.raw"
	if err := os.WriteFile(source, bytes.Repeat([]byte("data"), 24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := w.Copy(w.Ctx, storage.Copy{Source: source, Storage: "thin", Guest: 200, Format: "raw"})
	if err == nil {
		t.Fatal("96 MiB fit into 60")
	}
	if said := err.Error() + w.Said.String(); !strings.Contains(said, "No space left on device") {
		t.Errorf("the error does not say that the pool is full: %s", said)
	}
	if got := strings.Split(lvmtest.Names(t), "\n"); !slices.Equal(got, []string{"data", keep.Name}) {
		t.Errorf("there is left: %q", got)
	}
	if got := lvmtest.Read(t, lvmtest.Device(keep.Name), 4<<20-8, 8); got != "keepkeep" {
		t.Errorf("another volume has %q", got)
	}
}

// TestKilled: a volume is there with the content of before or after, wherever a rollback
// is cut off.
func TestKilled(t *testing.T) {
	if lvmtest.Endless() {
		w := world(t)
		for v := volume("vm-100-disk-0"); ; {
			w.OK(t, w.Rollback(w.Ctx, v, "one"))
			c, err := w.Clone(w.Ctx, v, 200, "one")
			w.OK(t, err)
			w.OK(t, w.Free(w.Ctx, c))
		}
	}
	testnode.Need(t, "device-mapper")
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes a minute: set VIRTSMITH_TEST_ALL=1")
	}
	lvmtest.Pool(t, "", "1g")
	w := world(t)
	v := w.Alloc(t, "thin", 100, "raw", 4096)
	lvmtest.Write(t, lvmtest.Device(v.Name), "first", 0)
	w.OK(t, w.Snapshot(w.Ctx, v, "one"))
	lvmtest.Killed(t, "TestKilled", 6, func() {
		w.OK(t, w.ActivateVolumes(w.Ctx, "", v))
		if got := lvmtest.Read(t, lvmtest.Device(v.Name), 0, 5); got != "first" {
			t.Errorf("it has %q", got)
		}
		list, err := w.List(w.Ctx, "thin", storage.Filter{Guest: 200})
		w.OK(t, err)
		for _, left := range list { // it can be found and removed
			w.OK(t, w.Free(w.Ctx, volume(left.Name)))
		}
		if suspended := lvmtest.Run(t, "dmsetup", "info", "-c", "--noheadings", "-o", "suspended"); strings.Contains(suspended, "Suspended") {
			t.Errorf("devices are suspended:\n%s", suspended)
		}
	})
	w.OK(t, w.Rollback(w.Ctx, v, "one"))
	w.OK(t, w.Free(w.Ctx, v))
	if got := lvmtest.Names(t); got != "data" {
		t.Errorf("there is left: %s", got)
	}
}
