package file_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/file"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "100.conf")
	if err := file.Write(path, []byte("memory: 512\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	if err := file.Write(path, []byte("memory: 1024\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != "memory: 1024\n" {
		t.Errorf("content %q", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o604 {
		t.Errorf("mode %v", info.Mode())
	}
	if diff := cmp.Diff([]string{"100.conf"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	for _, text := range []string{"first", "second"} {
		if err := file.Replace(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("left beside it: %v, %v", all, err)
	}
}

func TestWriteFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real/file", link); err != nil {
		t.Fatal(err)
	}
	if err := file.Write(link, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(dir, "real/file")); got != "x" {
		t.Errorf("content %q", got)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := file.Write(loop, nil, 0o600); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("loop: %v", err)
	}
}

func TestWriteFaultsLeaveTheOldFile(t *testing.T) {
	stop := errors.New("stop")
	tests := []struct {
		name string
		fill func(io.Writer) error
		want error
		text string
	}{
		{"fill fails", func(w io.Writer) error { _, _ = w.Write([]byte("part")); return stop }, stop, "stop"},
		{"disk full", func(io.Writer) error { return syscall.ENOSPC }, syscall.ENOSPC, "no space left on device (free some space on that file system)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := file.WriteFunc(path, 0o600, tt.fill)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v", err)
			}
			if want := "write " + path + ": " + tt.text; err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
			if got := read(t, path); got != "old" {
				t.Errorf("content %q", got)
			}
			if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWriteOnAFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH) //nolint:errcheck // nothing to be done
	path := filepath.Join(dir, "f")
	if err := file.Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := file.Write(path, make([]byte, 1<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("error %v", err)
	}
	if got := read(t, path); got != "old" {
		t.Errorf("content %q", got)
	}
	if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteIntoNothing(t *testing.T) {
	err := file.Write(filepath.Join(t.TempDir(), "no", "f"), nil, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if err := file.Write(t.TempDir(), nil, 0o600); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a folder: %v", err)
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	results := make(chan error)
	for range 8 {
		go func() { results <- file.Create(path, []byte("whole"), 0o640) }()
	}
	made := 0
	for range 8 {
		switch err := <-results; {
		case err == nil:
			made++
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	if made != 1 {
		t.Errorf("%d callers made it", made)
	}
	if got := read(t, path); got != "whole" {
		t.Errorf("content %q", got)
	}
	if diff := cmp.Diff([]string{"f"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if b, err := file.ReadOptional(path, 5); b != nil || err != nil {
		t.Errorf("absent: %q, %v", b, err)
	}
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := file.Read(path, 5); string(b) != "12345" || err != nil {
		t.Errorf("fits: %q, %v", b, err)
	}
	if _, err := file.Read(path, 4); !errors.Is(err, file.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestCleanTemps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[x]*")
	if err := file.CleanTemps(filepath.Join(dir, "f")); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".f.tmp.123", ".g.tmp.1", "f"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.CleanTemps(filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".g.tmp.1", "f"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// sparse makes a file of 64 MiB with a little data in the middle and at the end.
func sparse(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // a test file
	for _, pos := range []int64{20 << 20, 64<<20 - 4} {
		if _, err := f.WriteAt([]byte("data"), pos); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyKeepsHoles(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	sparse(t, from)
	var last int64
	if err := file.Copy(t.Context(), from, to, func(done, _ int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	if last != 64<<20 {
		t.Errorf("progress ended at %d", last)
	}
	if !bytes.Equal([]byte(read(t, from)), []byte(read(t, to))) {
		t.Error("contents differ")
	}
	info, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
		t.Errorf("the copy uses %d bytes on disk", used)
	}
	if err := file.Copy(t.Context(), from, to, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
}

func TestCopyStops(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	sparse(t, from)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("stopped")
	err := file.Copy(ctx, from, to, func(_, _ int64) { cancel(cause) })
	if !errors.Is(err, cause) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"from"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckWritable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := file.CheckWritable(path); err != nil {
		t.Error(err)
	}
	if err := file.CheckWritable(filepath.Join(dir, "no", "f")); err == nil {
		t.Error("there is no such folder")
	}
	if names, err := os.ReadDir(dir); len(names) > 0 || err != nil {
		t.Errorf("left: %v, %v", names, err)
	}
}
