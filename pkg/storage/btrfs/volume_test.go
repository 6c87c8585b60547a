package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// A world has one storage, called it, on a btrfs of its own.
type world struct {
	*storage.Service
	t    *testing.T
	ctx  context.Context //nolint:containedctx // that of the test
	top  string          // where the btrfs is mounted
	path string          // the folder of the storage
	said *bytes.Buffer
}

func begin(t *testing.T, options ...string) *world {
	t.Helper()
	return beginWith(t, run.Host{}, options...)
}

func beginWith(t *testing.T, r run.Runner, options ...string) *world {
	t.Helper()
	w := &world{t: t, top: storagetest.Loop(t, 256, "mkfs.btrfs", "-q"), said: &bytes.Buffer{}}
	w.path = filepath.Join(w.top, "volumes")
	text := "btrfs: it\n\tpath " + w.path + "\n"
	for _, line := range options {
		text += "\t" + line + "\n"
	}
	w.Service = storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: r, Types: []storage.Type{btrfs.Type()}, QEMUImg: "qemu-img", Zone: time.UTC,
		Config: func(context.Context) (string, error) { return text, nil },
	})
	w.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: w.said})
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.said)
	}
}

func (w *world) alloc(format string, kib int64) id.Volume {
	w.t.Helper()
	v, err := w.Alloc(w.ctx, "it", storage.Alloc{Guest: 100, Format: format, Size: kib})
	w.ok(err)
	return v
}

func (w *world) file(v id.Volume, snap string) string {
	w.t.Helper()
	path, err := w.Path(w.ctx, v, snap)
	w.ok(err)
	return path
}

func (w *world) put(v id.Volume, text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.file(v, ""), os.O_WRONLY, 0)
	w.ok(err)
	_, err = f.WriteString(text)
	w.ok(errors.Join(err, f.Close()))
}

func (w *world) starts(v id.Volume, snap, text string) {
	w.t.Helper()
	data, err := os.ReadFile(w.file(v, snap))
	w.ok(err)
	if !bytes.HasPrefix(data, []byte(text)) {
		w.t.Errorf("%s in state '%s' is %q, not %q", v, snap, data[:len(text)], text)
	}
}

func (w *world) volumes() []string {
	w.t.Helper()
	list, err := w.List(w.ctx, "it", storage.Filter{Content: []storage.Content{storage.Images}})
	w.ok(err)
	found := []string{}
	for _, v := range list {
		found = append(found, v.Name)
	}
	return found
}

// left lists what is in the folders of guests.
func (w *world) left() []string {
	w.t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.path, "images/*/*"))
	w.ok(err)
	for i := range paths {
		paths[i] = strings.TrimPrefix(paths[i], w.path+"/images/")
	}
	return paths
}

func (w *world) snapshots(v id.Volume) []string {
	w.t.Helper()
	list, err := w.Snapshots(w.ctx, v)
	w.ok(err)
	found := []string{}
	for _, s := range list {
		if time.Since(s.Created).Abs() > time.Hour {
			w.t.Errorf("snapshot %s of %s was made %s", s.Name, v, s.Created)
		}
		found = append(found, s.Name)
	}
	return found
}

// TestLayout: where volumes lie.
func TestLayout(t *testing.T) {
	w := begin(t)
	for format, want := range map[string][]string{
		"raw":    {"it:100/vm-100-disk-0.raw", "images/100/vm-100-disk-0/disk.raw", "images/100/vm-100-disk-0@s/disk.raw"},
		"subvol": {"it:100/subvol-100-disk-1.subvol", "images/100/subvol-100-disk-1.subvol", "images/100/subvol-100-disk-1.subvol@s"},
		"qcow2":  {"it:100/vm-100-disk-2.qcow2", "images/100/vm-100-disk-2.qcow2", "images/100/vm-100-disk-2.qcow2"},
	} {
		v, err := id.ParseVolume(want[0])
		w.ok(err)
		for i, snap := range []string{"", "s"} {
			if got, err := w.Path(w.ctx, v, snap); err != nil || got != filepath.Join(w.path, want[i+1]) {
				t.Errorf("%s %s in state '%s' lies at %s, %v", format, v, snap, got, err)
			}
		}
	}
	made := []string{w.alloc("raw", 1024).Name, w.alloc("subvol", 0).Name, w.alloc("qcow2", 1024).Name}
	want := []string{"100/vm-100-disk-0.raw", "100/subvol-100-disk-1.subvol", "100/vm-100-disk-2.qcow2"}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, w.volumes()); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	for _, name := range want {
		v := id.Volume{Storage: "it", Name: name}
		c, found, err := w.Locate(w.ctx, w.file(v, ""))
		if err != nil || c != storage.Images || found != v {
			t.Errorf("at the path of %s is %s %s: %v", v, c, found, err)
		}
	}
}

