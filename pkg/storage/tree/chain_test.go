package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

const chainVolume = "100/vm-100-disk-0.qcow2"

// A chainLab is a volume whose snapshots are files, and what should be in it.
type chainLab struct {
	*Tree
	t     *testing.T
	model []byte            // what is in the volume
	kept  map[string][]byte // and in its states
}

func newChainLab(t *testing.T, root string) *chainLab {
	t.Helper()
	needs(t, "qemu-img")
	needs(t, "qemu-io")
	l := &chainLab{Tree: aTree(root), t: t, kept: map[string][]byte{}}
	l.StateFiles = true
	name, err := l.Alloc(t.Context(), storage.Alloc{Guest: 100, Format: "qcow2", Size: 2048})
	check(t, err)
	if name != chainVolume {
		t.Fatalf("made %s", name)
	}
	l.model = make([]byte, 2<<20)
	return l
}

// copy makes another of it.
func (l *chainLab) copy(t *testing.T) *chainLab {
	t.Helper()
	root := t.TempDir()
	check(t, os.CopyFS(root, os.DirFS(l.Root)))
	c := &chainLab{Tree: aTree(root), t: t, model: slices.Clone(l.model), kept: maps.Clone(l.kept)}
	c.StateFiles = true
	return c
}

func (l *chainLab) file(name string) string { return filepath.Join(l.Root, "images/100", name) }

func (l *chainLab) image() string { return l.file("vm-100-disk-0.qcow2") }

// put writes a byte over a range of the volume; 0 makes a hole.
func (l *chainLab) put(value byte, at, size int) {
	l.t.Helper()
	line := fmt.Sprintf("write -P %d %d %d", value, at, size)
	if value == 0 {
		line = fmt.Sprintf("write -z -u %d %d", at, size)
	}
	_, err := run.Output(l.t.Context(), run.Host{}, "qemu-io", "-f", "qcow2", "-c", line, l.image())
	check(l.t, err)
	copy(l.model[at:], bytes.Repeat([]byte{value}, size))
}

func (l *chainLab) snap(name string) {
	l.t.Helper()
	check(l.t, l.Snapshot(l.t.Context(), chainVolume, name))
	l.kept[name] = slices.Clone(l.model)
}

func (l *chainLab) grow(size int) {
	l.t.Helper()
	check(l.t, l.Resize(l.t.Context(), chainVolume, int64(size), false))
	l.model = append(l.model, make([]byte, size-len(l.model))...)
}

func (l *chainLab) del(name string) {
	l.t.Helper()
	check(l.t, l.DeleteSnapshot(l.t.Context(), chainVolume, name, false))
	delete(l.kept, name)
}

func (l *chainLab) back(name string) {
	l.t.Helper()
	check(l.t, l.Rollback(l.t.Context(), chainVolume, name))
	l.model = slices.Clone(l.kept[name])
}

// content reads the volume, or a state of it.
func (l *chainLab) content(snap string) []byte {
	l.t.Helper()
	check(l.t, l.ActivateVolume(l.t.Context(), chainVolume, snap))
	path, err := l.Path(chainVolume, snap)
	check(l.t, err)
	out := filepath.Join(l.t.TempDir(), "raw")
	_, err = run.Output(l.t.Context(), run.Host{}, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, out)
	check(l.t, err)
	data, err := os.ReadFile(out)
	check(l.t, err)
	return data
}

