package storage_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/all"
)

// service serves a storage.cfg in which ${ROOT} stands for a temporary folder.
func service(t *testing.T, cfg string) (*storage.Service, string) {
	t.Helper()
	root := t.TempDir()
	cfg = strings.ReplaceAll(cfg, "${ROOT}", root)
	return storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: all.Types(), QEMUImg: "qemu-img", Zone: time.UTC,
		Config: func(context.Context) (string, error) { return cfg, nil },
	}), root
}

const lab = `
dir: fast
	path ${ROOT}/srv/fast
	content images,rootdir
	preallocation off

dir: cold
	disable
	path ${ROOT}/srv/cold
	content images,backup

dir: far
	path ${ROOT}/srv/far
	nodes pve2,pve3

dir: isos
	path ${ROOT}/srv/isos
	content iso,vztmpl
	shared 1

dir: usb
	path ${ROOT}/srv/usb
	is_mountpoint yes

dir: gone
	path ${ROOT}/srv/gone
	mkdir 0

pbs: later
	server pbs.example.org
	datastore one
`

func TestLookups(t *testing.T) {
	s, root := service(t, lab)
	alloc := func(storeid id.Storage) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := s.Alloc(ctx, storeid, storage.Alloc{Guest: 100, Size: 64})
			return err
		}
	}
	for _, c := range []struct {
		name string
		do   func(context.Context) error
		want string
	}{
		{"unknown", alloc("nosuch"), "storage 'nosuch' does not exist"},
		{"disabled", alloc("cold"), "storage 'cold' is disabled"},
		{"other node", alloc("far"), "storage 'far' is not available on node 'pve1'"},
		{"not mounted", alloc("usb"), "unable to activate storage 'usb' - directory is expected to be a mount point but is not mounted: '" + root + "/srv/usb'"},
		{"not there", alloc("gone"), "unable to activate storage 'gone' - directory '" + root + "/srv/gone' does not exist or is unreachable"},
		{"type of later", alloc("later"), "storage 'later' is of type 'pbs', which cannot be used yet"},
		{"content", func(ctx context.Context) error { return s.CheckContent(ctx, "isos", storage.Images) }, "storage 'isos' does not support vm images"},
		{"other content", func(ctx context.Context) error { return s.CheckContent(ctx, "isos", storage.Rootdir) }, "storage 'isos' does not support container directories"},
		{"name", func(ctx context.Context) error {
			_, err := s.Path(ctx, id.Volume{Storage: "local", Name: "abc"}, "")
			return err
		}, "unable to parse directory volume name 'abc'"},
		{"volume", func(ctx context.Context) error {
			return s.ActivateVolumes(ctx, "", id.Volume{Storage: "local", Name: "iso/none.iso"})
		}, "volume 'local:iso/none.iso' does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(t.Context()); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if entries, _ := os.ReadDir(filepath.Join(root, "srv")); len(entries) > 0 {
		t.Errorf("made %v", entries)
	}
}

func TestLocalIsThere(t *testing.T) {
	s, root := service(t, "")
	d, err := s.Enabled(t.Context(), "local")
	if err != nil || d.Type != "dir" || !d.Has(storage.Images) {
		t.Fatalf("%+v, %v", d, err)
	}
	path, err := s.Path(t.Context(), id.Volume{Storage: "local", Name: "100/vm-100-disk-0.qcow2"}, "")
	if want := root + "/var/lib/vz/images/100/vm-100-disk-0.qcow2"; path != want || err != nil {
		t.Errorf("got %s, %v", path, err)
	}
	format, formats, err := s.DefaultFormat(t.Context(), "local")
	if format != "raw" || !slices.Contains(formats, "qcow2") || err != nil {
		t.Errorf("got %s, %q, %v", format, formats, err)
	}
}

