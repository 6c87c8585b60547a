package testct

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Container makes the folder lxcpath/ID with a busybox root and a configuration that starts it
// as it is, unprivileged, with more lines at the end; its console writes to the file "console" there.
// It is for tests of what runs containers.
func Container(t testing.TB, lxcpath string, id int, more string) (home string) {
	t.Helper()
	home = filepath.Join(lxcpath, strconv.Itoa(id))
	Rootfs(t, filepath.Join(home, "rootfs"), 100000)
	text := fmt.Sprintf(`lxc.rootfs.path = dir:%[1]s/rootfs
lxc.uts.name = c%[2]d
lxc.idmap = u 0 100000 65536
lxc.idmap = g 0 100000 65536
lxc.mount.auto = proc:mixed sys:mixed
lxc.cgroup.dir.monitor = lxc.monitor/%[2]d
lxc.cgroup.dir.container = lxc/%[2]d
lxc.cgroup.dir.container.inner = ns
lxc.monitor.unshare = 1
lxc.signal.halt = SIGUSR2
lxc.signal.reboot = SIGTERM
lxc.console.logfile = %[1]s/console
%[3]s`, home, id, more)
	if err := os.WriteFile(filepath.Join(home, "config"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return home
}

// Up waits until the container of that folder has written Ready to its console.
func Up(t testing.TB, home string) {
	t.Helper()
	var console []byte
	for range 1500 {
		console, _ = os.ReadFile(filepath.Join(home, "console"))
		if bytes.Contains(console, []byte(Ready)) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(home, "log"))
	t.Fatalf("%s is not up: %q\n%s", home, console, log)
}

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
