// Package storagetest is what every type of storage must pass. A type's own test
// calls [Run] with a way to make an empty storage, then tests what is peculiar to it.
package storagetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Options says how to make the storages of one type.
type Options struct {
	Type storage.Type
	// Section makes an empty storage and returns the options of its section of
	// storage.cfg, as lines "key value". What it sets up it takes down with t.Cleanup.
	Section func(t *testing.T) []string
	// Small is Section for a storage that has no more than 64 MiB. Nil where there is no
	// way to make one.
	Small func(t *testing.T) []string
	// Secrets are given as if they had been options of a new section.
	Secrets map[string]string
	// Formats of images to go through; nil means all of the type but subvol.
	Formats []string
	// Unlinked says that clones may not depend on their base, which then can be removed.
	Unlinked bool
	// Volumes is for types that can make no volumes: the sizes in bytes of those that
	// Section puts on the storage, two or more of at least 4 MiB, the smaller one first.
	Volumes []int64
	// Missing is the name of a volume that such a storage could have and has not.
	Missing string
	// Slow says that each step asks a server: there are fewer rounds then, unless
	// VIRTSMITH_TEST_ALL is set.
	Slow bool
}

// few returns the first of two, or where there is time the second, which is more.
func few[T any](o Options, brief, all T) T {
	if o.Slow && os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		return brief
	}
	return all
}

// Run puts a type through the contract.
func Run(t *testing.T, o Options) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skipf("needs qemu-img: %v", err)
	}
	if o.Formats == nil {
		for _, format := range o.Type.Formats {
			if format != "subvol" {
				o.Formats = append(o.Formats, format)
			}
		}
		if len(o.Type.Formats) == 0 {
			o.Formats = []string{"raw"} // as those that keep nothing but blocks
		}
	}
	type test struct {
		name string
		run  func(*testing.T, Options)
	}
	tests := []test{
		{"Names", names},
		{"Life", life},
		{"Given name", givenName},
		{"Free what is not there", freeMissing},
		{"Status", status},
		{"Resize", resize},
		{"Snapshots", snapshots},
		{"Linked clones", clones},
		{"Rename", rename},
		{"Copies are equal", copies},
		{"Many at once", parallel},
		{"Many clones at once", parallelClones},
		{"Ended in the middle", ended},
		{"Full", full},
		{"Program missing", missing},
		{"Dry run", dry},
		{"Streams", streams},
		{"Streams to taken names", streamNames},
		{"Streams to one name at once", streamRace},
		{"Streams that are not whole", streamFaults},
		{"Streams that do not fit", streamFull},
		{"Streams with snapshots", streamSnapshots},
	}
	if o.Volumes != nil {
		tests = []test{
			{"Names", names},
			{"Found", found},
			{"Not found", notFound},
			{"Only used", onlyUsed},
			{"Copies are equal", filled},
			{"Many at once", asked},
			{"Ended in the middle", interrupted},
			{"Program missing", unlisted},
			{"Dry run", untouched},
			{"Ready again", again},
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, o) })
	}
}

// A world is a service with one storage, called it, and what it has said.
type world struct {
	*storage.Service
	t    *testing.T
	ctx  context.Context //nolint:containedctx // that of the test
	said *bytes.Buffer
	pool storage.Pool
}

// it is the name of the storage under test.
const it id.Storage = "it"

// lockPatience is how long one waits for a storage's lock: many change it at once, and
// each may take a minute on an emulated machine.
const lockPatience = 20 * time.Minute

// begin makes a world with an empty storage.
func begin(t *testing.T, o Options) *world {
	return beginWith(t, o, o.Section, run.Host{})
}

