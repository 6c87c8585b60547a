package btrfs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
)

// importer in the arguments makes the test binary a process that imports what it reads, to
// be killed.
const importer = "--import-into="

func TestMain(m *testing.M) {
	if dir, ok := strings.CutPrefix(os.Args[len(os.Args)-1], importer); ok {
		s := storage.New(storage.Options{
			Root: filepath.Dir(dir), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{btrfs.Type()}, QEMUImg: "qemu-img",
			Config: func(context.Context) (string, error) { return "btrfs: it\n\tpath " + dir + "\n", nil },
		})
		format := os.Args[len(os.Args)-2]
		st := storage.Stream{Format: format}
		if format == "btrfs" {
			st.Snapshot = "s"
		}
		_, err := s.Import(context.Background(), os.Stdin, id.Volume{Storage: "it", Name: "200/vm-200-disk-0.raw"}, st, false)
		if err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sent returns a volume with the state s and a stream of it.
func (w *world) sent(format string) (id.Volume, []byte) {
	w.t.Helper()
	v := w.alloc(format, 0)
	if format == "raw" {
		w.ok(w.Resize(w.ctx, v, 8<<20, false))
		w.put(v, strings.Repeat("0123456789abcdef", 4<<16))
	}
	w.ok(w.Snapshot(w.ctx, v, "s"))
	var stream bytes.Buffer
	w.ok(w.Export(w.ctx, &stream, v, storage.Stream{Format: "btrfs", Snapshot: "s"}))
	return v, stream.Bytes()
}

// TestStreamFaults: what is not as it was said leaves nothing.
func TestStreamFaults(t *testing.T) {
	w := begin(t)
	v, whole := w.sent("raw")
	_, folder := w.sent("subvol")
	before := w.left()
	s := storage.Stream{Format: "btrfs", Snapshot: "s"}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 0xff
	for _, c := range []struct {
		name, to string
		stream   []byte
		s        storage.Stream
		want     string
	}{
		{"nothing", "200/vm-200-disk-0.raw", nil, s, "receive into"},
		{"no stream", "200/vm-200-disk-0.raw", []byte(strings.Repeat("no stream ", 100)), s, "receive into"},
		{"half a stream", "200/vm-200-disk-0.raw", whole[:len(whole)/2], s, "receive into"},
		{"a bit that is wrong", "200/vm-200-disk-0.raw", flipped, s, "receive into"},
		{"another state", "200/vm-200-disk-0.raw", whole, storage.Stream{Format: "btrfs", Snapshot: "t"}, "send stream did not contain the expected current snapshot 't'"},
		{"no state", "200/vm-200-disk-0.raw", whole, storage.Stream{Format: "btrfs"}, "format 'btrfs' only works on snapshots"},
		{"a container for a disk", "200/vm-200-disk-0.raw", folder, s, "send stream does not hold a volume of format raw"},
		{"qcow2", "200/vm-200-disk-0.qcow2", whole, s, "btrfs-receiving volumes of type qcow2 ('200/vm-200-disk-0.qcow2') is not supported"},
		{"a base that is not there", "200/vm-200-disk-0.raw", whole, storage.Stream{Format: "btrfs", Snapshot: "s", Base: "r"}, "base snapshot 'r' not found"},
		{"a name that is taken", v.Name, whole, s, "volume 100/vm-100-disk-0.raw already exists"},
	} {
		made, err := w.Import(w.ctx, bytes.NewReader(c.stream), id.Volume{Storage: "it", Name: c.to}, c.s, false)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s, %v", c.name, made, err)
		}
		if diff := cmp.Diff(before, w.left()); diff != "" {
			t.Errorf("%s leaves (-before +after):\n%s", c.name, diff)
		}
	}
	for _, c := range []struct {
		s    storage.Stream
		want string
	}{
		{storage.Stream{Format: "btrfs", Snapshot: "none"}, "snapshot 'none' of '100/vm-100-disk-0.raw' does not exist"},
		{storage.Stream{Format: "btrfs"}, "format 'btrfs' only works on snapshots"},
		{storage.Stream{Format: "btrfs", Snapshot: "s", Base: "r", All: true}, "requires snapshots to be listed explicitly"},
		{storage.Stream{Format: "raw+size", Snapshot: "s"}, "volume export format raw+size not available for PVE::Storage::BTRFSPlugin"},
		{storage.Stream{Format: "zfs"}, "volume export format zfs not available for PVE::Storage::BTRFSPlugin"},
	} {
		var out bytes.Buffer
		if err := w.Export(w.ctx, &out, v, c.s); err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
			t.Errorf("%+v: %v, %d bytes", c.s, err, out.Len())
		}
	}
}

