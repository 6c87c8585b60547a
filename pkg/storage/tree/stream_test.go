package tree_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

// folder returns a service with one storage, called it, and its folder.
func folder(t *testing.T, r run.Runner) (*storage.Service, string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip(err)
	}
	top := t.TempDir()
	return storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: r, Types: []storage.Type{dir.Type()}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) { return "dir: it\n\tpath " + top + "\n", nil },
	}), top
}

// image makes an image and returns a stream of it that announces a size.
func image(t *testing.T, size int64, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	args = append(append([]string{"create", "-q"}, args...), path)
	if len(args) < 6 || args[4] != "-b" {
		args = append(args, "1M")
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_ = storage.WriteHeader(&b, size)
	return append(b.Bytes(), data...)
}

// TestRefusedStreams: what no volume can be made of is refused, and nothing is left of it.
func TestRefusedStreams(t *testing.T) {
	s, top := folder(t, run.Host{})
	secret := filepath.Join(t.TempDir(), "secret.qcow2")
	_ = image(t, 0, "-f", "qcow2")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-f", "qcow2", secret, "1M").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	foreign := filepath.Join(t.TempDir(), "data")
	good := image(t, 1<<20, "-f", "qcow2")
	all := func(format string) storage.Stream { return storage.Stream{Format: format, All: true} }
	for _, c := range []struct {
		name, volume string
		s            storage.Stream
		stream       []byte
		want         string
	}{
		{"a format of others", "200/a.raw", storage.Stream{Format: "zfs"}, good, "volume import format 'zfs' not available for PVE::Storage::DirPlugin"},
		{"raw data for qcow2", "200/a.qcow2", storage.Stream{Format: "raw+size"}, good, "cannot import format raw+size into a file of format qcow2"},
		{"files for a disk", "200/a.raw", storage.Stream{Format: "tar+size"}, good, "cannot import format tar+size into a file of format raw"},
		{"a disc", "iso/a.iso", storage.Stream{Format: "raw+size"}, good, "cannot import format raw+size"},
		{"qcow2 without snapshots", "200/a.qcow2", storage.Stream{Format: "qcow2+size"}, good, "format qcow2+size cannot be imported without snapshots"},
		{"raw with snapshots", "200/a.raw", all("raw+size"), good, "format raw+size cannot be imported with snapshots"},
		{"an increment", "200/a.raw", storage.Stream{Format: "raw+size", Base: "b"}, good, "as an increment of 'b'"},
		{"no image", "200/a.qcow2", all("qcow2+size"), bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 100), "the stream holds no qcow2 image"},
		{"another size", "200/a.qcow2", all("qcow2+size"), append([]byte{0, 0, 32, 0, 0, 0, 0, 0}, good[8:]...), "the stream announces 2097152 bytes but holds a qcow2 image of 1048576"},
		{"a file of the host", "200/a.qcow2", all("qcow2+size"), image(t, 1<<20, "-f", "qcow2", "-b", secret, "-F", "qcow2"), "references a backing file"},
		{"a file of the host beside", "200/a.qcow2", all("qcow2+size"), image(t, 1<<20, "-f", "qcow2", "-o", "data_file="+foreign), "references a data file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, err := s.Import(t.Context(), bytes.NewReader(c.stream), id.Volume{Storage: "it", Name: c.volume}, c.s, false)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, %v", made, err)
			}
			if left, _ := filepath.Glob(top + "/images/*"); len(left) > 0 {
				t.Errorf("there is left %q", left)
			}
		})
	}
}

// TestLinkedStream: a linked clone comes where its base is, and only there.
func TestLinkedStream(t *testing.T) {
	s, top := folder(t, run.Host{})
	v, err := s.Alloc(t.Context(), "it", storage.Alloc{Guest: 9000, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.CreateBase(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	clone, err := s.Clone(t.Context(), base, 100, "")
	if err != nil {
		t.Fatal(err)
	}
	st := storage.Stream{Format: "qcow2+size", All: true}
	var stream bytes.Buffer
	if err := s.Export(t.Context(), &stream, clone, st); err != nil {
		t.Fatal(err)
	}
	to := id.Volume{Storage: "it", Name: "200/vm-200-disk-0.qcow2"}
	if made, err := s.Import(t.Context(), bytes.NewReader(stream.Bytes()), to, st, false); err != nil {
		t.Error(made, err)
	}
	if err := os.Rename(top+"/images/9000", top+"/away"); err != nil {
		t.Fatal(err)
	}
	to.Name = "300/vm-300-disk-0.qcow2"
	if made, err := s.Import(t.Context(), &stream, to, st, false); err == nil {
		t.Errorf("%s has no base", made)
	}
}

// noNBD is a host without qemu-nbd.
type noNBD struct{ run.Host }

func (n noNBD) Run(ctx context.Context, c run.Cmd) error {
	if c.Name() == "qemu-nbd" {
		c.Path = "/nonexistent/qemu-nbd"
	}
	return n.Host.Run(ctx, c)
}

// TestNoImageToSend: why a disk cannot be read is said at once.
func TestNoImageToSend(t *testing.T) {
	s, _ := folder(t, noNBD{})
	v, err := s.Alloc(t.Context(), "it", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = s.Export(t.Context(), &out, v, storage.Stream{Format: "raw+size"})
	if !errors.Is(err, exec.ErrNotFound) || out.Len() > 0 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
	t.Log(err)
	s, top := folder(t, run.Host{})
	if err := os.MkdirAll(top+"/images/100", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(top+"/images/100/vm-100-disk-0.qcow2", []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err = s.Export(t.Context(), &out, v, storage.Stream{Format: "raw+size"}); err == nil || out.Len() > 0 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
	t.Log(err)
	v.Name = "100/vm-100-disk-9.raw"
	if err = s.Export(t.Context(), &out, v, storage.Stream{Format: "raw+size"}); !errors.Is(err, storage.ErrNotExist) || err.Error() != "volume 'it:100/vm-100-disk-9.raw' does not exist" {
		t.Error(err)
	}
}