// right fails unless all is as it should be, and nothing is left that does not belong there.
func (l *chainLab) right(after string, states ...string) {
	l.t.Helper()
	if !bytes.Equal(l.content(""), l.model) {
		l.t.Errorf("after %s: the volume is not what was written", after)
	}
	var got []string
	list, err := l.Snapshots(l.t.Context(), chainVolume)
	check(l.t, err)
	for _, s := range list {
		got = append(got, s.Name)
		if want, ok := l.kept[s.Name]; ok && !bytes.Equal(l.content(s.Name), want) {
			l.t.Errorf("after %s: state %s is not what was written", after, s.Name)
		}
	}
	if !slices.Equal(got, states) {
		l.t.Errorf("after %s: the states are %q, want %q", after, got, states)
	}
	want := []string{"vm-100-disk-0.qcow2"}
	for _, s := range states {
		want = append(want, "snap-"+s+"-vm-100-disk-0.qcow2")
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, l.files()); diff != "" {
		l.t.Errorf("after %s: files: %s", after, diff)
	}
	volumes, err := l.List(l.t.Context(), storage.Filter{Content: []storage.Content{storage.Images}})
	check(l.t, err)
	if len(volumes) != 1 || volumes[0].Name != chainVolume || volumes[0].Size != int64(len(l.model)) {
		l.t.Errorf("after %s: listed %+v", after, volumes)
	}
}

func (l *chainLab) files() []string {
	found, err := names(filepath.Dir(l.image()))
	check(l.t, err)
	return found
}

// three makes states one, two, three with data over each other, holes and growth between.
func (l *chainLab) three() {
	l.put(1, 0, 700<<10)
	l.snap("one")
	l.put(2, 64<<10, 128<<10)
	l.put(0, 300<<10, 200<<10)
	l.grow(3 << 20)
	l.put(2, 3<<20-1024, 1024)
	l.snap("two")
	l.put(3, 100<<10+512, 1536)
	l.put(0, 3<<20-512, 512)
	l.snap("three")
	l.grow(3<<20 + 4096)
	l.put(4, 1000, 24)
	l.put(4, 3<<20, 100)
}

func TestChainMerges(t *testing.T) {
	for _, order := range [][]string{
		{"one", "two", "three"}, {"three", "two", "one"}, {"two", "one", "three"},
	} {
		t.Run(strings.Join(order, " "), func(t *testing.T) {
			l := newChainLab(t, t.TempDir())
			l.three()
			states := []string{"one", "two", "three"}
			l.right("three snapshots", states...)
			for _, name := range order {
				l.del(name)
				states = slices.DeleteFunc(states, func(s string) bool { return s == name })
				l.right("removal of "+name, states...)
			}
			if parent, err := l.parentOf(t.Context(), l.image()); err != nil || parent != "" {
				t.Errorf("the volume still lies on %q: %v", parent, err)
			}
		})
	}
}

// TestChainHistory: any history of changes gives what was written.
func TestChainHistory(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	r := rand.New(rand.NewPCG(1, 2))
	var states []string
	for i := range 40 {
		what := ""
		switch r.IntN(7) {
		case 0, 1:
			size := 512 * (1 + r.IntN(600))
			at := 512 * r.IntN((len(l.model)-size)/512)
			l.put(byte(i%5), at, size)
			continue
		case 2, 3:
			name := "s" + strconv.Itoa(i)
			what = "snapshot " + name
			l.snap(name)
			states = append(states, name)
		case 4:
			l.grow(len(l.model) + 512*r.IntN(200))
			continue
		case 5:
			if len(states) == 0 {
				continue
			}
			n := r.IntN(len(states))
			what = "removal of " + states[n]
			l.del(states[n])
			states = slices.Delete(states, n, n+1)
		case 6:
			if len(states) == 0 {
				continue
			}
			what = "rollback to " + states[len(states)-1]
			l.back(states[len(states)-1])
		}
		l.right(fmt.Sprintf("%d: %s", i, what), states...)
		if t.Failed() {
			return
		}
	}
}

func TestChainRollback(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	l.three()
	err := l.CanRollback(t.Context(), chainVolume, "one")
	blocked, ok := errors.AsType[*storage.BlockedError](err)
	if !ok || !slices.Equal(blocked.Blockers, []string{"two", "three"}) || err.Error() != "can't rollback, 'one' is not most recent snapshot on '"+chainVolume+"'" {
		t.Errorf("got %v", err)
	}
	if err := l.CanRollback(t.Context(), chainVolume, "none"); err == nil || err.Error() != "can't rollback, snapshot 'none' does not exist on '"+chainVolume+"'" {
		t.Errorf("got %v", err)
	}
	l.back("three")
	l.right("a rollback", "one", "two", "three")
}

