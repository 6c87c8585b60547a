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
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/all"
)

// A matrix is a service with a storage of each kind.
type matrix struct {
	*storage.Service
	t    *testing.T
	ctx  context.Context //nolint:containedctx // that of the test
	said *bytes.Buffer
	all  []kind
	ring bool // each goes to the next alone, but for those that are fast
	// brief says that there is no time for the states of all.
	brief bool
}

func newMatrix(t *testing.T, kinds []kind) *matrix {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skipf("needs qemu-img: %v", err)
	}
	var text strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&text, "%s: %s\n\t%s\n\n", k.of, k.name, strings.Join(k.options, "\n\t"))
	}
	root := t.TempDir()
	s := storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: all.Types(), QEMUImg: "qemu-img", Zone: time.UTC,
		Config:  func(context.Context) (string, error) { return text.String(), nil },
		Secrets: storage.SecretDir(filepath.Join(root, "etc/pve/priv")),
	})
	m := (&matrix{Service: s, all: kinds, ring: os.Getenv("VIRTSMITH_TEST_ALL") == ""}).in(t)
	t.Cleanup(func() { // what is mounted goes
		for _, k := range kinds {
			if p, err := s.Pool(context.Background(), id.Storage(k.name)); err == nil {
				_ = p.Deactivate(context.Background())
			}
		}
	})
	for _, k := range kinds {
		p, err := s.Pool(m.ctx, id.Storage(k.name))
		m.ok(err)
		if c, ok := p.(storage.Configurer); ok {
			m.ok(c.Added(m.ctx, k.secrets))
		}
	}
	return m
}

// in is the matrix for a part of the test.
func (m *matrix) in(t *testing.T) *matrix {
	n := *m
	n.t, n.said = t, &bytes.Buffer{}
	n.ctx = api.WithStreams(t.Context(), api.Streams{Out: io.Discard, Err: n.said})
	return &n
}

// run puts all storages through all that there is.
func (m *matrix) run(sizes ...int64) {
	m.t.Run("Copies", func(t *testing.T) { m.in(t).copies(sizes) })
	m.t.Run("Snapshots", func(t *testing.T) { m.in(t).snapshots() })
	m.t.Run("Folders", func(t *testing.T) { m.in(t).folders() })
}

func (m *matrix) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v\n%s", err, m.said)
	}
}

// targets are the storages to which those of a kind go.
func (m *matrix) targets(from int) (to []kind) {
	near := true
	for i := 1; i < len(m.all); i++ {
		k := m.all[(from+i)%len(m.all)]
		if k.given != nil {
			continue // there is nothing to be made
		}
		if near || !m.ring || k.fast && m.all[from].fast {
			to = append(to, k)
		}
		near = false
	}
	return to
}

