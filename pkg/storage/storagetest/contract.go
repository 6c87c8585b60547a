package storagetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// names: what cannot be read is refused before anything is done.
func names(t *testing.T, o Options) {
	w := begin(t, o)
	for _, name := range []string{"", "/", "..", "../../etc/passwd", "100/../../../etc/passwd", "iso/../../x.iso", "100/..", "no such", "backup/random.txt"} {
		v := id.Volume{Storage: it, Name: name}
		if _, err := w.Parse(w.ctx, v); err == nil {
			t.Errorf("%q was parsed", name)
		}
		if _, err := w.Path(w.ctx, v, ""); err == nil {
			t.Errorf("%q has a path", name)
		}
		if err := w.Free(w.ctx, v); err == nil {
			t.Errorf("%q was removed", name)
		}
		if has, _ := w.Has(w.ctx, storage.FeatureCopy, v, ""); has {
			t.Errorf("%q has features", name)
		}
	}
}

// life: what Alloc returns can be parsed, looked at, listed and removed.
func life(t *testing.T, o Options) {
	w := begin(t, o)
	for _, format := range o.Formats {
		for _, kib := range few(o, []int64{0, 513, 1<<20 + 1}, []int64{0, 1, 513, 4096, 1<<20 + 1}) {
			if kib == 0 && format == "vmdk" {
				continue // QEMU makes one but cannot read it
			}
			v := w.alloc(123, format, kib)
			n, err := w.Parse(w.ctx, v)
			w.ok(err)
			if n.Guest != 123 || n.Content != storage.Images || n.Format != format || n.IsBase || n.Base != "" {
				t.Errorf("%s is %+v", v, n)
			}
			w.ok(w.ActivateVolumes(w.ctx, "", v))
			info, err := w.Info(w.ctx, v)
			w.ok(err)
			if info.Size < kib<<10 || info.Format != format {
				t.Errorf("%s of %d KiB: %+v", v, kib, info)
			}
			list, err := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.Images}, Guest: 123})
			w.ok(err)
			if len(list) != 1 || list[0].Name != v.Name || list[0].Size != info.Size || list[0].Format != format {
				t.Errorf("%s is listed as %+v", v, list)
			}
			if list, _ := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.Images}, Guest: 124}); len(list) > 0 {
				t.Errorf("%s is listed for another guest", v)
			}
			w.ok(w.DeactivateVolumes(w.ctx, "", v))
			w.ok(w.Free(w.ctx, v))
			if _, err := w.Info(w.ctx, v); !errors.Is(err, storage.ErrNotExist) {
				t.Errorf("removed %s: %v", v, err)
			}
			if err := w.ActivateVolumes(w.ctx, "", v); !errors.Is(err, storage.ErrNotExist) {
				t.Errorf("removed %s activates: %v", v, err)
			}
		}
	}
	w.empty("a life")
}

// givenName: a name is taken once.
func givenName(t *testing.T, o Options) {
	w := begin(t, o)
	first := w.alloc(100, o.Formats[0], 1024)
	n, err := w.Parse(w.ctx, first)
	w.ok(err)
	if _, err := w.Alloc(w.ctx, it, storage.Alloc{Guest: 100, Format: o.Formats[0], File: n.File, Size: 1024}); err == nil {
		t.Errorf("%s was made a second time", n.File)
	}
	w.ok(w.Free(w.ctx, first))
	again, err := w.Alloc(w.ctx, it, storage.Alloc{Guest: 100, Format: o.Formats[0], File: n.File, Size: 1024})
	w.ok(err)
	if again != first {
		t.Errorf("%s became %s", first, again)
	}
	if _, err := w.Alloc(w.ctx, it, storage.Alloc{Guest: 100, Format: "floppy", Size: 1024}); err == nil {
		t.Error("a format was taken that there is not")
	}
}

func freeMissing(t *testing.T, o Options) {
	w := begin(t, o)
	v := w.alloc(100, o.Formats[0], 1024)
	w.ok(w.Free(w.ctx, v))
	w.said.Reset()
	w.ok(w.Free(w.ctx, v))
	if !strings.Contains(w.said.String(), "does not exist") {
		t.Errorf("the user was told %q", w.said)
	}
}

func status(t *testing.T, o Options) {
	w := begin(t, o)
	st, err := w.Status(w.ctx, it)
	w.ok(err)
	if st.Total <= 0 || st.Used < 0 || st.Available < 0 || st.Used > st.Total || st.Available > st.Total {
		t.Errorf("%+v", st)
	}
}

func resize(t *testing.T, o Options) {
	w := begin(t, o)
	if _, ok := w.pool.(storage.Resizer); !ok {
		t.Skip("the type cannot")
	}
	for _, format := range o.Formats {
		v := w.alloc(100, format, 1024)
		source := pattern(t, 1<<20)
		w.write(v, source)
		err := w.Resize(w.ctx, v, 3<<20, false)
		if format == "vmdk" {
			if err == nil {
				t.Error("a vmdk was resized")
			}
			continue
		}
		w.ok(err)
		info, err := w.Info(w.ctx, v)
		w.ok(err)
		if info.Size < 3<<20 {
			t.Errorf("%s has %d bytes", v, info.Size)
		}
		w.same(v, "", source)
		w.ok(w.Free(w.ctx, v))
	}
}

