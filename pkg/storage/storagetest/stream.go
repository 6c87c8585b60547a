package storagetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// streamer begins a world whose storage speaks streams, or skips.
func streamer(t *testing.T, o Options, section func(*testing.T) []string) *world {
	t.Helper()
	w := beginWith(t, o, section, run.Host{})
	_, out := w.pool.(storage.Exporter)
	_, in := w.pool.(storage.Importer)
	if !out || !in {
		t.Skip("the type cannot")
	}
	return w
}

// vacant returns a name that a volume of the guest could have.
func (w *world) vacant(guest id.VM, format string) id.Volume {
	w.t.Helper()
	v := w.alloc(guest, format, 1024)
	w.ok(w.Free(w.ctx, v))
	return v
}

// both returns the formats in which a volume can go and come.
func (w *world) both(from, to id.Volume, s storage.Stream) []string {
	w.t.Helper()
	list, err := w.TransferFormats(w.ctx, from, to, s)
	w.ok(err)
	return list
}

// sized tells whether a stream of the format begins with the size.
func sized(format string) bool { return format != "zfs" && format != "btrfs" }

// streams: what is written can be read, and is the same.
func streams(t *testing.T, o Options) {
	w := streamer(t, o, o.Section)
	went := map[string]bool{}
	for _, format := range o.Formats {
		for _, kib := range few(o, []int64{5121}, []int64{1, 513, 5121}) {
			v, source := w.alloc(100, format, kib), pattern(t, kib<<10)
			w.write(v, source)
			to := w.vacant(200, format)
			for _, s := range []storage.Stream{{}, {All: true}} {
				for _, s.Format = range w.both(v, to, s) {
					went[s.Format] = true
					var stream bytes.Buffer
					w.ok(w.Export(w.ctx, &stream, v, s))
					size := int64(binary.LittleEndian.Uint64(stream.Bytes()))
					if info, err := w.Info(w.ctx, v); sized(s.Format) && (err != nil || size != info.Size) {
						t.Errorf("%s of %s announces %d bytes, not %d: %v", s.Format, v, size, info.Size, err)
					}
					made, err := w.Import(w.ctx, &stream, to, s, false)
					w.ok(err)
					if made != to {
						t.Errorf("%s became %s", to, made)
					}
					w.same(made, "", source)
					w.ok(w.Free(w.ctx, made))
				}
			}
			w.ok(w.Free(w.ctx, v))
		}
	}
	if len(went) == 0 && len(o.Formats) > 0 {
		t.Error("no volume goes and comes in any format")
	}
	w.empty("streams")
}

// streamNames: a name is not taken from another volume.
func streamNames(t *testing.T, o Options) {
	w := streamer(t, o, o.Section)
	for _, format := range o.Formats {
		v, source := w.alloc(100, format, 2048), pattern(t, 2<<20)
		w.write(v, source)
		for _, s := range []storage.Stream{{}, {All: true}} {
			for _, s.Format = range w.both(v, v, s) {
				var stream bytes.Buffer
				w.ok(w.Export(w.ctx, &stream, v, s))
				if made, err := w.Import(w.ctx, bytes.NewReader(stream.Bytes()), v, s, false); !errors.Is(err, storage.ErrExists) {
					t.Errorf("%s went over %s: %s, %v", s.Format, v, made, err)
				}
				made, err := w.Import(w.ctx, &stream, v, s, true)
				w.ok(err)
				if made == v {
					t.Errorf("%s went over %s", s.Format, v)
				}
				w.same(v, "", source)
				w.same(made, "", source)
				w.ok(w.Free(w.ctx, made))
			}
		}
		w.ok(w.Free(w.ctx, v))
	}
}

