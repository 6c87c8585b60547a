package all_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/all"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// A kind is a storage of the matrix: a column and a row.
type kind struct {
	name string
	// section makes the storage and returns its type and its options.
	section func(t *testing.T) (storageType string, options []string)
	formats []string
	// blocks says that volumes are devices: they may be larger than what was asked for, and
	// what lies behind that is nobody's. Their names say no format.
	blocks bool
}

// native are those that a machine can have without help.
func native() []kind {
	folder := func(storageType string, mib int64, mkfs ...string) func(*testing.T) (string, []string) {
		return func(t *testing.T) (string, []string) {
			return storageType, []string{"path " + filepath.Join(storagetest.Loop(t, mib, mkfs...), "volumes")}
		}
	}
	return []kind{
		{"ext4", folder("dir", 128, "mkfs.ext4", "-q"), []string{"raw", "qcow2", "vmdk", "subvol"}, false},
		{"xfs", folder("dir", 320, "mkfs.xfs", "-q"), []string{"raw", "qcow2", "vmdk", "subvol"}, false},
		{"btrfs", folder("btrfs", 256, "mkfs.btrfs", "-q"), []string{"raw", "qcow2", "vmdk", "subvol"}, false},
		{"other", folder("btrfs", 256, "mkfs.btrfs", "-q"), []string{"raw", "subvol"}, false},
	}
}

// noded are those that a node with Debian's kernel has.
func noded() []kind {
	list := []kind{
		{"ext4", func(t *testing.T) (string, []string) { return "dir", []string{"path " + t.TempDir()} }, []string{"qcow2", "raw"}, false},
		{"lvm", func(t *testing.T) (string, []string) {
			lvmtest.Pool(t, "", "1g")
			return "lvm", []string{"vgname " + lvmtest.VG}
		}, []string{"raw"}, true},
		{"thin", func(*testing.T) (string, []string) {
			return "lvmthin", []string{"vgname " + lvmtest.VG, "thinpool data"}
		}, []string{"raw"}, true},
		{"nfs", func(t *testing.T) (string, []string) {
			testnode.Need(t, "nfs")
			export := t.TempDir()
			testnode.NFS(t, export)
			return "nfs", []string{"server 127.0.0.1", "export " + export, "path " + t.TempDir(), "options vers=4.2"}
		}, []string{"qcow2", "raw"}, false},
	}
	if _, err := exec.LookPath("zpool"); err == nil {
		list = append(list, kind{"zfs", func(t *testing.T) (string, []string) {
			testnode.Need(t, "zfs")
			lvmtest.Run(t, "zpool", "create", "-f", "matrix", testnode.Disk(t, 1))
			t.Cleanup(func() { lvmtest.Run(t, "zpool", "destroy", "-f", "matrix") })
			return "zfspool", []string{"pool matrix", "sparse 1"}
		}, []string{"raw", "subvol"}, true})
	}
	return list
}

// A matrix is a service with a storage of each kind.
type matrix struct {
	*storage.Service
	t    *testing.T
	ctx  context.Context //nolint:containedctx // that of the test
	said *bytes.Buffer
	all  []kind
	ring bool // each goes to the next alone
}

func newMatrix(t *testing.T, kinds []kind) *matrix {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skipf("needs qemu-img: %v", err)
	}
	var text strings.Builder
	for _, k := range kinds {
		storageType, options := k.section(t)
		fmt.Fprintf(&text, "%s: %s\n\t%s\n\n", storageType, k.name, strings.Join(options, "\n\t"))
	}
	s := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: all.Types(), QEMUImg: "qemu-img", Zone: time.UTC,
		Config: func(context.Context) (string, error) { return text.String(), nil },
	})
	m := &matrix{Service: s, t: t, said: &bytes.Buffer{}, all: kinds}
	m.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: m.said})
	t.Cleanup(func() { // what is mounted goes
		for _, k := range kinds {
			if p, err := s.Pool(context.Background(), id.Storage(k.name)); err == nil {
				_ = p.Deactivate(context.Background())
			}
		}
	})
	return m
}

func (m *matrix) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v\n%s", err, m.said)
	}
}

// pairs calls do for each two storages, both ways, or for a ring of them.
func (m *matrix) pairs(do func(from, to kind)) {
	for i, from := range m.all {
		for j, to := range m.all {
			if i != j && (!m.ring || j == (i+1)%len(m.all)) {
				do(from, to)
			}
		}
	}
}