func snapshots(t *testing.T, o Options) {
	w := begin(t, o)
	if _, ok := w.pool.(storage.Snapshotter); !ok {
		t.Skip("the type cannot")
	}
	for _, format := range o.Formats {
		v := w.alloc(100, format, 2048)
		if has, err := w.Has(w.ctx, storage.FeatureSnapshot, v, ""); err != nil || !has {
			if err := w.Snapshot(w.ctx, v, "one"); err == nil {
				t.Errorf("%s has no snapshots but got one", v)
			}
			continue
		}
		before, after := pattern(t, 2<<20), pattern(t, 1<<20)
		w.write(v, before)
		w.ok(w.Snapshot(w.ctx, v, "one"))
		w.write(v, after)
		w.ok(w.Snapshot(w.ctx, v, "two"))
		list, err := w.Snapshots(w.ctx, v)
		w.ok(err)
		var got []string
		for _, s := range list {
			got = append(got, s.Name)
		}
		if !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("snapshots of %s: %q", v, got)
		}
		if has, _ := w.Has(w.ctx, storage.FeatureCopy, v, "one"); has {
			w.same(v, "one", before)
		}
		// Some types go back to the newest state alone; then they say what is newer.
		err = w.CanRollback(w.ctx, v, "one")
		if blocked, ok := errors.AsType[*storage.BlockedError](err); ok && slices.Equal(blocked.Blockers, []string{"two"}) {
			err = nil
		}
		w.ok(err)
		if err := w.Rollback(w.ctx, v, "three"); err == nil {
			t.Errorf("%s went back to what it never was", v)
		}
		w.ok(w.DeleteSnapshot(w.ctx, v, "two", false))
		w.ok(w.CanRollback(w.ctx, v, "one"))
		w.ok(w.Rollback(w.ctx, v, "one"))
		w.same(v, "", before)
		w.ok(w.DeleteSnapshot(w.ctx, v, "one", false))
		w.ok(w.Free(w.ctx, v))
	}
}

func clones(t *testing.T, o Options) {
	w := begin(t, o)
	if _, ok := w.pool.(storage.Cloner); !ok {
		t.Skip("the type cannot")
	}
	for _, format := range o.Formats {
		v, source := w.alloc(9000, format, 2048), pattern(t, 2<<20)
		w.write(v, source)
		if can, _ := w.Has(w.ctx, storage.FeatureClone, v, ""); !can {
			if _, err := w.Clone(w.ctx, v, 100, ""); err == nil {
				t.Errorf("%s is no base but was cloned", v)
			}
		}
		base, err := w.CreateBase(w.ctx, v)
		w.ok(err)
		if n, err := w.Parse(w.ctx, base); err != nil || !n.IsBase {
			t.Errorf("%s is %+v, %v", base, n, err)
		}
		if _, err := w.CreateBase(w.ctx, base); err == nil {
			t.Errorf("%s was made a base twice", base)
		}
		clone, err := w.Clone(w.ctx, base, 100, "")
		w.ok(err)
		b, err := w.Parse(w.ctx, base)
		w.ok(err)
		n, err := w.Parse(w.ctx, clone)
		unlinked := o.Unlinked && n.Base == ""
		if unlinked {
			b.File, b.Guest = "", 0
		}
		if err != nil || n.Guest != 100 || n.Base != b.File || n.BaseGuest != b.Guest {
			t.Errorf("%s is %+v, %v", clone, n, err)
		}
		w.same(clone, "", source)
		if !slices.Contains(w.all(), clone.Name) {
			t.Errorf("%s is not listed: %q", clone, w.all())
		}
		if err := w.Free(w.ctx, base); !unlinked && !errors.Is(err, storage.ErrInUse) {
			t.Errorf("removing a base with clones: %v", err)
		}
		if unlinked {
			w.same(clone, "", source)
		}
		w.ok(w.Free(w.ctx, clone))
		w.ok(w.Free(w.ctx, base))
	}
	w.empty("clones")
}

func rename(t *testing.T, o Options) {
	w := begin(t, o)
	if _, ok := w.pool.(storage.Renamer); !ok {
		t.Skip("the type cannot")
	}
	for _, format := range o.Formats {
		v, other, source := w.alloc(100, format, 2048), w.alloc(200, format, 1024), pattern(t, 2<<20)
		w.write(v, source)
		moved, err := w.Rename(w.ctx, v, 200, "")
		w.ok(err)
		if n, err := w.Parse(w.ctx, moved); err != nil || n.Guest != 200 || moved == other {
			t.Errorf("%s became %s: %+v, %v", v, moved, n, err)
		}
		w.same(moved, "", source)
		n, err := w.Parse(w.ctx, other)
		w.ok(err)
		if _, err := w.Rename(w.ctx, moved, 200, n.File); err == nil {
			t.Errorf("%s took the place of %s", moved, other)
		}
		w.ok(w.Free(w.ctx, moved))
		w.ok(w.Free(w.ctx, other))
	}
	w.empty("renames")
}

// copies: between all formats, with holes and odd sizes.
func copies(t *testing.T, o Options) {
	w := begin(t, o)
	for _, size := range few(o, []int64{512, 5<<20 + 1024}, []int64{512, 66048, 1<<20 + 512, 5<<20 + 1024}) {
		source := pattern(t, size)
		for _, first := range o.Formats {
			v, err := w.Copy(w.ctx, storage.Copy{Source: source, Storage: it, Guest: 100, Format: first})
			w.ok(err)
			w.same(v, "", source)
			for _, second := range o.Formats {
				c, err := w.Copy(w.ctx, storage.Copy{Source: v.String(), Storage: it, Guest: 101, Format: second})
				w.ok(err)
				w.same(c, "", source)
				w.ok(w.Free(w.ctx, c))
			}
			w.ok(w.Free(w.ctx, v))
		}
	}
	w.empty("copies")
}