// TestBrokenConfig has the messages of the transcripts of a damaged storage.cfg.
func TestBrokenConfig(t *testing.T) {
	text := "dir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n\tbogus 1\n\nfloppy: a\n\tpath /a\n\ndir: nopath\n\tcontent iso\n\n" +
		"dir: 1bad\n\tpath /x\n\n stray line\ndir: twice\n\tdisable\n\tpath /srv/one\n\tpath /srv/two\n\n" +
		"dir: twice\n\tdisable\n\tpath /srv/three\n\nlvm: badcontent\n\tdisable\n\tvgname pve\n\tcontent iso\n"
	c := storage.Parse(all.Types(), "storage.cfg", text)
	want := []string{
		"file storage.cfg line 4 (section 'local') - unable to parse value of 'bogus': unknown property type",
		"file storage.cfg line 6 (skip section 'a'): storage ID 'a' cannot be shorter than 2 characters",
		"file storage.cfg line 10 (skip section 'nopath'): missing value for required option 'path'",
		"file storage.cfg line 12 (skip section '1bad'): storage ID '1bad' contains illegal characters",
		"file storage.cfg line 15 - ignore config line:  stray line",
		"file storage.cfg line 19 (section 'twice') - unable to parse value of 'path': duplicate attribute",
		"storage does not support content type 'iso'",
		"file storage.cfg line 28 (skip section 'badcontent'): storage does not support content type 'none'",
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
	if d, ok := c.Lookup("badcontent"); ok {
		t.Errorf("%+v", d)
	}
	if d, ok := c.Lookup("twice"); !ok || !d.Disabled || d.Options["path"] != "/srv/three" {
		t.Errorf("%+v", d)
	}
}

func TestWarnsOnce(t *testing.T) {
	s, _ := service(t, "dir: a\n\tpath /a\n")
	var said bytes.Buffer
	ctx := api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said})
	for range 3 {
		if _, err := s.Config(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, &said)
	}
}

// TestTold has what users read of the steps, to the character.
func TestTold(t *testing.T) {
	if _, err := (run.Host{}).Look("qemu-img"); err != nil {
		t.Skip(err)
	}
	s, root := service(t, lab)
	var said bytes.Buffer
	ctx := api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said})
	step := func(name, want string, do func() error) {
		t.Helper()
		said.Reset()
		err := do()
		got := strings.ReplaceAll(said.String(), root, "${ROOT}")
		if err != nil {
			got += "ERR " + strings.ReplaceAll(err.Error(), root, "${ROOT}") + "\n"
		}
		// The tail of the line is qemu-img's own.
		var lines []string
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "Formatting") {
				head, _, _ := strings.Cut(line, ", fmt=")
				line = head + "\n"
			}
			lines = append(lines, line)
		}
		if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	var v, base id.Volume
	step("alloc", "Formatting '${ROOT}/srv/fast/images/9000/vm-9000-disk-0.qcow2'\n", func() (err error) {
		v, err = s.Alloc(ctx, "fast", storage.Alloc{Guest: 9000, Format: "qcow2", Size: 4 << 20})
		return err
	})
	step("resize", "Image resized.\n", func() error { return s.Resize(ctx, v, 8<<30, false) })
	step("copy", "Formatting '${ROOT}/srv/fast/images/100/vm-100-disk-0.raw'\nallocated\ntransferred 0.0 B of 8.0 GiB (0.00%)\n"+
		"transferred 8.0 GiB of 8.0 GiB (100.00%)\n", func() error {
		_, err := s.Copy(ctx, storage.Copy{
			Source: v.String(), Storage: "fast", Guest: 100,
			Allocated: func(id.Volume) { api.Printf(ctx, "allocated\n") },
		})
		return err
	})
	step("base", "", func() (err error) {
		base, err = s.CreateBase(ctx, v)
		return err
	})
	step("clone", "clone 9000/base-9000-disk-0.qcow2: images, vm-201-disk-0.qcow2, 201 to vm-201-disk-0.qcow2 "+
		"(base=../9000/base-9000-disk-0.qcow2)\nFormatting '${ROOT}/srv/fast/images/201/vm-201-disk-0.qcow2'\n", func() error {
		_, err := s.Clone(ctx, base, 201, "")
		return err
	})
	step("base in use", "ERR base volume '9000/base-9000-disk-0.qcow2' is still in use by linked clones\n", func() error { return s.Free(ctx, base) })
	missing := id.Volume{Storage: "fast", Name: "403/vm-403-disk-0.qcow2"}
	path := "${ROOT}/srv/fast/images/403/vm-403-disk-0.qcow2"
	step("snapshot of nothing", "qemu-img: Could not open '"+path+"': Could not open '"+path+"': No such file or directory\n"+
		"ERR command 'qemu-img snapshot -c s1 "+path+"' failed: exit code 1\n", func() error { return s.Snapshot(ctx, missing, "s1") })
	step("base of nothing", "failed to stat '"+path+"'\nERR file_size_info on '403/vm-403-disk-0.qcow2' failed\n", func() error {
		_, err := s.CreateBase(ctx, missing)
		return err
	})
	step("size of nothing", "failed to stat '"+path+"'\nERR could not get size of fast:403/vm-403-disk-0.qcow2\n", func() error {
		_, err := s.Size(ctx, missing.String())
		return err
	})
	step("free nothing", "disk image '"+path+"' does not exist\n", func() error { return s.Free(ctx, missing) })
}