// raw reads a volume, or its state in a snapshot, as a guest does.
func (m *matrix) raw(v id.Volume, snap string) []byte {
	m.t.Helper()
	m.ok(m.ActivateVolumes(m.ctx, "", v))
	img, err := m.Image(m.ctx, v.String(), snap, false)
	m.ok(err)
	if img.Format == "raw" { // as it lies
		data, err := os.ReadFile(img.Path)
		m.ok(err)
		return append(data, make([]byte, -len(data)&511)...)
	}
	out := filepath.Join(m.t.TempDir(), "out")
	args := []string{"convert", "-O", "raw", "-f", img.Format}
	if img.Snapshot != "" {
		args = append(args, "-l", "snapshot.name="+img.Snapshot)
	}
	if text, err := exec.CommandContext(m.t.Context(), "qemu-img", append(args, img.Path, out)...).CombinedOutput(); err != nil {
		m.t.Fatalf("%v\n%s", err, text)
	}
	data, err := os.ReadFile(out)
	m.ok(err)
	return data
}

// name is how a volume of a guest is called on a storage of the kind.
func (k kind) volume(guest int, format string) id.Volume {
	v := id.Volume{Storage: id.Storage(k.name)}
	switch {
	case k.blocks && format == "subvol":
		v.Name = fmt.Sprintf("subvol-%d-disk-0", guest)
	case k.blocks:
		v.Name = fmt.Sprintf("vm-%d-disk-0", guest)
	case format == "subvol":
		v.Name = fmt.Sprintf("%d/subvol-%d-disk-0.subvol", guest, guest)
	default:
		v.Name = fmt.Sprintf("%d/vm-%d-disk-0.%s", guest, guest, format)
	}
	return v
}