// TestChainFeatures: what a volume in parts cannot do, and how it is named.
func TestChainFeatures(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	ctx := t.Context()
	l.put(1, 0, 4096)
	l.snap("one")
	for _, snap := range []string{"one", "current", "", "a b", "1x", "../x"} {
		if err := l.Snapshot(ctx, chainVolume, snap); err == nil {
			t.Errorf("a snapshot %q was taken", snap)
		}
	}
	if _, err := l.Rename(ctx, chainVolume, 200, ""); err == nil || err.Error() != "we can't rename volume if a snapshot backed by a volume-chain exists" {
		t.Errorf("rename: %v", err)
	}
	if _, err := l.CreateBase(ctx, chainVolume); err == nil {
		t.Error("a volume with snapshots became a base")
	}
	if got := l.ExportFormats(ctx, chainVolume, storage.Stream{All: true}); len(got) > 0 {
		t.Errorf("all of it goes in %q", got)
	}
	if got := l.ExportFormats(ctx, chainVolume, storage.Stream{}); !slices.Equal(got, []string{"raw+size"}) {
		t.Errorf("the present state goes in %q", got)
	}
	if _, err := Parse("100/snap-one-vm-100-disk-0.qcow2"); err == nil || err.Error() != "'snap-one-vm-100-disk-0.qcow2' is a snapshot filename, not a volume!" {
		t.Errorf("a state is a volume: %v", err)
	}
	if path, err := l.Path(chainVolume, "one"); err != nil || path != l.file("snap-one-vm-100-disk-0.qcow2") {
		t.Errorf("path %s, %v", path, err)
	}
	if content, name := l.Locate(ctx, l.file("snap-one-vm-100-disk-0.qcow2")); content != "" {
		t.Errorf("a state is volume %s", name)
	}
	raw, err := l.Alloc(ctx, storage.Alloc{Guest: 100, Format: "raw", Size: 64})
	check(t, err)
	if err := l.Snapshot(ctx, raw, "one"); err == nil || err.Error() != "can't snapshot this image format" {
		t.Errorf("snapshot of a raw image: %v", err)
	}
	check(t, l.Free(ctx, raw))
	if err := l.DeleteSnapshot(ctx, chainVolume, "one", true); err == nil {
		t.Error("a state was removed that the volume lies on")
	}
	l.right("what cannot be", "one")
	check(t, l.Free(ctx, chainVolume))
	if left, _ := filepath.Glob(l.Root + "/images/*"); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestChainOfClone: a linked clone keeps its base below its states.
func TestChainOfClone(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	ctx := t.Context()
	l.put(1, 0, 100<<10)
	base, err := l.CreateBase(ctx, chainVolume)
	check(t, err)
	clone, err := l.Clone(ctx, base, 200, "")
	check(t, err)
	check(t, l.Snapshot(ctx, clone, "one"))
	check(t, l.Snapshot(ctx, clone, "two"))
	list, err := l.List(ctx, storage.Filter{Content: []storage.Content{storage.Images}, Guest: 200})
	check(t, err)
	if len(list) != 1 || list[0].Name != clone {
		t.Errorf("listed %+v, want %s", list, clone)
	}
	if err := l.Free(ctx, base); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("removing the base: %v", err)
	}
	check(t, l.DeleteSnapshot(ctx, clone, "one", false))
	check(t, l.DeleteSnapshot(ctx, clone, "two", false))
	path, err := l.Path(clone, "")
	check(t, err)
	if parent, err := l.parentOf(ctx, path); err != nil || parent != l.file("base-100-disk-0.qcow2") {
		t.Errorf("the clone lies on %s, %v", parent, err)
	}
	check(t, l.Free(ctx, clone))
	check(t, l.Free(ctx, base))
}

