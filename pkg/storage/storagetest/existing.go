package storagetest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// existing returns the volumes that Section has put on the storage, and their sizes.
func (w *world) existing() []storage.Volume {
	w.t.Helper()
	list, err := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.Images}})
	w.ok(err)
	return list
}

func (w *world) volume(v storage.Volume) id.Volume { return id.Volume{Storage: it, Name: v.Name} }

// found: volumes made elsewhere are listed, can be parsed and looked at.
func found(t *testing.T, o Options) {
	w := begin(t, o)
	list := w.existing()
	var sizes []int64
	for _, l := range list {
		v := w.volume(l)
		sizes = append(sizes, l.Size)
		n, err := w.Parse(w.ctx, v)
		w.ok(err)
		if n.Content != storage.Images || n.Format != "raw" || n.Guest != 0 || n.IsBase || n.Base != "" {
			t.Errorf("%s is %+v", v, n)
		}
		w.ok(w.ActivateVolumes(w.ctx, "", v))
		w.ok(w.ActivateVolumes(w.ctx, "", v))
		info, err := w.Info(w.ctx, v)
		w.ok(err)
		if info.Size != l.Size || info.Format != "raw" || l.Format != "raw" || l.Content != storage.Images {
			t.Errorf("%s is listed as %+v and looks like %+v", v, l, info)
		}
		path, err := w.Path(w.ctx, v, "")
		w.ok(err)
		if !strings.HasPrefix(path, "/") && !strings.Contains(path, ":") {
			t.Errorf("path of %s: %q", v, path)
		}
		if has, err := w.Has(w.ctx, storage.FeatureCopy, v, ""); err != nil || !has {
			t.Errorf("%s cannot be copied: %v", v, err)
		}
		w.ok(w.DeactivateVolumes(w.ctx, "", v))
	}
	slices.Sort(sizes)
	if want := slices.Sorted(slices.Values(o.Volumes)); !slices.Equal(sizes, want) {
		t.Errorf("there are volumes of %d bytes, listed are %d", want, sizes)
	}
	if list, err := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.Images}, Guest: 100}); err != nil || len(list) > 0 {
		t.Errorf("volumes of a guest: %+v, %v", list, err)
	}
	if list, err := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.ISO}}); err != nil || len(list) > 0 {
		t.Errorf("volumes of another content: %+v, %v", list, err)
	}
	_, err := w.Status(w.ctx, it)
	w.ok(err)
}

// notFound: a volume that is not there is no other error.
func notFound(t *testing.T, o Options) {
	w := begin(t, o)
	v := id.Volume{Storage: it, Name: o.Missing}
	if _, err := w.Parse(w.ctx, v); err != nil {
		t.Error(err)
	}
	if _, err := w.Info(w.ctx, v); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("looked at: %v", err)
	}
	if err := w.ActivateVolumes(w.ctx, "", v); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("activated: %v", err)
	}
}

// onlyUsed: what cannot be made cannot be removed or changed.
func onlyUsed(t *testing.T, o Options) {
	w := begin(t, o)
	before := w.existing()
	v := w.volume(before[0])
	if _, err := w.Alloc(w.ctx, it, storage.Alloc{Guest: 100, Format: "raw", Size: 1024}); err == nil {
		t.Error("a volume was made")
	}
	if err := w.Free(w.ctx, v); err == nil {
		t.Errorf("%s was removed", v)
	}
	if err := w.Resize(w.ctx, v, before[0].Size+1<<20, false); err == nil {
		t.Errorf("%s was resized", v)
	}
	if err := w.Snapshot(w.ctx, v, "one"); err == nil {
		t.Errorf("%s has a snapshot", v)
	}
	if _, err := w.Path(w.ctx, v, "one"); err == nil {
		t.Errorf("the snapshot of %s has a path", v)
	}
	if _, err := w.Clone(w.ctx, v, 100, ""); err == nil {
		t.Errorf("%s was cloned", v)
	}
	if _, err := w.CreateBase(w.ctx, v); err == nil {
		t.Errorf("%s became a base", v)
	}
	if _, err := w.Rename(w.ctx, v, 200, ""); err == nil {
		t.Errorf("%s was renamed", v)
	}
	for _, f := range []storage.Feature{
		storage.FeatureSnapshot, storage.FeatureClone, storage.FeatureTemplate, storage.FeatureRename,
		storage.FeatureReplicate, storage.FeatureSparse,
	} {
		if has, _ := w.Has(w.ctx, f, v, ""); has {
			t.Errorf("%s has %s", v, f)
		}
	}
	if after := w.existing(); !slices.Equal(before, after) {
		t.Errorf("had %+v, has %+v", before, after)
	}
}