// disk makes a file with data at odd places and holes between.
func disk(t *testing.T, size int64, salt byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Truncate(size)
	for i, at := range []int64{0, 511, 65535, size / 3, size/2 + 1, size - 5} {
		if _, e := f.WriteAt([]byte{salt, byte(i + 1), salt}, at); e != nil {
			err = e
		}
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// pipe sends a volume through a pipe, as pvesm export | pvesm import does.
func (m *matrix) pipe(from, to id.Volume, s storage.Stream) (id.Volume, error) {
	r, w, err := os.Pipe()
	m.ok(err)
	sent := make(chan error, 1)
	go func() {
		ctx := api.WithStreams(m.t.Context(), api.Streams{Out: io.Discard, Err: io.Discard})
		sent <- errors.Join(m.Export(ctx, w, from, s), w.Close())
	}()
	made, err := m.Import(m.ctx, r, to, s, false)
	return made, errors.Join(err, r.Close(), <-sent)
}

// TestCopies: what goes from one storage to another, copied or as a stream, is the same.
func TestCopies(t *testing.T) {
	m := newMatrix(t, native())
	m.copies([]int64{512, 1<<20 + 512, 6<<20 + 1024})
}

// TestNodeCopies: the same between the storages of a node.
func TestNodeCopies(t *testing.T) {
	testnode.Need(t, "device-mapper")
	m := newMatrix(t, noded())
	m.ring = os.Getenv("VIRTSMITH_TEST_ALL") != "1" // a node is slow
	m.copies([]int64{6<<20 + 1024})
	m.snapshots()
}

func (m *matrix) copies(sizes []int64) {
	t, streams := m.t, 0
	m.pairs(func(from, to kind) {
		t.Logf("%s to %s", from.name, to.name)
		for i, size := range sizes {
			source := disk(t, size, byte(i))
			want, err := os.ReadFile(source)
			m.ok(err)
			format := []string{"raw", "qcow2", "vmdk"}[(i+len(to.name))%3]
			if !slices.Contains(from.formats, format) {
				format = "raw"
			}
			v, err := m.Copy(m.ctx, storage.Copy{Source: source, Storage: id.Storage(from.name), Guest: 100, Format: format})
			m.ok(err)
			check := func(how string, made id.Volume) {
				t.Helper()
				got := m.raw(made, "")
				if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) || !to.blocks && !from.blocks && len(bytes.Trim(got[len(want):], "\x00")) > 0 {
					t.Errorf("%s %s by %s is another", v, made, how)
				}
				if to.blocks || from.blocks {
					m.ok(m.Free(m.ctx, made))
					return
				}
				if info, err := m.Info(m.ctx, made); err != nil || size > 2<<20 && info.Used > size*2/3 { // xfs takes some more than it needs
					t.Errorf("%s %s by %s has lost its holes: %+v, %v", v, made, how, info, err)
				}
				m.ok(m.Free(m.ctx, made))
			}
			for _, other := range to.formats {
				if other == "subvol" || other != "raw" && size < 2<<20 { // the large one goes everywhere
					continue
				}
				made, err := m.Copy(m.ctx, storage.Copy{Source: v.String(), Storage: id.Storage(to.name), Guest: 200, Format: other})
				m.ok(err)
				check("copy", made)
				for _, s := range []storage.Stream{{}, {All: true}} {
					target := to.volume(200, other)
					list, err := m.TransferFormats(m.ctx, v, target, s)
					m.ok(err)
					for _, s.Format = range list {
						made, err := m.pipe(v, target, s)
						m.ok(err)
						check(s.Format, made)
						streams++
					}
				}
			}
			m.ok(m.Free(m.ctx, v))
		}
	})
	t.Logf("%d streams", streams)
}

// TestCopiesWithSnapshots: the states of a volume go with it.
func TestCopiesWithSnapshots(t *testing.T) { newMatrix(t, native()).snapshots() }

func (m *matrix) snapshots() {
	t, went := m.t, 0
	m.pairs(func(from, to kind) {
		for _, format := range from.formats {
			target := to.volume(200, format)
			s := storage.Stream{All: true}
			if format == "raw" {
				s.Snapshot = "two"
			}
			list, err := m.TransferFormats(m.ctx, from.volume(100, format), target, s)
			m.ok(err)
			if format == "vmdk" || format == "subvol" || len(list) == 0 {
				continue
			}
			v, err := m.Alloc(m.ctx, id.Storage(from.name), storage.Alloc{Guest: 100, Format: format, Size: 4097})
			m.ok(err)
			states := map[string][]byte{}
			for i, snap := range []string{"one", "two"} {
				m.ok(m.Convert(m.ctx, disk(t, 4097<<10, byte(i+7)), v.String(), storage.ConvertOptions{}))
				m.ok(m.Snapshot(m.ctx, v, snap))
				states[snap] = m.raw(v, "")
			}
			for _, s.Format = range list {
				made, err := m.pipe(v, target, s)
				m.ok(err)
				went++
				if !bytes.Equal(m.raw(made, ""), states["two"]) {
					t.Errorf("%s is not %s", made, v)
				}
				for snap, want := range states {
					if !bytes.Equal(m.raw(made, snap), want) {
						t.Errorf("%s in state %s is not %s", made, snap, v)
					}
				}
				m.ok(m.Rollback(m.ctx, made, "one"))
				if !bytes.Equal(m.raw(made, ""), states["one"]) {
					t.Errorf("%s does not go back to state one", made)
				}
				m.ok(m.Free(m.ctx, made))
			}
			m.ok(m.Free(m.ctx, v))
		}
	})
	if went == 0 {
		t.Error("no volume went with its snapshots")
	}
	t.Logf("%d streams", went)
}

// TestFolders: the files of a container go with all that belongs to them.
func TestFolders(t *testing.T) {
	m := newMatrix(t, native())
	m.pairs(func(from, to kind) {
		v, err := m.Alloc(m.ctx, id.Storage(from.name), storage.Alloc{Guest: 100, Format: "subvol"})
		m.ok(err)
		root, err := m.Path(m.ctx, v, "")
		m.ok(err)
		furnish(t, root)
		made, err := m.pipe(v, to.volume(200, "subvol"), storage.Stream{Format: "tar+size"})
		m.ok(err)
		there, err := m.Path(m.ctx, made, "")
		m.ok(err)
		want, got := inventory(t, root), inventory(t, there)
		if !slices.Equal(want, got) {
			t.Errorf("%s %s:\nwant %s\ngot  %s", v, made, strings.Join(want, "\n     "), strings.Join(got, "\n     "))
		}
		m.ok(m.Free(m.ctx, v))
		m.ok(m.Free(m.ctx, made))
	})
}

// furnish puts files of all kinds into a folder.
func furnish(t *testing.T, root string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, err := range []error{
		os.Mkdir(at("etc"), 0o750),
		os.WriteFile(at("etc/hostname"), []byte("ct\n"), 0o640),
		os.Chown(at("etc/hostname"), 100000, 100033),
		os.Link(at("etc/hostname"), at("etc/hardlink")),
		os.Symlink("../etc/hostname", at("link")),
		os.WriteFile(at("hole"), nil, 0o600),
		os.Truncate(at("hole"), 8<<20),
		syscall.Mkfifo(at("fifo"), 0o622),
		syscall.Mknod(at("null"), syscall.S_IFCHR|0o666, 1<<8|3),
		os.WriteFile(at("setuid"), []byte("x"), 0o755),
		os.Chmod(at("setuid"), 0o755|fs.ModeSetuid),
		syscall.Setxattr(at("setuid"), "user.note", []byte("kept"), 0),
		os.Chtimes(at("etc/hostname"), time.Unix(1e9, 0), time.Unix(1e9, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// inventory describes all that is in a folder.
func inventory(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sys := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %s %d:%d %d", strings.TrimPrefix(path, root), info.Mode(), sys.Uid, sys.Gid, sys.Rdev)
		if !info.IsDir() {
			line += fmt.Sprintf(" %d links, %d bytes, %s, holes: %t", sys.Nlink, info.Size(), info.ModTime().UTC().Format(time.DateTime), info.Size() > 1<<20 && sys.Blocks*512 < info.Size())
		}
		note := make([]byte, 64)
		if n, err := syscall.Getxattr(path, "user.note", note); err == nil && info.Mode().IsRegular() {
			line += " " + string(note[:n])
		}
		found = append(found, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