// raw reads a volume, or its state in a snapshot, as a guest does.
func (m *matrix) raw(v id.Volume, snap string) []byte {
	m.t.Helper()
	m.ok(m.ActivateVolumes(m.ctx, snap, v))
	img, err := m.Image(m.ctx, v.String(), snap, false)
	m.ok(err)
	if img.Format == "raw" && filepath.IsAbs(img.Path) { // as it lies
		data, err := os.ReadFile(img.Path)
		m.ok(err)
		return append(data, make([]byte, -len(data)&511)...)
	}
	out := filepath.Join(m.t.TempDir(), "out")
	args := []string{"convert", "-O", "raw"}
	if img.Options {
		args = append(args, "--image-opts")
	} else {
		args = append(args, "-f", img.Format)
	}
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
		if data := []byte{salt, byte(i + 1), salt}; at >= 0 && at+int64(len(data)) <= size {
			if _, e := f.WriteAt(data, at); e != nil {
				err = e
			}
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

// TestMatrix: what goes from one storage to another, copied or as a stream, is the same,
// and so are its states.
func TestMatrix(t *testing.T) {
	newMatrix(t, native(t)).run(512, 1<<20+512, 6<<20+1024)
}

// TestNodeMatrix: the same between the storages of a node.
func TestNodeMatrix(t *testing.T) {
	testnode.Need(t, "device-mapper")
	const size = 6<<20 + 1024
	m := newMatrix(t, noded(t, size))
	m.brief = m.ring // a node is slow
	m.run(size)
}

// copies: volumes with holes and odd sizes.
func (m *matrix) copies(sizes []int64) {
	pairs, copied, streams := 0, 0, 0
	for at, from := range m.all {
		for _, to := range m.targets(at) {
			pairs++
			for i, size := range sizes {
				if m.ring && i < len(sizes)-1 && !(from.fast && to.fast) {
					continue // there is time for the largest
				}
				c, s := m.copy(from, to, size, byte(i))
				copied, streams = copied+c, streams+s
			}
		}
	}
	m.t.Logf("%d pairs, %d copies, %d streams", pairs, copied, streams)
}

// copy takes a volume of a size to another storage in all ways there are, and returns how
// many copies and streams that was.
func (m *matrix) copy(from, to kind, size int64, salt byte) (copied, streams int) {
	m.t.Helper()
	begun := time.Now()
	defer func() {
		m.t.Logf("%d bytes from %s to %s took %s", size, from.name, to.name, time.Since(begun).Round(time.Millisecond))
	}()
	source := disk(m.t, size, salt)
	want, err := os.ReadFile(source)
	m.ok(err)
	v := m.source(from, to, source, int(salt))
	for _, other := range to.formats {
		if other == "subvol" || other != "raw" && size < 2<<20 { // the large one goes everywhere
			continue
		}
		made, err := m.Copy(m.ctx, storage.Copy{Source: v.String(), Storage: id.Storage(to.name), Guest: 200, Format: other})
		m.ok(err)
		copied++
		m.check(from, to, v, made, "copy", want)
		target := to.volume(200, other)
		for _, s := range []storage.Stream{{}, {All: true}} {
			list, err := m.TransferFormats(m.ctx, v, target, s)
			m.ok(err)
			for _, s.Format = range list {
				made, err := m.pipe(v, target, s)
				m.ok(err)
				streams++
				m.check(from, to, v, made, s.Format, want)
			}
		}
	}
	if from.given == nil {
		m.ok(m.Free(m.ctx, v))
	}
	return copied, streams
}

// source makes what is copied, in one of the formats of its storage.
func (m *matrix) source(from, to kind, path string, which int) id.Volume {
	m.t.Helper()
	if from.given != nil {
		return from.given(m, path)
	}
	format := []string{"raw", "qcow2", "vmdk"}[(which+len(to.name))%3]
	if !slices.Contains(from.formats, format) {
		format = "raw"
	}
	v, err := m.Copy(m.ctx, storage.Copy{Source: path, Storage: id.Storage(from.name), Guest: 100, Format: format})
	m.ok(err)
	return v
}

// check fails unless a copy is what it should be, and removes it.
func (m *matrix) check(from, to kind, v, made id.Volume, how string, want []byte) {
	m.t.Helper()
	got, blocks := m.raw(made, ""), to.blocks || from.blocks
	if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) || !blocks && len(bytes.Trim(got[len(want):], "\x00")) > 0 {
		m.t.Errorf("%s %s by %s is another", v, made, how)
	}
	info, err := m.Info(m.ctx, made)
	size := int64(len(want))
	if to.behind != "" {
		st, err := os.Stat(filepath.Join(to.behind, "images", made.Name))
		m.ok(err)
		info.Used = st.Sys().(*syscall.Stat_t).Blocks * 512
	}
	switch {
	case err != nil || info.Size < size:
		m.t.Errorf("%s %s by %s: %+v, %v", v, made, how, info, err)
	case !blocks && size > 2<<20 && info.Used > size*2/3: // xfs takes some more than it needs
		m.t.Errorf("%s %s by %s has lost its holes: %+v", v, made, how, info)
	}
	m.ok(m.Free(m.ctx, made))
}

// snapshots: the states of a volume go with it, or one of them without the others.
func (m *matrix) snapshots() {
	pairs, with, single := 0, 0, 0
	for at, from := range m.all {
		for _, format := range from.formats {
			if from.given != nil || format == "subvol" || m.brief && !from.brief {
				continue
			}
			v, err := m.Alloc(m.ctx, id.Storage(from.name), storage.Alloc{Guest: 100, Format: format, Size: 4097})
			m.ok(err)
			if can, err := m.Has(m.ctx, storage.FeatureSnapshot, v, ""); err != nil || !can {
				m.ok(err)
				m.ok(m.Free(m.ctx, v))
				continue
			}
			states := map[string][]byte{}
			for i, snap := range []string{"one", "two"} {
				m.ok(m.Convert(m.ctx, disk(m.t, 4097<<10, byte(i+7)), v.String(), storage.ConvertOptions{}))
				m.ok(m.Snapshot(m.ctx, v, snap))
				states[snap] = m.raw(v, "")
			}
			for _, to := range m.targets(at) {
				pairs++
				with += m.withStates(to, v, format, states)
				single += m.oneState(to, v, states["one"])
			}
			for _, snap := range []string{"two", "one"} {
				m.ok(m.DeleteSnapshot(m.ctx, v, snap, false))
			}
			m.ok(m.Free(m.ctx, v))
		}
	}
	if with == 0 {
		m.t.Error("no volume went with its snapshots")
	}
	m.t.Logf("%d pairs, %d streams with all states, %d copies and streams of one", pairs, with, single)
}

// withStates takes a volume with its states one and two to another storage, and returns
// in how many ways that went.
func (m *matrix) withStates(to kind, v id.Volume, format string, states map[string][]byte) int {
	m.t.Helper()
	target := to.volume(200, format)
	s := storage.Stream{All: true}
	if format == "raw" {
		s.Snapshot = "two"
	}
	list, err := m.TransferFormats(m.ctx, v, target, s)
	m.ok(err)
	for _, s.Format = range list {
		made, err := m.pipe(v, target, s)
		m.ok(err)
		if !bytes.Equal(m.raw(made, ""), states["two"]) {
			m.t.Errorf("%s by %s is not %s", made, s.Format, v)
		}
		for snap, want := range states {
			if has, _ := m.Has(m.ctx, storage.FeatureCopy, made, snap); has && !bytes.Equal(m.raw(made, snap), want) {
				m.t.Errorf("%s by %s in state %s is not %s", made, s.Format, snap, v)
			}
		}
		if blocked, ok := errors.AsType[*storage.BlockedError](m.CanRollback(m.ctx, made, "one")); ok { // by what is newer
			for _, snap := range blocked.Blockers {
				m.ok(m.DeleteSnapshot(m.ctx, made, snap, false))
			}
		}
		// Some types go back to the newest state alone.
		if blocked, ok := errors.AsType[*storage.BlockedError](m.CanRollback(m.ctx, made, "one")); ok && slices.Equal(blocked.Blockers, []string{"two"}) {
			m.ok(m.DeleteSnapshot(m.ctx, made, "two", false))
		}
		m.ok(m.Rollback(m.ctx, made, "one"))
		if !bytes.Equal(m.raw(made, ""), states["one"]) {
			m.t.Errorf("%s by %s does not go back to state one", made, s.Format)
		}
		m.ok(m.Free(m.ctx, made))
	}
	return len(list)
}

// oneState takes the state one of a volume alone.
func (m *matrix) oneState(to kind, v id.Volume, want []byte) (done int) {
	m.t.Helper()
	same := func(made id.Volume, how string) {
		m.t.Helper()
		if got := m.raw(made, ""); len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
			m.t.Errorf("%s by %s is not state one of %s", made, how, v)
		}
		m.ok(m.Free(m.ctx, made))
		done++
	}
	if has, err := m.Has(m.ctx, storage.FeatureCopy, v, "one"); err == nil && has {
		c := storage.Copy{Source: v.String(), Storage: id.Storage(to.name), Guest: 200, Format: to.formats[0]}
		c.Snapshot = "one"
		made, err := m.Copy(m.ctx, c)
		m.ok(err)
		same(made, "copy")
	}
	target, s := to.volume(200, "raw"), storage.Stream{Snapshot: "one"}
	list, err := m.TransferFormats(m.ctx, v, target, s)
	m.ok(err)
	for _, s.Format = range list {
		made, err := m.pipe(v, target, s)
		m.ok(err)
		same(made, s.Format)
	}
	return done
}

// folders: the files of a container go with all that belongs to them.
func (m *matrix) folders() {
	pairs := 0
	for _, from := range m.all {
		for _, to := range m.all {
			if from.name == to.name || !slices.Contains(from.formats, "subvol") || !slices.Contains(to.formats, "subvol") {
				continue
			}
			pairs++
			v, err := m.Alloc(m.ctx, id.Storage(from.name), storage.Alloc{Guest: 100, Format: "subvol"})
			m.ok(err)
			root, err := m.Path(m.ctx, v, "")
			m.ok(err)
			furnish(m.t, root)
			made, err := m.pipe(v, to.volume(200, "subvol"), storage.Stream{Format: "tar+size"})
			m.ok(err)
			there, err := m.Path(m.ctx, made, "")
			m.ok(err)
			want, got := inventory(m.t, root), inventory(m.t, there)
			if !slices.Equal(want, got) {
				m.t.Errorf("%s %s:\nwant %s\ngot  %s", v, made, strings.Join(want, "\n     "), strings.Join(got, "\n     "))
			}
			m.ok(m.Free(m.ctx, v))
			m.ok(m.Free(m.ctx, made))
		}
	}
	m.t.Logf("%d pairs", pairs)
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