// TestNames: what would leave the folder of a guest, or be two volumes at once, is no name.
func TestNames(t *testing.T) {
	w := begin(t)
	for _, name := range []string{"100/...raw", "100/..raw", "100/vm-100-disk-0@s.raw", "100/a.qcow2.raw", "100/subvol-100-disk-0.subvol.raw", "100/x@y.subvol"} {
		if n, err := w.Parse(w.ctx, id.Volume{Storage: "it", Name: name}); err == nil {
			t.Errorf("%s is %+v", name, n)
		}
	}
	if n, err := w.Parse(w.ctx, id.Volume{Storage: "it", Name: "iso/a@b.iso"}); err != nil || n.Content != storage.ISO {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestNotBtrfs: another file system is told apart.
func TestNotBtrfs(t *testing.T) {
	dir := storagetest.Tmpfs(t, 8)
	s := storage.New(storage.Options{
		Types: []storage.Type{btrfs.Type()}, Runner: run.Host{},
		Config: func(context.Context) (string, error) { return "btrfs: it\n\tpath " + dir + "\n", nil },
	})
	if err := s.Activate(t.Context(), "it"); err == nil || err.Error() != "'"+dir+"' is not a btrfs file system" {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("made %v", files)
	}
}

// TestMountpoint: a subvolume is on a device of its own but is no mount point.
func TestMountpoint(t *testing.T) {
	w := begin(t, "is_mountpoint 1")
	if out, err := exec.CommandContext(t.Context(), "btrfs", "subvolume", "create", w.path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := w.Activate(w.ctx, "it"); err == nil || !strings.Contains(err.Error(), "expected to be a mount point but is not mounted") {
		t.Error(err)
	}
	w.ok(unix.Mount(w.path, w.path, "", unix.MS_BIND, ""))
	defer unix.Unmount(w.path, 0) //nolint:errcheck // the last thing done
	w.ok(w.Activate(w.ctx, "it"))
}

// TestNoCOW: raw images are written in place where that is wanted.
func TestNoCOW(t *testing.T) {
	for options, want := range map[string]bool{"nocow 1": true, "nocow 0": false} {
		w := begin(t, options)
		f, err := os.Open(w.file(w.alloc("raw", 1024), ""))
		w.ok(err)
		flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		w.ok(errors.Join(err, f.Close()))
		if got := flags&0x00800000 != 0; got != want {
			t.Errorf("%s: in place is %t", options, got)
		}
	}
}

// TestQuota: a container's volume is bounded where quotas are enabled, and not made where
// it was to be bounded but cannot be.
func TestQuota(t *testing.T) {
	w := begin(t)
	_, err := w.Alloc(w.ctx, "it", storage.Alloc{Guest: 100, Format: "subvol", Size: 4096})
	if err == nil || !strings.Contains(err.Error(), "use an unsized subvolume or a raw file") {
		t.Error(err)
	}
	if left := w.left(); len(left) > 0 {
		t.Errorf("there is left %q", left)
	}
	if out, err := exec.CommandContext(t.Context(), "btrfs", "quota", "enable", w.top).CombinedOutput(); err != nil {
		t.Skipf("no quotas: %v\n%s", err, out)
	}
	v := w.alloc("subvol", 4096)
	if info, err := w.Info(w.ctx, v); err != nil || info.Size != 4<<20 || info.Format != "subvol" {
		t.Errorf("%+v, %v", info, err)
	}
	big := filepath.Join(w.file(v, ""), "big")
	if err := os.WriteFile(big, make([]byte, 6<<20), 0o600); !errors.Is(err, unix.EDQUOT) {
		t.Errorf("6 MiB in 4: %v", err)
	}
	w.ok(w.Resize(w.ctx, v, 32<<20, false))
	w.ok(os.WriteFile(big, make([]byte, 6<<20), 0o600))
	list, err := w.List(w.ctx, "it", storage.Filter{Content: []storage.Content{storage.Images}})
	w.ok(err)
	if len(list) != 1 || list[0].Size != 32<<20 {
		t.Errorf("%+v", list)
	}
	w.ok(w.Free(w.ctx, v))
}

// TestFolders: the volume of a container has states and clones.
func TestFolders(t *testing.T) {
	w := begin(t)
	v := w.alloc("subvol", 0)
	note := func(v id.Volume, text string) {
		t.Helper()
		w.ok(os.WriteFile(filepath.Join(w.file(v, ""), "note"), []byte(text), 0o600))
	}
	says := func(v id.Volume, snap, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(w.file(v, snap), "note")); err != nil || string(got) != want {
			t.Errorf("%s in state '%s' says %q, %v", v, snap, got, err)
		}
	}
	note(v, "one")
	w.ok(w.Snapshot(w.ctx, v, "one"))
	note(v, "two")
	says(v, "one", "one")
	if err := w.Snapshot(w.ctx, v, "one"); !errors.Is(err, storage.ErrExists) {
		t.Errorf("a second snapshot of one name: %v", err)
	}
	w.ok(w.Rollback(w.ctx, v, "one"))
	says(v, "", "one")
	w.ok(w.DeleteSnapshot(w.ctx, v, "one", false))
	base, err := w.CreateBase(w.ctx, v)
	w.ok(err)
	if base.Name != "100/base-100-disk-0.subvol" && base.Name != "100/base-subvol-100-disk-0.subvol" {
		t.Errorf("the base is %s", base)
	}
	if err := os.WriteFile(filepath.Join(w.file(base, ""), "note"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("a base was written to: %v", err)
	}
	clone, err := w.Clone(w.ctx, base, 200, "")
	w.ok(err)
	note(clone, "clone")
	says(base, "", "one")
	w.ok(w.Free(w.ctx, base))
	w.ok(w.Free(w.ctx, clone))
	if left := w.left(); len(left) > 0 {
		t.Errorf("there is left %q", left)
	}
}

// TestSnapshotsMove: a volume takes its states with it, in their order, and goes with them.
func TestSnapshotsMove(t *testing.T) {
	w := begin(t)
	v := w.alloc("raw", 1024)
	states := []string{"zero", "beta", "alpha"}
	for _, snap := range states {
		w.put(v, snap)
		w.ok(w.Snapshot(w.ctx, v, snap))
	}
	w.put(v, "now")
	moved, err := w.Rename(w.ctx, v, 200, "")
	w.ok(err)
	if diff := cmp.Diff(states, w.snapshots(moved)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for _, snap := range states {
		w.starts(moved, snap, snap)
	}
	w.starts(moved, "", "now")
	clone, err := w.Clone(w.ctx, moved, 300, "beta")
	w.ok(err)
	w.starts(clone, "", "beta")
	w.ok(w.Free(w.ctx, clone))
	if base, err := w.CreateBase(w.ctx, moved); err != nil || len(w.snapshots(base)) != 3 {
		t.Errorf("%s has the states %q, %v", base, w.snapshots(base), err)
	} else {
		w.ok(w.Free(w.ctx, base))
	}
	if left := w.left(); len(left) > 0 {
		t.Errorf("there is left %q", left)
	}
}

// TestBusy: a volume that is in use keeps working when it is removed, and its states can be
// made while it is written to.
func TestBusy(t *testing.T) {
	w := begin(t)
	v := w.alloc("raw", 1024)
	f, err := os.OpenFile(w.file(v, ""), os.O_RDWR, 0)
	w.ok(err)
	defer f.Close() //nolint:errcheck // only read
	_, err = f.WriteString("before")
	w.ok(err)
	w.ok(w.Snapshot(w.ctx, v, "s"))
	_, err = f.WriteAt([]byte("AFTER "), 0)
	w.ok(err)
	w.starts(v, "s", "before")
	w.starts(v, "", "AFTER ")
	inner := w.alloc("subvol", 0)
	nested := filepath.Join(w.file(inner, ""), "nested")
	if out, err := exec.CommandContext(t.Context(), "btrfs", "subvolume", "create", nested).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.said.Reset()
	if err := w.Free(w.ctx, inner); err == nil || !strings.Contains(err.Error(), "Directory not empty") {
		t.Errorf("removing a volume that holds a subvolume: %v", err)
	}
	if !slices.Contains(w.volumes(), inner.Name) {
		t.Errorf("%s is gone", inner)
	}
	w.ok(w.Free(w.ctx, v))
	if slices.Contains(w.volumes(), v.Name) {
		t.Errorf("%s is still listed", v)
	}
}