// streamRace: of many who want one name, one gets it; who takes any name gets one of its own.
func streamRace(t *testing.T, o Options) {
	const many = 6
	w := streamer(t, o, o.Section)
	for _, format := range o.Formats {
		v, source := w.alloc(100, format, 1024), pattern(t, 1<<20)
		w.write(v, source)
		to := w.vacant(200, format)
		for _, s := range []storage.Stream{{}, {All: true}} {
			for _, s.Format = range w.both(v, to, s) {
				var stream bytes.Buffer
				w.ok(w.Export(w.ctx, &stream, v, s))
				for _, rename := range []bool{false, true} {
					made, errs := make([]id.Volume, many), make([]error, many)
					var wg sync.WaitGroup
					for i := range many {
						wg.Go(func() {
							made[i], errs[i] = w.Import(t.Context(), bytes.NewReader(stream.Bytes()), to, s, rename)
						})
					}
					wg.Wait()
					got := map[id.Volume]bool{}
					for i, err := range errs {
						if err == nil && got[made[i]] {
							t.Errorf("%s: %s was made twice", s.Format, made[i])
						}
						if err == nil {
							got[made[i]] = true
						}
					}
					if len(got) != 1 && !rename || rename && len(got) < 1 {
						t.Errorf("%s: %d got the name %s: %v", s.Format, len(got), to, errors.Join(errs...))
					}
					if left := w.all(); len(left) != len(got)+1 {
						t.Errorf("%s: of %d volumes there are %q", s.Format, len(got), left)
					}
					for v := range got {
						w.same(v, "", source)
						w.ok(w.Free(w.ctx, v))
					}
				}
			}
		}
		w.ok(w.Free(w.ctx, v))
	}
}

// streamFaults: what is not whole leaves nothing.
func streamFaults(t *testing.T, o Options) {
	w := streamer(t, o, o.Section)
	for _, format := range o.Formats {
		v := w.alloc(100, format, 4096)
		w.write(v, random(t, 4<<20))
		to := w.vacant(200, format)
		for _, s := range []storage.Stream{{}, {All: true}} {
			for _, s.Format = range w.both(v, to, s) {
				var stream bytes.Buffer
				w.ok(w.Export(w.ctx, &stream, v, s))
				whole := stream.Bytes()
				fail := func(what string, ctx context.Context, r io.Reader) {
					t.Helper()
					if made, err := w.Import(ctx, r, to, s, false); err == nil {
						t.Errorf("%s: %s made %s", s.Format, what, made)
					} else {
						t.Logf("%s: %s: %v", s.Format, what, err)
					}
					if left := w.all(); !slices.Equal(left, []string{v.Name}) {
						t.Errorf("%s: %s leaves %q", s.Format, what, left)
					}
				}
				fail("nothing", w.ctx, bytes.NewReader(nil))
				fail("half a header", w.ctx, bytes.NewReader(whole[:5]))
				fail("a header alone", w.ctx, bytes.NewReader(whole[:8]))
				fail("half a stream", w.ctx, bytes.NewReader(whole[:len(whole)/2]))
				fail("a broken source", w.ctx, io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), broken{}))
				if sized(s.Format) {
					wrong := slices.Clone(whole)
					wrong[7] = 0xff
					fail("a size beyond all", w.ctx, bytes.NewReader(wrong))
				}
				if s.Format == "raw+size" {
					fail("too much", w.ctx, io.MultiReader(bytes.NewReader(whole), bytes.NewReader(whole)))
				}
				ctx, cancel := context.WithCancelCause(w.ctx)
				stuck, hold := io.Pipe()
				go func() {
					_, _ = hold.Write(whole[:len(whole)/2])
					time.AfterFunc(20*time.Millisecond, func() { cancel(errInterrupt) })
				}()
				fail("a source that stands still", ctx, stuck)
				_ = hold.Close()
				_ = stuck.Close()
				if err := w.Export(w.ctx, &narrow{left: int64(len(whole) / 2)}, v, s); err == nil {
					t.Errorf("%s: half an export is fine", s.Format)
				}
			}
		}
		w.ok(w.Free(w.ctx, v))
	}
	w.empty("streams that are not whole")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// narrow takes so many bytes and no more.
type narrow struct{ left int64 }

func (n *narrow) Write(b []byte) (int, error) {
	if n.left -= int64(len(b)); n.left < 0 {
		return 0, errors.New("broken pipe")
	}
	return len(b), nil
}

