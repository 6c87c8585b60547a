package rootfs_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
)

// open makes a root in a folder that also has secrets beside it, and returns both.
func open(t *testing.T) (root *rootfs.Root, dir, outside string) {
	t.Helper()
	top := t.TempDir()
	dir, outside = filepath.Join(top, "root"), filepath.Join(top, "secret")
	for _, d := range []string{dir, filepath.Join(dir, "etc"), outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(outside, "key"), "secret")
	r, err := rootfs.Open(dir, rootfs.Owner{UID: os.Getuid(), GID: os.Getgid()})
	if errors.Is(err, rootfs.ErrNoOpenat2) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir, outside
}

func put(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestReadFile(t *testing.T) {
	r, dir, outside := open(t)
	put(t, filepath.Join(dir, "etc/name"), "inside")
	put(t, filepath.Join(dir, "key"), "the root's own key")
	link(t, "/etc/name", filepath.Join(dir, "absolute"))
	link(t, "etc", filepath.Join(dir, "conf"))
	link(t, "../../../../key", filepath.Join(dir, "etc/up"))
	link(t, filepath.Join(outside, "key"), filepath.Join(dir, "etc/out"))
	link(t, "/proc/self/root", filepath.Join(dir, "etc/magic"))
	link(t, "loop", filepath.Join(dir, "etc/loop"))
	if err := syscall.Mkfifo(filepath.Join(dir, "etc/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "etc/fifo"), filepath.Join(dir, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	for n := range 41 {
		to := "/etc/name"
		if n > 0 {
			to = "/etc/chain" + string(rune('A'+n-1))
		}
		link(t, to, filepath.Join(dir, "etc/chain"+string(rune('A'+n))))
	}

	for _, tt := range []struct {
		name, path string
		limit      int64
		want       string
		err        error
	}{
		{name: "plain", path: "/etc/name", want: "inside"},
		{name: "without a leading slash", path: "etc/name", want: "inside"},
		{name: "as many bytes as allowed", path: "/etc/name", limit: 6, want: "inside"},
		{name: "one byte too many", path: "/etc/name", limit: 5, err: rootfs.ErrTooLarge},
		{name: "absolute link", path: "/absolute", want: "inside"},
		{name: "link to a folder", path: "/conf/name", want: "inside"},
		{name: "dots end at the root", path: "/../../etc/../../key", want: "the root's own key"},
		{name: "dots in a link end at the root", path: "/etc/up", want: "the root's own key"},
		{name: "link out", path: "/etc/out", err: fs.ErrNotExist},
		{name: "link of /proc", path: "/etc/magic/etc/passwd", err: fs.ErrNotExist},
		{name: "link to itself", path: "/etc/loop", err: unix.ELOOP},
		{name: "forty links", path: "/etc/chain" + string(rune('A'+38)), want: "inside"},
		{name: "forty-one links", path: "/etc/chain" + string(rune('A'+40)), err: unix.ELOOP},
		{name: "named pipe", path: "/etc/fifo", err: rootfs.ErrNotRegular},
		{name: "another name of a named pipe", path: "/etc/passwd", err: rootfs.ErrNotRegular},
		{name: "folder", path: "/etc", err: rootfs.ErrNotRegular},
		{name: "the root", path: "/", err: rootfs.ErrNotRegular},
		{name: "nothing", path: "/etc/none", err: fs.ErrNotExist},
		{name: "empty path", path: "", err: fs.ErrNotExist},
		{name: "NUL in the path", path: "/etc/na\x00me", err: unix.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			limit := tt.limit
			if limit == 0 {
				limit = 1000
			}
			got, err := r.ReadFile(tt.path, limit)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDevicesAreNotOpened(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to make a device file")
	}
	r, dir, _ := open(t)
	if err := unix.Mknod(filepath.Join(dir, "etc/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("device files cannot be made here: %v", err)
	}
	if _, err := r.ReadFile("/etc/null", 10); !errors.Is(err, rootfs.ErrNotRegular) {
		t.Errorf("read: %v", err)
	}
	if _, err := r.OpenFile("/etc/null", os.O_WRONLY); !errors.Is(err, rootfs.ErrNotRegular) {
		t.Errorf("open: %v", err)
	}
	// It is replaced by a file, not written to.
	if err := r.WriteFile("/etc/null", []byte("x"), rootfs.Attr{}); err != nil {
		t.Fatal(err)
	}
	if info, err := r.Lstat("/etc/null"); err != nil || !info.IsRegular() {
		t.Errorf("%+v %v", info, err)
	}
}

// The links of /proc that jump are refused, those of a running system's /proc included.
func TestMagicLinks(t *testing.T) {
	if _, err := os.Stat("/proc/self/root"); err != nil {
		t.Skip("no /proc")
	}
	r, err := rootfs.Open("/proc", rootfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range []string{"/self/root/etc/passwd", "/self/cwd/rootfs.go", "/self/exe", "/self/fd/0"} {
		if _, err := r.ReadFile(name, 1<<30); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A root is opened through the magic link of a process, as push and pull do.
func TestRootOfAProcess(t *testing.T) {
	r, err := rootfs.Open("/proc/self/root", rootfs.Owner{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if info, err := r.Stat("/proc"); err != nil || !info.IsDir() {
		t.Errorf("%+v %v", info, err)
	}
}

func TestWriteFile(t *testing.T) {
	r, dir, outside := open(t)
	put(t, filepath.Join(dir, "etc/old"), "old")
	if err := os.Chmod(filepath.Join(dir, "etc/old"), 0o640); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "etc/one"), "shared")
	if err := os.Link(filepath.Join(dir, "etc/one"), filepath.Join(dir, "etc/two")); err != nil {
		t.Fatal(err)
	}
	link(t, filepath.Join(outside, "key"), filepath.Join(dir, "etc/out"))
	link(t, outside, filepath.Join(dir, "away"))
	link(t, "nowhere", filepath.Join(dir, "etc/dangling"))
	if err := syscall.Mkfifo(filepath.Join(dir, "etc/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name, path string
		attr       rootfs.Attr
		mode       fs.FileMode
		err        error
	}{
		{name: "new", path: "/etc/new", mode: 0o644},
		{name: "new with a mode", path: "/etc/private", attr: rootfs.Attr{Mode: new(fs.FileMode(0o600))}, mode: 0o600},
		{name: "old keeps its mode", path: "/etc/old", mode: 0o640},
		{name: "old with another mode", path: "/etc/old", attr: rootfs.Attr{Mode: new(fs.FileMode(0o600))}, mode: 0o600},
		{name: "one of two names", path: "/etc/one", mode: 0o644},
		{name: "link out", path: "/etc/out", mode: 0o644},
		{name: "link to nowhere", path: "/etc/dangling", mode: 0o644},
		{name: "named pipe", path: "/etc/fifo", mode: 0o644},
		{name: "folder", path: "/etc", err: unix.EISDIR},
		{name: "in a folder that is missing", path: "/none/file", err: fs.ErrNotExist},
		{name: "in a folder that is a link out", path: "/away/file", err: fs.ErrNotExist},
		{name: "the root", path: "/", err: unix.EINVAL},
		{name: "dots", path: "/etc/..", err: unix.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := r.WriteFile(tt.path, []byte("new content"), tt.attr)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			info, err := os.Lstat(filepath.Join(dir, tt.path))
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != tt.mode {
				t.Errorf("mode %v, want %v", info.Mode(), tt.mode)
			}
			if got, err := r.ReadFile(tt.path, 100); err != nil || string(got) != "new content" {
				t.Errorf("%q %v", got, err)
			}
		})
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "etc/two")); string(got) != "shared" {
		t.Errorf("the other name of a replaced file was written through: %q", got)
	}
	if got, _ := os.ReadFile(filepath.Join(outside, "key")); string(got) != "secret" {
		t.Errorf("written outside: %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "etc/.virtsmith-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("made outside: %v", entries)
	}
}

func TestWriteFromKeepsTheOldFileOnFailure(t *testing.T) {
	r, dir, _ := open(t)
	put(t, filepath.Join(dir, "etc/old"), "old")
	broken := errors.New("the source is gone")
	_, err := r.WriteFrom("/etc/old", io.MultiReader(strings.NewReader("half"), failing{broken}), rootfs.Attr{})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "etc/old")); string(got) != "old" {
		t.Errorf("%q", got)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "etc")); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to give files away")
	}
	_, dir, _ := open(t)
	r, err := rootfs.Open(dir, rootfs.Owner{UID: 100000, GID: 100000})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, filepath.Join(dir, "etc/shadow"), "old")
	if err := os.Chown(filepath.Join(dir, "etc/shadow"), 100000, 100042); err != nil {
		t.Fatal(err)
	}
	for _, step := range []error{
		r.WriteFile("/etc/hostname", []byte("x"), rootfs.Attr{}),
		r.WriteFile("/etc/shadow", []byte("x"), rootfs.Attr{}),
		r.WriteFile("/etc/pushed", []byte("x"), rootfs.Attr{UID: new(100007), GID: new(100008), Mode: new(fs.FileMode(0o4755) | fs.ModeSetuid)}),
		r.MkdirAll("/a/b/c", 0o700),
		r.Symlink("/a", "/l"),
		r.ReplaceLink("/b", "/l"),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	f, err := r.Create("/etc/made", rootfs.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for path, want := range map[string][2]int{
		"/etc/hostname": {100000, 100000}, "/etc/shadow": {100000, 100042}, "/etc/pushed": {100007, 100008},
		"/a": {100000, 100000}, "/a/b/c": {100000, 100000}, "/l": {100000, 100000}, "/etc/made": {100000, 100000},
	} {
		info, err := r.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int{info.UID, info.GID}; got != want {
			t.Errorf("%s: owner %v, want %v", path, got, want)
		}
	}
	if info, _ := r.Stat("/etc/pushed"); info.Mode != 0o755|fs.ModeSetuid {
		t.Errorf("mode %v", info.Mode)
	}
}

func TestFolders(t *testing.T) {
	r, dir, outside := open(t)
	link(t, outside, filepath.Join(dir, "out"))
	put(t, filepath.Join(dir, "file"), "")
	if err := r.MkdirAll("/var/lib/thing", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.MkdirAll("/var/lib/thing/", 0o755); err != nil {
		t.Errorf("again: %v", err)
	}
	for _, name := range []string{"/file/x", "/file", "/out", "/out/x"} {
		if err := r.MkdirAll(name, 0o755); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	put(t, filepath.Join(dir, "var/b"), "")
	put(t, filepath.Join(dir, "var/a"), "")
	got, err := r.ReadDir("/var")
	if diff := cmp.Diff([]string{"a", "b", "lib"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := r.ReadDir("/file"); !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
	for _, name := range []string{"/var/lib/thing", "/var/a", "/out"} {
		if err := r.Remove(name); err != nil {
			t.Error(err)
		}
	}
	if err := r.Remove("/var"); !errors.Is(err, unix.ENOTEMPTY) {
		t.Error(err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}

func TestChange(t *testing.T) {
	r, dir, _ := open(t)
	put(t, filepath.Join(dir, "etc/a"), "a")
	link(t, "/etc/a", filepath.Join(dir, "l"))
	if err := r.Chmod("/l", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Chown("/l", -1, os.Getgid()); err != nil {
		t.Fatal(err)
	}
	if info, err := r.Stat("/l"); err != nil || info.Mode != 0o600 || info.Size != 1 {
		t.Errorf("%+v %v", info, err)
	}
	if got, err := r.Readlink("/l"); err != nil || got != "/etc/a" {
		t.Errorf("%q %v", got, err)
	}
	if err := r.Rename("/etc/a", "/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lstat("/l"); err != nil {
		t.Error(err)
	}
	if _, err := r.Stat("/l"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := r.Create("/l", rootfs.Attr{}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := r.Symlink("x", "/l"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	f, err := r.OpenFile("/b", os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "a" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := r.OpenFile("/b", os.O_RDWR|os.O_CREATE); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
}

func TestLock(t *testing.T) {
	r, _, _ := open(t)
	unlock, err := r.Lock(t.Context(), "/etc/.lock")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	if _, err := r.Lock(short, "/etc/.lock"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	again, err := r.Lock(t.Context(), "/etc/.lock")
	if err != nil {
		t.Fatal(err)
	}
	again()
}
