package rootfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

// Somebody inside swaps a folder with a link that leads out, over and over, while files are read
// and written below it. Nothing is ever read from outside, or written there.
func TestRacedSwap(t *testing.T) {
	r, dir, outside := open(t)
	real, trap := filepath.Join(dir, "etc"), filepath.Join(dir, "trap")
	put(t, filepath.Join(real, "key"), "inside")
	link(t, outside, trap)
	var stop atomic.Bool
	var swaps int
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if unix.Renameat2(unix.AT_FDCWD, real, unix.AT_FDCWD, trap, unix.RENAME_EXCHANGE) == nil {
				swaps++
			}
		}
		if swaps%2 == 1 {
			_ = unix.Renameat2(unix.AT_FDCWD, real, unix.AT_FDCWD, trap, unix.RENAME_EXCHANGE)
		}
	})
	var inside, gone int
	for range 4000 {
		got, err := r.ReadFile("/trap/../etc/key", 100)
		switch {
		case err == nil && string(got) != "secret":
			inside++
		case err == nil:
			t.Error("read from outside")
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, rootfs.ErrBusy):
			gone++
		default:
			t.Error(err)
		}
		_ = r.WriteFile("/etc/key", []byte("inside"), rootfs.Attr{})
		_ = r.WriteFile("/trap/key", []byte("inside"), rootfs.Attr{})
		_ = r.MkdirAll("/etc/made/deep", 0o755)
		_ = r.Chmod("/etc/key", 0o600)
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d swaps, %d reads inside, %d found nothing", swaps, inside, gone)
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside has %v %v", entries, err)
	}
	got, err := os.ReadFile(filepath.Join(outside, "key"))
	if err != nil || string(got) != "secret" {
		t.Errorf("outside was written: %q %v", got, err)
	}
	info, err := os.Stat(filepath.Join(outside, "key"))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("outside was changed: %v %v", info.Mode(), err)
	}
}

// A file that is swapped with a link to a secret and with a named pipe while it is read: the
// reader gets the file or an error, never the secret, and never hangs.
func TestRacedFile(t *testing.T) {
	r, dir, outside := open(t)
	file := filepath.Join(dir, "etc/file")
	put(t, file, "inside")
	link(t, filepath.Join(outside, "key"), filepath.Join(dir, "etc/link"))
	if err := unix.Mkfifo(filepath.Join(dir, "etc/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			for _, other := range []string{"etc/link", "etc/fifo"} {
				_ = unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, filepath.Join(dir, other), unix.RENAME_EXCHANGE)
			}
		}
	})
	for range 4000 {
		if got, err := r.ReadFile("/etc/file", 100); err == nil && string(got) != "inside" {
			t.Fatalf("read %q", got)
		}
		if f, err := r.OpenFile("/etc/file", os.O_RDWR); err == nil {
			f.Close()
		}
	}
	stop.Store(true)
	wg.Wait()
}

// A full and a read-only file system are named, and what was there stays.
func TestFullAndReadOnly(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=64k"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r, err := rootfs.Open(dir, rootfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.WriteFile("/file", []byte("old"), rootfs.Attr{}); err != nil {
		t.Fatal(err)
	}
	err = r.WriteFile("/file", make([]byte, 1<<20), rootfs.Attr{})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("full: %v", err)
	}
	if got, err := r.ReadFile("/file", 10); err != nil || string(got) != "old" {
		t.Errorf("%q %v", got, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	err = r.WriteFile("/file", []byte("new"), rootfs.Attr{})
	if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "is read-only") {
		t.Errorf("read-only: %v", err)
	}
	if names, err := r.ReadDir("/"); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v %v", names, err)
	}
}