// filled: what is written to a volume can be read from it and copied on, into files of
// each format and into the volume beside it.
func filled(t *testing.T, o Options) {
	w := begin(t, o)
	list := w.existing()
	slices.SortFunc(list, func(a, b storage.Volume) int { return int(a.Size - b.Size) })
	first, second := list[0], list[1]
	v := w.volume(first)
	source := pattern(t, first.Size)
	w.write(v, source)
	w.same(v, "", source)
	for _, format := range []string{"raw", "qcow2"} {
		to := filepath.Join(t.TempDir(), "copy."+format)
		w.image("create", "-f", format, to, strconv.FormatInt(first.Size, 10))
		w.ok(w.Convert(w.ctx, v.String(), to, storage.ConvertOptions{Zeroed: true}))
		w.image("compare", "-f", "raw", "-F", format, source, to)
	}
	if formats, err := w.ExportFormats(w.ctx, v, storage.Stream{}); err != nil || !slices.Equal(formats, []string{"raw+size"}) {
		t.Errorf("%s can be written as %q, %v", v, formats, err)
	}
	var stream bytes.Buffer
	w.ok(w.Export(w.ctx, &stream, v, storage.Stream{Format: "raw+size"}))
	if size, err := storage.ReadHeader(&stream); err != nil || size != first.Size || !bytes.Equal(stream.Bytes(), read(t, source)) {
		t.Errorf("the stream of %s says %d bytes and has %d, %v", v, size, stream.Len(), err)
	}
	next := w.volume(second)
	w.ok(w.Convert(w.ctx, v.String(), next.String(), storage.ConvertOptions{}))
	w.same(next, "", source)
	shorter := pattern(t, 1<<20)
	w.write(next, shorter)
	w.same(v, "", source) // the other is left alone
}

// asked: many may look at once, and activating again is nothing.
func asked(t *testing.T, o Options) {
	const many = 12
	w := begin(t, o)
	w.ctx = t.Context() // one buffer is not for many
	list := w.existing()
	errs := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if err := w.Activate(w.ctx, it); err != nil {
				errs[i] = err
				return
			}
			_, errs[i] = w.Info(w.ctx, w.volume(list[i%len(list)]))
		})
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
}

// interrupted: a copy into a volume ends with its context.
func interrupted(t *testing.T, o Options) {
	w := begin(t, o)
	v := w.volume(w.existing()[0])
	ctx, cancel := context.WithCancelCause(w.ctx)
	cancel(errInterrupt)
	if err := w.Convert(ctx, random(t, 1<<20), v.String(), storage.ConvertOptions{}); !errors.Is(err, errInterrupt) {
		t.Errorf("an ended copy: %v", err)
	}
}

// unlisted: a program that is not there is named.
func unlisted(t *testing.T, o Options) {
	r := &absent{}
	w := beginWith(t, o, o.Section, r)
	v := w.volume(w.existing()[0])
	r.gone = true
	_, err := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.Images}})
	if err == nil {
		_, err = w.Info(w.ctx, v)
	}
	if err == nil {
		t.Skip("the type needs no program to look")
	}
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "not found") {
		t.Errorf("the error does not say what is missing: %v", err)
	}
}

// untouched: a dry run tells of a copy and changes nothing.
func untouched(t *testing.T, o Options) {
	w := begin(t, o)
	list := w.existing()
	v := w.volume(list[0])
	source := pattern(t, list[0].Size)
	w.write(v, source)
	other := random(t, 1<<20)
	var told strings.Builder
	p := plan.New(&told)
	ctx := plan.With(api.WithStreams(t.Context(), api.Streams{Out: w.said, Err: w.said}), p)
	w.ok(w.Activate(ctx, it))
	w.ok(w.Convert(ctx, other, v.String(), storage.ConvertOptions{}))
	if p.Steps() == 0 {
		t.Error("nothing was told")
	}
	w.same(v, "", source)
}

// again: a storage can be put away and made ready again, any number of times.
func again(t *testing.T, o Options) {
	w := begin(t, o)
	before := w.existing()
	for range 2 {
		p, err := w.Pool(w.ctx, it)
		w.ok(err)
		w.ok(p.Deactivate(w.ctx))
		w.ok(p.Deactivate(w.ctx))
		w.ok(w.Activate(w.ctx, it))
	}
	var after []storage.Volume
	for range 100 { // devices come a moment after
		if after = w.existing(); slices.Equal(before, after) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("had %+v, has %+v", before, after)
}