// TestChainNames: a file that could be a state of two volumes is that of the longer name.
func TestChainNames(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	ctx := t.Context()
	other, err := l.Alloc(ctx, storage.Alloc{Guest: 100, Format: "qcow2", File: "x-vm-100-disk-0.qcow2", Size: 64})
	check(t, err)
	check(t, l.Snapshot(ctx, other, "one"))
	if err := l.Snapshot(ctx, chainVolume, "one-x"); !errors.Is(err, storage.ErrExists) {
		t.Errorf("one file for two: %v", err)
	}
	check(t, l.Free(ctx, chainVolume))
	if states, err := l.Snapshots(ctx, other); err != nil || len(states) != 1 {
		t.Errorf("the other has %+v, %v", states, err)
	}
	// A number is free when nothing of the volume is left.
	check(t, os.WriteFile(l.file("snap-old-vm-100-disk-0.qcow2"), nil, 0o644))
	name, err := l.Alloc(ctx, storage.Alloc{Guest: 100, Format: "qcow2", Size: 64})
	check(t, err)
	if name == chainVolume {
		t.Error("a new volume has a state")
	}
	if _, err := l.Alloc(ctx, storage.Alloc{Guest: 100, Format: "qcow2", File: "vm-100-disk-0.qcow2", Size: 64}); !errors.Is(err, storage.ErrExists) {
		t.Errorf("a new volume has a state: %v", err)
	}
	check(t, l.Free(ctx, chainVolume))
	if _, err := os.Stat(l.file("snap-old-vm-100-disk-0.qcow2")); err == nil {
		t.Error("a state is left of nothing")
	}
}

type killedError struct{}

// killedAt runs do, which dies before its n-th step. It tells whether it came so far.
func (l *chainLab) killedAt(n int, do func() error) (killed string, err error) {
	defer func() {
		l.step = nil
		if r := recover(); r != nil {
			if _, ok := r.(killedError); !ok {
				panic(r)
			}
		}
	}()
	l.step = func(what string) {
		if n--; n < 0 {
			killed = what
			panic(killedError{})
		}
	}
	return "", do()
}

// TestChainKilled: at each step the old chain or the new one is whole, and what is left goes
// with the next command.
func TestChainKilled(t *testing.T) {
	first := newChainLab(t, t.TempDir())
	first.three()
	for _, c := range []struct {
		name  string
		do    func(l *chainLab) error
		after []string // the states that are there then
		model string   // the one that the volume is then
	}{
		{"snapshot", func(l *chainLab) error { return l.Snapshot(t.Context(), chainVolume, "four") }, []string{"one", "two", "three", "four"}, ""},
		{"remove the oldest", func(l *chainLab) error { return l.DeleteSnapshot(t.Context(), chainVolume, "one", false) }, []string{"two", "three"}, ""},
		{"remove the middle", func(l *chainLab) error { return l.DeleteSnapshot(t.Context(), chainVolume, "two", false) }, []string{"one", "three"}, ""},
		{"remove the newest", func(l *chainLab) error { return l.DeleteSnapshot(t.Context(), chainVolume, "three", false) }, []string{"one", "two"}, ""},
		{"rollback", func(l *chainLab) error { return l.Rollback(t.Context(), chainVolume, "three") }, []string{"one", "two", "three"}, "three"},
		{"replace", func(l *chainLab) error { return l.Replace(t.Context(), chainVolume, "three") }, []string{"one", "two"}, "three"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := 0; ; n++ {
				l := first.copy(t)
				killed, err := l.killedAt(n, func() error { return c.do(l) })
				if killed == "" {
					check(t, err)
					break
				}
				// Whatever it was that died: the volume has what it had.
				if !bytes.Equal(l.content(""), l.model) {
					t.Fatalf("killed before '%s': the volume is not what was written", killed)
				}
				for _, s := range c.after {
					if want, ok := l.kept[s]; ok && !bytes.Equal(l.content(s), want) {
						t.Errorf("killed before '%s': state %s is not what was written", killed, s)
					}
				}
				// The second try does the rest.
				check(t, c.do(l))
				if c.model != "" {
					l.model = slices.Clone(l.kept[c.model])
				}
				l.right("a kill before '"+killed+"' and a second try", c.after...)
			}
		})
	}
}

