package testct

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Rootfs makes the system of Busybox in a folder, with owners shifted by the given number:
// 100000 for an unprivileged container, 0 for a privileged one. It is for tests of
// what runs containers, before anything unpacks templates for them.
func Rootfs(t testing.TB, at string, shift int) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root makes the root of a container")
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range busyboxTree(t) {
		path := filepath.Join(at, e.name)
		var err error
		switch e.kind {
		case tar.TypeDir:
			err = os.MkdirAll(path, 0o755)
		case tar.TypeSymlink:
			err = os.Symlink(e.link, path)
		default:
			err = os.WriteFile(path, []byte(e.text), 0o600)
		}
		if err := errors.Join(err, os.Lchown(path, shift, shift)); err != nil {
			t.Fatal(err)
		}
		if e.kind != tar.TypeSymlink {
			if err := syscall.Chmod(path, uint32(e.mode)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