func TestFreeTakesGuestFolder(t *testing.T) {
	s, root := service(t, lab)
	dir := filepath.Join(root, "srv/fast/images/100")
	for _, name := range []string{"vm-100-disk-0.raw", "vm-100-cloudinit.qcow2"} {
		write(t, filepath.Join(dir, name), "x")
	}
	for i, name := range []string{"vm-100-disk-0.raw", "vm-100-cloudinit.qcow2"} {
		if err := s.Free(t.Context(), id.Volume{Storage: "fast", Name: "100/" + name}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(dir); (err == nil) != (i == 0) {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBackups(t *testing.T) {
	s, root := service(t, "")
	ctx := t.Context()
	const name = "backup/vzdump-qemu-100-2025_01_02-03_04_05.vma.zst"
	path := filepath.Join(root, "var/lib/vz/dump/vzdump-qemu-100-2025_01_02-03_04_05")
	write(t, path+".vma.zst", "archive")
	write(t, path+".log", "log")
	p, err := s.Pool(ctx, "local")
	if err != nil {
		t.Fatal(err)
	}
	v := id.Volume{Storage: "local", Name: name}
	for _, do := range []func() error{
		func() error { return p.(storage.Annotator).SetNotes(ctx, name, "before the update\nmore") },
		func() error { return p.(storage.Protector).SetProtected(ctx, name, true) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List(ctx, "local", storage.Filter{Content: []storage.Content{storage.Backups}})
	if err != nil {
		t.Fatal(err)
	}
	want := []storage.Volume{{
		Name: name, Content: storage.Backups, Format: "vma.zst", Size: 7, Guest: 100, Subtype: "qemu",
		Created: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), Notes: "before the update", Protected: true,
	}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	if err := s.Free(ctx, v); err == nil || err.Error() != "cannot remove protected volume '"+name+"' on 'local'" {
		t.Errorf("free: %v", err)
	}
	if err := p.(storage.Protector).SetProtected(ctx, name, false); err != nil {
		t.Fatal(err)
	}
	if err := s.Free(ctx, v); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := p.(storage.Annotator).SetNotes(ctx, "iso/x.iso", "x"); err == nil {
		t.Error("a disc got notes")
	}
}

// TestSharedStorage: its lock is the cluster's, and volumes of containers are told apart.
func TestSharedStorage(t *testing.T) {
	root := t.TempDir()
	var locked []string
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: all.Types(),
		Config: func(context.Context) (string, error) { return "dir: both\n\tpath " + root + "/both\n\tshared 1\n", nil },
		Guests: func(context.Context) (map[id.VM]string, error) { return map[id.VM]string{200: "lxc", 300: "qemu"}, nil },
		Lock: func(ctx context.Context, name string, fn func(context.Context) error) error {
			locked = append(locked, name)
			return fn(ctx)
		},
	})
	for _, name := range []string{"200/vm-200-disk-0.raw", "100/vm-100-disk-0.raw", "300/vm-300-disk-0.raw"} {
		write(t, filepath.Join(root, "both/images", name), "")
	}
	list, err := s.List(t.Context(), "both", storage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range list {
		got = append(got, string(v.Content)+" "+v.Name)
	}
	want := []string{"images 100/vm-100-disk-0.raw", "images 300/vm-300-disk-0.raw", "rootdir 200/vm-200-disk-0.raw"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := s.Free(t.Context(), id.Volume{Storage: "both", Name: "100/vm-100-disk-0.raw"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"storage-both"}, locked); diff != "" {
		t.Error(diff)
	}
}

func TestDryRun(t *testing.T) {
	s, root := service(t, lab)
	var told bytes.Buffer
	ctx := plan.With(t.Context(), plan.New(&told))
	v, err := s.Alloc(ctx, "fast", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Free(ctx, v); err != nil {
		t.Fatal(err)
	}
	want := "qemu-img create -o 'preallocation=off' -f qcow2 ROOT/srv/fast/images/100/vm-100-disk-0.qcow2 1024K\n" +
		"rm ROOT/srv/fast/images/100/vm-100-disk-0.qcow2\n"
	if diff := cmp.Diff(want, strings.ReplaceAll(told.String(), root, "ROOT")); diff != "" {
		t.Error(diff)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("made %v", left)
	}
}

func TestCheckUntrusted(t *testing.T) {
	if _, err := (run.Host{}).Look("qemu-img"); err != nil {
		t.Skip(err)
	}
	s, root := service(t, "")
	write(t, filepath.Join(root, "secret"), strings.Repeat("x", 512))
	for _, c := range []struct {
		name, format, want string
		args               []string
	}{
		{"plain", "qcow2", "", []string{"-f", "qcow2"}},
		{"backing", "qcow2", "backing file", []string{"-f", "qcow2", "-b", root + "/secret", "-F", "raw"}},
		{"data", "qcow2", "data file", []string{"-f", "qcow2", "-o", "data_file=" + root + "/data.bin"}},
		{"vmdk", "vmdk", "", []string{"-f", "vmdk"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(root, c.name)
			if _, err := run.Output(t.Context(), run.Host{}, "qemu-img", append(append([]string{"create"}, c.args...), path, "1M")...); err != nil {
				t.Fatal(err)
			}
			err := s.CheckUntrusted(t.Context(), path, c.format)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestHalfMade: what a killed process leaves can be seen, is in nobody's way, and can be
// removed.
func TestHalfMade(t *testing.T) {
	s, root := service(t, "")
	dir := filepath.Join(root, "var/lib/vz/images/100")
	write(t, filepath.Join(dir, "vm-100-disk-0.qcow2"), "")            // a name taken
	write(t, filepath.Join(dir, "vm-100-disk-1.qcow2"), "QFI\xfb\x00") // a header begun
	write(t, filepath.Join(dir, "vm-100-disk-2.vmdk"), "#")
	ctx := t.Context()
	list, err := s.List(ctx, "local", storage.Filter{Content: []storage.Content{storage.Images}, Guest: 100})
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	v, err := s.Alloc(ctx, "local", storage.Alloc{Guest: 100, Format: "raw", Size: 64})
	if err != nil || v.Name != "100/vm-100-disk-3.raw" {
		t.Errorf("%s, %v", v, err)
	}
	for _, half := range append(list, storage.Volume{Name: v.Name}) {
		if err := s.Free(ctx, id.Volume{Storage: "local", Name: half.Name}); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder is left")
	}
}

func TestReadOnly(t *testing.T) {
	s, root := service(t, "")
	dir := filepath.Join(root, "var/lib/vz")
	if err := s.Activate(t.Context(), "local"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	_, err := s.Alloc(t.Context(), "local", storage.Alloc{Guest: 100, Format: "raw", Size: 64})
	if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), "local") {
		t.Errorf("got %v", err)
	}
}

func TestLockHeld(t *testing.T) {
	s, root := service(t, "")
	lock, err := file.Acquire(t.Context(), filepath.Join(root, "run/lock/pve-manager/pve-storage-local"), file.LockOptions{What: "a long job"})
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release() //nolint:errcheck // the test is over
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Alloc(ctx, "local", storage.Alloc{Guest: 100, Format: "raw", Size: 64}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