// TestIncrements: a volume follows another, state by state, there and back.
func TestIncrements(t *testing.T) {
	here, there := begin(t), begin(t)
	v := here.alloc("raw", 4096)
	to := id.Volume{Storage: "it", Name: "100/vm-100-disk-7.raw"}
	send := func(from, into *world, v, to id.Volume, s storage.Stream) int {
		t.Helper()
		var stream bytes.Buffer
		s.Format = "btrfs"
		from.ok(from.Export(from.ctx, &stream, v, s))
		size := stream.Len()
		made, err := into.Import(into.ctx, &stream, to, s, false)
		into.ok(err)
		if made != to {
			t.Errorf("%s became %s", to, made)
		}
		return size
	}
	here.put(v, strings.Repeat("filling ", 1<<16))
	here.ok(here.Snapshot(here.ctx, v, "a"))
	here.put(v, "b")
	here.ok(here.Snapshot(here.ctx, v, "b"))
	full := send(here, there, v, to, storage.Stream{Snapshot: "b", All: true})
	here.put(v, "c")
	here.ok(here.Snapshot(here.ctx, v, "c"))
	here.put(v, "d")
	here.ok(here.Snapshot(here.ctx, v, "d"))
	small := send(here, there, v, to, storage.Stream{Snapshot: "d", Base: "b", Snapshots: []string{"c"}, All: true})
	if small > full/4 {
		t.Errorf("an increment has %d bytes, all has %d", small, full)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "d"}, there.snapshots(to)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for _, snap := range []string{"b", "c", "d"} {
		there.starts(to, snap, snap)
	}
	there.starts(to, "", "d")
	// And back, as after a migration.
	there.put(to, "e")
	there.ok(there.Snapshot(there.ctx, to, "e"))
	if back := send(there, here, to, v, storage.Stream{Snapshot: "e", Base: "d"}); back > full/4 {
		t.Errorf("an increment back has %d bytes, all has %d", back, full)
	}
	here.starts(v, "", "e")
	if diff := cmp.Diff([]string{"100/vm-100-disk-0", "100/vm-100-disk-0@a", "100/vm-100-disk-0@b", "100/vm-100-disk-0@c", "100/vm-100-disk-0@d", "100/vm-100-disk-0@e"}, here.left()); diff != "" {
		t.Errorf("there is (-want +got):\n%s", diff)
	}
}

