package zfspool_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// TestSomebodyLooks: while somebody has a disk open, as udev often has, others read what is
// there after a rollback and after a stream, and not what the kernel remembers.
func TestSomebodyLooks(t *testing.T) {
	pool := newPool(t, "vslooks", 2)
	s := serve(t, run.Host{}, tank(pool))
	alloc := func(name string) string {
		if _, err := s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "raw", File: name, Size: 1024}); err != nil {
			t.Fatal(err)
		}
		return "/dev/zvol/" + pool + "/" + name
	}
	write := func(path, text string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_SYNC, 0)
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) string {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // only read
		b := make([]byte, 3)
		if _, err := io.ReadFull(f, b); err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	look := func(path string) *os.File {
		f, err := os.Open(path)
		if err == nil {
			_, err = io.ReadFull(f, make([]byte, 1<<20))
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	keep := func(v, snap string) {
		if err := s.Snapshot(t.Context(), volume(v), snap); err != nil {
			t.Fatal(err)
		}
	}
	path := alloc("vm-100-disk-0")
	write(path, "one")
	keep("vm-100-disk-0", "one")
	write(path, "two")

	f := look(path)
	if err := s.Rollback(t.Context(), volume("vm-100-disk-0"), "one"); err != nil {
		t.Error(err)
	}
	if got := read(path); got != "one" {
		t.Errorf("after the rollback it reads %q", got)
	}
	_ = f.Close()

	stream := func(o storage.Stream) {
		var b bytes.Buffer
		if err := s.Export(t.Context(), &b, volume("vm-100-disk-0"), o); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Import(t.Context(), &b, volume("vm-200-disk-0"), o, false); err != nil {
			t.Fatal(err)
		}
	}
	stream(storage.Stream{Format: "zfs", Snapshot: "one", All: true})
	copied := "/dev/zvol/" + pool + "/vm-200-disk-0"
	f = look(copied)
	defer f.Close() //nolint:errcheck // only read
	write(path, "two")
	keep("vm-100-disk-0", "two")
	stream(storage.Stream{Format: "zfs", Snapshot: "two", Base: "one"})
	if got := read(copied); got != "two" {
		t.Errorf("after the stream it reads %q", got)
	}
}

// TestDeviceOf: the device of a zvol tells whose it is, another one does not.
func TestDeviceOf(t *testing.T) {
	pool := newPool(t, "vsnames", 2)
	s := serve(t, run.Host{}, tank(pool))
	v, err := s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "raw", Size: 1024})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := zfs.DeviceOf("/dev/zvol/" + pool + "/" + v.Name); err != nil || got != pool+"/"+v.Name {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := zfs.DeviceOf(testnode.Disk(t, 3)); err != nil || got != "" {
		t.Errorf("a disk: %q, %v", got, err)
	}
	if _, err := zfs.DeviceOf("/dev/nothing"); err == nil {
		t.Error("a device that is not there has a name")
	}
}
