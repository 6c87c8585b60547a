package storagetest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// parallel: many at once get a name each, whatever their format.
func parallel(t *testing.T, o Options) {
	many := few(o, 6, 24)
	w := begin(t, o)
	w.ctx = t.Context() // one buffer is not for many
	names, errs := make([]string, many), make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			var v id.Volume
			v, errs[i] = w.Alloc(w.ctx, it, storage.Alloc{Guest: 100, Format: o.Formats[i%len(o.Formats)], Size: 64})
			names[i] = v.Name
		})
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != many {
		t.Errorf("one name for two: %q", names)
	}
	if got := w.all(); !slices.Equal(got, names) {
		t.Errorf("made %q, listed %q", names, got)
	}
	for i := range many {
		wg.Go(func() { errs[i] = w.Free(w.ctx, id.Volume{Storage: it, Name: names[i]}) })
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
	w.empty("removing all at once")
}

func parallelClones(t *testing.T, o Options) {
	many := few(o, 6, 24)
	w := begin(t, o)
	if _, ok := w.pool.(storage.Cloner); !ok {
		t.Skip("the type cannot")
	}
	base, err := w.CreateBase(w.ctx, w.alloc(9000, o.Formats[0], 1024))
	w.ok(err)
	w.ctx = t.Context()
	errs := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			_, errs[i] = w.Clone(w.ctx, base, id.VM(100+i%3), "")
		})
	}
	wg.Wait()
	w.ok(errors.Join(errs...))
	if got := w.all(); len(got) != many+1 {
		t.Errorf("%d clones: %q", many, got)
	}
}

// interrupter ends a context as soon as a program that changes something runs, or a
// moment later.
type interrupter struct {
	run.Runner
	mu    sync.Mutex
	end   context.CancelCauseFunc
	delay time.Duration
}

var errInterrupt = errors.New("received interrupt")

func (i *interrupter) arm(ctx context.Context, delay time.Duration) context.Context {
	i.mu.Lock()
	defer i.mu.Unlock()
	ctx, i.end = context.WithCancelCause(ctx)
	i.delay = delay
	return ctx
}

func (i *interrupter) Run(ctx context.Context, c run.Cmd) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.end != nil && !c.ReadOnly {
		end := i.end
		i.end = nil
		if i.delay == 0 {
			end(errInterrupt)
		} else {
			time.AfterFunc(i.delay, func() { end(errInterrupt) })
		}
	}
	return i.Runner.Run(ctx, c)
}

// ended: what is interrupted leaves nothing.
func ended(t *testing.T, o Options) {
	r := &interrupter{Runner: run.Host{}}
	w := beginWith(t, o, o.Section, r)
	for _, format := range o.Formats {
		ctx := r.arm(w.ctx, 0)
		v, err := w.Alloc(ctx, it, storage.Alloc{Guest: 100, Format: format, Size: 1 << 20})
		if ctx.Err() != nil && !errors.Is(err, errInterrupt) {
			t.Errorf("alloc %s: %v, %v", format, v, err)
		}
		if err == nil { // a type that needs no program
			w.ok(w.Free(w.ctx, v))
		}
		w.empty("an interrupted alloc of " + format)

		big := w.alloc(100, "raw", 512<<10)
		cause := errors.New("received interrupt")
		ctx, cancel := context.WithCancelCause(w.ctx)
		_, err = w.Copy(ctx, storage.Copy{
			Source: big.String(), Storage: it, Guest: 200, Format: format,
			ConvertOptions: storage.ConvertOptions{Progress: func(int64, int64) { cancel(cause) }},
			Allocated:      func(id.Volume) { time.AfterFunc(time.Millisecond, func() { cancel(cause) }) },
		})
		cancel(nil)
		if err != nil && !errors.Is(err, cause) {
			t.Errorf("copy to %s: %v", format, err)
		}
		if err != nil {
			if left := w.all(); !slices.Equal(left, []string{big.Name}) {
				t.Errorf("an interrupted copy leaves %q", left)
			}
		}
		for _, name := range w.all() {
			w.ok(w.Free(w.ctx, id.Volume{Storage: it, Name: name}))
		}
	}
}

// full: a storage without space says so and leaves nothing.
func full(t *testing.T, o Options) {
	if o.Small == nil {
		t.Skip("no way to make a small storage")
	}
	w := beginWith(t, o, o.Small, run.Host{})
	source := random(t, 128<<20)
	for _, format := range o.Formats {
		_, err := w.Copy(w.ctx, storage.Copy{Source: source, Storage: it, Guest: 100, Format: format})
		if err == nil {
			t.Errorf("%s: 128 MiB fit into a small storage", format)
			continue
		}
		if !saysFull(err.Error() + w.said.String()) {
			t.Errorf("%s: the error does not say that the storage is full: %v\n%s", format, err, w.said)
		}
		w.empty("a full storage")
		w.said.Reset()
	}
}

// saysFull: the programs of some types have words of their own for it.
func saysFull(text string) bool {
	return slices.ContainsFunc([]string{"No space left on device", "no space left on device", "out of space", "is full: "}, func(words string) bool { return strings.Contains(text, words) })
}

// missing: a program that is not there is named.
func missing(t *testing.T, o Options) {
	r := &absent{}
	w := beginWith(t, o, o.Section, r)
	r.gone = true
	_, err := w.Alloc(w.ctx, it, storage.Alloc{Guest: 100, Format: o.Formats[0], Size: 1024})
	if err == nil {
		t.Skip("the type needs no program to make a volume")
	}
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "not found") {
		t.Errorf("the error does not say what is missing: %v", err)
	}
	r.gone = false
	w.empty("a missing program")
}

type absent struct {
	run.Host
	gone bool
}

func (a *absent) Run(ctx context.Context, c run.Cmd) error {
	if a.gone {
		c.Path = "/nonexistent/" + c.Name()
	}
	return a.Host.Run(ctx, c)
}

// dry: a dry run tells steps and changes nothing.
func dry(t *testing.T, o Options) {
	w := begin(t, o)
	v := w.alloc(100, o.Formats[0], 1024)
	before := w.all()
	var told bytes.Buffer
	p := plan.New(&told)
	ctx := plan.With(api.WithStreams(t.Context(), api.Streams{Out: w.said, Err: w.said}), p)
	first, err := w.Alloc(ctx, it, storage.Alloc{Guest: 100, Format: o.Formats[0], Size: 1024})
	w.ok(err)
	second, err := w.Copy(ctx, storage.Copy{Source: v.String(), Storage: it, Guest: 100, Format: o.Formats[0]})
	w.ok(err)
	if first == second || first == v {
		t.Errorf("one name for two: %s, %s, %s", v, first, second)
	}
	w.ok(w.Free(ctx, v))
	if p.Steps() < 4 {
		t.Errorf("only told:\n%s", &told)
	}
	if after := w.all(); !slices.Equal(before, after) {
		t.Errorf("had %q, has %q", before, after)
	}
}