// streamFull: a stream that does not fit leaves nothing.
func streamFull(t *testing.T, o Options) {
	if o.Small == nil {
		t.Skip("no way to make a small storage")
	}
	w := streamer(t, o, o.Small)
	to := w.vacant(100, "raw")
	s := storage.Stream{Format: "raw+size"}
	if list, err := w.ImportFormats(w.ctx, to, s); err != nil || !slices.Contains(list, s.Format) {
		t.Skip("the type makes no volumes of raw data")
	}
	data := read(t, random(t, 128<<20))
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	if made, err := w.Import(w.ctx, io.MultiReader(bytes.NewReader(head), bytes.NewReader(data)), to, s, false); err == nil {
		t.Errorf("128 MiB fit into a small storage as %s", made)
	}
	w.empty("a stream that does not fit")
}

// streamSnapshots: states go with the volume, and what was changed since follows.
func streamSnapshots(t *testing.T, o Options) {
	w := streamer(t, o, o.Section)
	for _, format := range o.Formats {
		v := w.alloc(100, format, 4096)
		if has, err := w.Has(w.ctx, storage.FeatureSnapshot, v, ""); err != nil || !has {
			w.ok(w.Free(w.ctx, v))
			continue
		}
		states := map[string]string{"one": pattern(t, 4<<20), "two": random(t, 1<<20), "three": pattern(t, 3<<20)}
		keep := func(snap string) {
			w.write(v, states[snap])
			w.ok(w.Snapshot(w.ctx, v, snap))
		}
		keep("one")
		keep("two")
		to := w.vacant(200, format)
		check := func(made id.Volume, present string, want ...string) {
			t.Helper()
			list, err := w.Snapshots(w.ctx, made)
			w.ok(err)
			var got []string
			for _, s := range list {
				got = append(got, s.Name)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s has the states %q, not %q", made, got, want)
			}
			for _, snap := range want {
				if has, _ := w.Has(w.ctx, storage.FeatureCopy, made, snap); has {
					w.begins(made, snap, states[snap])
				}
			}
			w.begins(made, "", states[present])
		}
		all := storage.Stream{All: true}
		for _, all.Format = range w.both(v, to, all) {
			made := w.through(v, to, all)
			check(made, "two", "one", "two")
			w.ok(w.Free(w.ctx, made))
		}
		up := storage.Stream{Snapshot: "two", All: true}
		for _, up.Format = range w.both(v, to, up) {
			made := w.through(v, to, up)
			check(made, "two", "one", "two")
			next := storage.Stream{Format: up.Format, Snapshot: "three", Base: "two"}
			if slices.Contains(w.both(v, to, next), up.Format) {
				keep("three")
				made = w.through(v, to, next)
				check(made, "three", "one", "two", "three")
				w.ok(w.DeleteSnapshot(w.ctx, v, "three", false))
				w.ok(w.Rollback(w.ctx, v, "two"))
			}
			w.ok(w.Free(w.ctx, made))
		}
		one := storage.Stream{Snapshot: "two"}
		for _, one.Format = range w.both(v, to, one) {
			made := w.through(v, to, one)
			w.begins(made, "", states["two"])
			w.ok(w.Free(w.ctx, made))
		}
		for _, snap := range []string{"two", "one"} {
			w.ok(w.DeleteSnapshot(w.ctx, v, snap, false))
		}
		w.ok(w.Free(w.ctx, v))
	}
	w.empty("streams with snapshots")
}

// through sends a volume to a name.
func (w *world) through(from, to id.Volume, s storage.Stream) id.Volume {
	w.t.Helper()
	made, err := w.Transfer(w.ctx, storage.Transfer{From: from, To: to, Stream: s})
	w.ok(err)
	return made
}

// begins fails unless a volume has the content of a raw file where that has any.
func (w *world) begins(v id.Volume, snap, source string) {
	w.t.Helper()
	got, want := w.content(v, snap), read(w.t, source)
	if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
		w.t.Errorf("%s in state '%s' is not equal to what was copied (%d bytes for %d)", v, snap, len(got), len(want))
	}
}