// TestKilled: what a killed import leaves can be found, and removed or tried again.
func TestKilled(t *testing.T) {
	w := begin(t)
	v, stream := w.sent("raw")
	exe, err := os.Executable()
	w.ok(err)
	var raw bytes.Buffer
	w.ok(w.Export(w.ctx, &raw, v, storage.Stream{Format: "raw+size"}))
	for format, stream := range map[string][]byte{"btrfs": stream, "raw+size": raw.Bytes()} {
		c := exec.CommandContext(t.Context(), exe, format, importer+w.path)
		in, err := c.StdinPipe()
		w.ok(err)
		w.ok(c.Start())
		_, err = in.Write(stream[:len(stream)*3/4]) // returns when most of it was read
		w.ok(err)
		until(t, func() bool { return len(w.volumes()) == 2 })
		w.ok(c.Process.Signal(syscall.SIGKILL))
		_ = in.Close()
		if err := c.Wait(); err == nil {
			t.Errorf("%s: half an import is fine", format)
		}
		to := id.Volume{Storage: "it", Name: "200/vm-200-disk-0.raw"}
		if diff := cmp.Diff([]string{v.Name, to.Name}, w.volumes()); diff != "" {
			t.Errorf("%s: listed (-want +got):\n%s", format, diff)
		}
		// The program that receives ends with its parent, though not at once.
		until(t, func() bool { return w.Free(w.ctx, to) == nil })
		if diff := cmp.Diff([]string{"100/vm-100-disk-0", "100/vm-100-disk-0@s"}, w.left()); diff != "" {
			t.Errorf("%s: left (-want +got):\n%s", format, diff)
		}
	}
	// An increment that was killed is in nobody's way.
	inbox := filepath.Join(w.path, "images/100/vm-100-disk-0@:receive")
	w.ok(os.Mkdir(inbox, 0o700))
	for _, path := range []string{filepath.Join(inbox, "vm-100-disk-0@t"), filepath.Join(w.path, "images/100/vm-100-disk-0@:new")} {
		if out, err := exec.CommandContext(t.Context(), "btrfs", "subvolume", "create", path).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if diff := cmp.Diff([]string{"s"}, w.snapshots(v)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	w.ok(w.Rollback(w.ctx, v, "s"))
	w.ok(w.Free(w.ctx, v))
	if left := w.left(); len(left) > 0 {
		t.Errorf("there is left %q", left)
	}
}

// TestHalfMade: a volume whose making was killed has no disk yet. It is listed and removed,
// and keeps its number.
func TestHalfMade(t *testing.T) {
	w := begin(t)
	w.ok(w.Activate(w.ctx, "it"))
	w.ok(os.MkdirAll(filepath.Join(w.path, "images/100"), 0o755))
	if out, err := exec.CommandContext(t.Context(), "btrfs", "subvolume", "create", filepath.Join(w.path, "images/100/vm-100-disk-0")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list, err := w.List(w.ctx, "it", storage.Filter{Content: []storage.Content{storage.Images}})
	w.ok(err)
	want := []storage.Volume{{Name: "100/vm-100-disk-0.raw", Content: storage.Images, Format: "raw", Guest: 100}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	for _, format := range []string{"raw", "qcow2"} {
		if v := w.alloc(format, 1024); v.Name == want[0].Name || strings.HasPrefix(v.Name, "100/vm-100-disk-0.") {
			t.Errorf("%s has the number of another", v)
		}
	}
	w.ok(w.Free(w.ctx, id.Volume{Storage: "it", Name: want[0].Name}))
	if diff := cmp.Diff([]string{"100/vm-100-disk-1", "100/vm-100-disk-2.qcow2"}, w.left()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// TestOrphans: states whose volume was killed while it moved are found and removed.
func TestOrphans(t *testing.T) {
	w := begin(t)
	v, _ := w.sent("raw")
	w.ok(os.Rename(filepath.Dir(w.file(v, "")), filepath.Join(w.path, "elsewhere")))
	if diff := cmp.Diff([]string{v.Name}, w.volumes()); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if other := w.alloc("raw", 1024); other == v {
		t.Errorf("%s has the states of another", other)
	}
	w.ok(w.Free(w.ctx, v))
	if diff := cmp.Diff([]string{"100/vm-100-disk-1"}, w.left()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// until waits for something that other processes do.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

// TestFullStream: a stream that does not fit says so and leaves nothing.
func TestFullStream(t *testing.T) {
	w := begin(t)
	v := w.alloc("raw", 300<<10)
	source := io.LimitReader(noise{}, 150<<20)
	f, err := os.OpenFile(w.file(v, ""), os.O_WRONLY, 0)
	w.ok(err)
	_, err = io.Copy(f, source)
	w.ok(errors.Join(err, f.Close()))
	w.ok(w.Snapshot(w.ctx, v, "s"))
	before := w.left()
	to := id.Volume{Storage: "it", Name: "200/vm-200-disk-0.raw"}
	_, err = w.Transfer(w.ctx, storage.Transfer{From: v, To: to, Stream: storage.Stream{Format: "btrfs", Snapshot: "s"}})
	if err == nil || !strings.Contains(err.Error()+w.said.String(), "No space left on device") {
		t.Errorf("%v\n%s", err, w.said)
	}
	if diff := cmp.Diff(before, w.left()); diff != "" {
		t.Errorf("left (-before +after):\n%s", diff)
	}
}

// noise is data that is not all zeros.
type noise struct{}

func (noise) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return len(b), nil
}