// TestChainKilledFree: what is left of a volume that was being removed is listed, or goes with
// the next try.
func TestChainKilledFree(t *testing.T) {
	first := newChainLab(t, t.TempDir())
	first.three()
	for n := range 4 {
		l := first.copy(t)
		killed, err := l.killedAt(n, func() error { return l.Free(t.Context(), chainVolume) })
		if killed == "" {
			check(t, err)
			return
		}
		list, err := l.List(t.Context(), storage.Filter{Content: []storage.Content{storage.Images}})
		check(t, err)
		if len(list) != 1 || list[0].Name != chainVolume {
			t.Errorf("killed before '%s': listed %+v", killed, list)
		}
		check(t, l.Free(t.Context(), chainVolume))
		if left, _ := filepath.Glob(l.Root + "/images/*/*"); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
}

// TestChainWithoutLinks: where a file cannot have two names, there is a moment in which the
// volume has none.
func TestChainWithoutLinks(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	l.three()
	next := nextPath(l.image())
	check(t, l.overlay(t.Context(), l.image(), l.image(), statePath(l.image(), "four")))
	check(t, os.Rename(l.image(), statePath(l.image(), "four")))
	if _, err := os.Stat(next); err != nil {
		t.Fatal(err)
	}
	info, err := l.Info(t.Context(), chainVolume)
	check(t, err)
	if info.Size != int64(len(l.model)) {
		t.Errorf("%+v", info)
	}
	l.right("a kill", "one", "two", "three", "four")
}

// TestChainFull: what does not fit leaves all as it was.
func TestChainFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	l := newChainLab(t, dir)
	l.three()
	states := []string{"one", "two", "three"}
	fill := func(spare int64) {
		t.Helper()
		var st syscall.Statfs_t
		check(t, syscall.Statfs(dir, &st))
		check(t, os.WriteFile(dir+"/filler", make([]byte, int64(st.Bavail)*st.Bsize-spare), 0o600)) //nolint:gosec,unconvert // its type differs between machines
	}
	fill(16 << 10)
	if err := l.Snapshot(t.Context(), chainVolume, "four"); err == nil {
		t.Error("a snapshot fits into nothing")
	}
	l.right("a snapshot that does not fit", states...)
	if err := l.Rollback(t.Context(), chainVolume, "three"); err == nil {
		t.Error("a rollback fits into nothing")
	}
	l.right("a rollback that does not fit", states...)
	check(t, os.Remove(dir+"/filler"))
	// What lies above the state has to grow for these.
	for _, c := range []struct{ name, after string }{{"two", "one three"}, {"one", "three"}} {
		fill(4 << 10)
		if err := l.DeleteSnapshot(t.Context(), chainVolume, c.name, false); err != nil {
			t.Logf("%s: %v", c.name, err)
			delete(l.kept, c.name)
			l.right("a removal that does not fit", states...)
			check(t, os.Remove(dir+"/filler"))
			check(t, l.DeleteSnapshot(t.Context(), chainVolume, c.name, false))
		} else {
			_ = os.Remove(dir + "/filler")
			delete(l.kept, c.name)
		}
		states = strings.Fields(c.after)
		l.right("a removal when there is room", states...)
	}
}

// TestChainEnded: a snapshot that is called off leaves nothing.
func TestChainEnded(t *testing.T) {
	l := newChainLab(t, t.TempDir())
	l.put(1, 0, 4096)
	stop := errors.New("received interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	l.step = func(string) { cancel(stop) }
	if err := l.Snapshot(ctx, chainVolume, "one"); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	l.step = nil
	l.right("an end")
}