func beginWith(t *testing.T, o Options, section func(*testing.T) []string, r run.Runner) *world {
	t.Helper()
	text := o.Type.Name + ": " + string(it) + "\n"
	for _, line := range section(t) {
		text += "\t" + line + "\n"
	}
	root := t.TempDir()
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: r, Types: []storage.Type{o.Type}, QEMUImg: "qemu-img", Zone: time.UTC,
		Config:  func(context.Context) (string, error) { return text, nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
		Lock: func(ctx context.Context, name string, fn func(context.Context) error) error {
			return file.WithLock(ctx, filepath.Join(root, name), file.LockOptions{Patience: lockPatience}, fn)
		},
	})
	w := &world{Service: s, t: t, said: &bytes.Buffer{}}
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: w.said})
	var err error
	w.pool, err = s.Pool(w.ctx, it)
	w.ok(err)
	if c, ok := w.pool.(storage.Configurer); ok {
		w.ok(c.Added(w.ctx, o.Secrets))
		t.Cleanup(func() { _ = c.Removed(context.WithoutCancel(w.ctx)) })
	}
	w.ok(s.Activate(w.ctx, it))
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.said)
	}
}

func (w *world) alloc(guest id.VM, format string, kib int64) id.Volume {
	w.t.Helper()
	v, err := w.Alloc(w.ctx, it, storage.Alloc{Guest: guest, Format: format, Size: kib})
	w.ok(err)
	return v
}

// all lists the names of the images there are.
func (w *world) all() []string {
	w.t.Helper()
	list, err := w.List(w.ctx, it, storage.Filter{Content: []storage.Content{storage.Images}})
	w.ok(err)
	found := []string{}
	for _, v := range list {
		found = append(found, v.Name)
	}
	return found
}

// empty fails unless nothing is left.
func (w *world) empty(after string) {
	w.t.Helper()
	if left := w.all(); len(left) > 0 {
		w.t.Errorf("after %s there is left: %s\n%s", after, strings.Join(left, ", "), w.said)
	}
}

// image runs qemu-img and returns what it prints.
func (w *world) image(args ...string) string {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), "qemu-img", args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pattern makes a file of the given size with data at its start, its end and around
// each of some places, and holes between.
func pattern(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // Truncate and WriteAt have said what there is to say
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i, at := range []int64{0, 65535, 1 << 20, size/2 - 3, size - 600, size - 1} {
		data := []byte(fmt.Sprintf("<%d>", i))
		if at < 0 || at+int64(len(data)) > size {
			data = []byte{byte(i + 1)}
		}
		if at < 0 || at >= size {
			continue
		}
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// write fills a volume with the content of a raw file.
func (w *world) write(v id.Volume, source string) {
	w.t.Helper()
	w.ok(w.Convert(w.ctx, source, v.String(), storage.ConvertOptions{}))
}

// same fails unless a volume has the content of a raw file, followed by zeros.
func (w *world) same(v id.Volume, snap, source string) {
	w.t.Helper()
	got, want := w.content(v, snap), read(w.t, source)
	if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
		w.t.Errorf("%s is not equal to what was copied (%d bytes for %d)", v, len(got), len(want))
	}
}

// content reads a volume, or its state in a snapshot.
func (w *world) content(v id.Volume, snap string) []byte {
	w.t.Helper()
	w.ok(w.ActivateVolumes(w.ctx, snap, v))
	img, err := w.Image(w.ctx, v.String(), snap, false)
	w.ok(err)
	out := filepath.Join(w.t.TempDir(), "out.raw")
	args := []string{"convert", "-O", "raw"}
	if img.Snapshot != "" {
		args = append(args, "-l", "snapshot.name="+img.Snapshot)
	}
	if img.Options {
		args = append(args, "--image-opts")
	} else {
		args = append(args, "-f", img.Format)
	}
	w.image(append(args, img.Path, out)...)
	return read(w.t, out)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// random makes a file that cannot be stored in less than its size.
func random(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "random.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // CopyN has said what there is to say
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	return path
}

// Tmpfs mounts a file system of the given size and returns its folder. It skips the
// test where that is not possible.
func Tmpfs(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
