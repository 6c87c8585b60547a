package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

type bindSuite struct {
	Environment struct {
		Directories []string          `json:"directories"`
		Secret      string            `json:"secret"`
		Symlinks    map[string]string `json:"symlinks"`
	} `json:"environment"`
	Cases []bindCase `json:"cases"`
}

type bindCase struct {
	Name             string  `json:"name"`
	Error            *string `json:"error"`
	Walk             string  `json:"walk"`
	Mkdir            bool    `json:"mkdir"`
	Root             string  `json:"root"`
	Source           string  `json:"source"`
	Target           string  `json:"target"`
	ReadOnly         bool    `json:"read_only"`
	RemountRW        bool    `json:"remount_rw"`
	ReplaceBySymlink string  `json:"replace_by_symlink"`
	Restore          bool    `json:"restore"`
}

func TestConformanceBindMount(t *testing.T) {
	need(t)
	var suite bindSuite
	conformance.Load(t, "guest/lxc-bindmount", &suite)
	for _, kernel := range []struct {
		name string
		host Host
	}{{"", Host{}}, {"legacy/", Host{Legacy: true}}} {
		for _, c := range suite.Cases {
			t.Run(kernel.name+c.Name, func(t *testing.T) {
				dir := workshop(t)
				for _, d := range suite.Environment.Directories {
					mkdir(t, dir, d)
				}
				for link, to := range suite.Environment.Symlinks {
					if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
						t.Fatal(err)
					}
				}
				t.Chdir(dir)
				var err error
				if c.Walk != "" {
					err = c.walk(t)
				} else {
					err = c.bind(t, kernel.host, dir, filepath.Join(dir, suite.Environment.Secret))
				}
				want := ""
				if c.Error != nil {
					want = strings.TrimSuffix(*c.Error, "\n")
				}
				if got := text(err); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (c bindCase) walk(t *testing.T) error {
	top, err := OpenFolder(".")
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	var owner *Owner
	if c.Mkdir {
		owner = &Owner{}
	}
	at, err := walk(top, ".", c.Walk, owner)
	at.Close()
	return err
}

// bind goes the three steps, and does what the case wants done between them.
func (c bindCase) bind(t *testing.T, h Host, dir, secret string) error {
	root, err := OpenFolder(c.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at, err := walk(root, c.Root, c.Target, &Owner{})
	if err != nil {
		return err
	}
	defer at.Close()
	p := Point{Kind: Bind, Source: c.Source, Target: c.Target, ReadOnly: c.ReadOnly && !c.RemountRW}
	s, err := walked{".", c.Source}.source(p)
	if err != nil {
		return err
	}
	tree := &tree{point: p, source: s}
	defer tree.Close()
	if err := h.detach(tree, nil); err != nil {
		t.Fatal(err)
	}
	swapped := filepath.Join(dir, c.ReplaceBySymlink)
	if c.ReplaceBySymlink != "" {
		put(t, c, swapped, secret)
		mkdir(t, dir, c.Source)
	}
	err = tree.source.unchanged()
	if err == nil {
		err = errors.Join(tree.onto(at), tree.finish(at))
	}
	if c.ReplaceBySymlink != "" && c.Restore {
		if err := errors.Join(os.Remove(swapped), os.Rename(swapped+".away", swapped)); err != nil {
			t.Fatal(err)
		}
	}
	if err != nil {
		return err
	}
	err = tree.verify(at, c.ReadOnly)
	if undo := unix.Unmount(below(at), unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); undo != nil {
		t.Error(undo)
	}
	return err
}

// put puts a link in the place of a folder, which is kept when it is to come back.
func put(t *testing.T, c bindCase, folder, secret string) {
	var err error
	if c.Restore {
		err = os.Rename(folder, folder+".away")
	} else {
		err = os.RemoveAll(folder)
	}
	if err := errors.Join(err, os.Symlink(secret, folder)); err != nil {
		t.Fatal(err)
	}
}

// Somebody makes the mount writable between mounting and looking at it.
func TestWritableIsNoticed(t *testing.T) {
	dir := workshop(t)
	c := bindCase{
		Root: mkdir(t, dir, "root"), Source: strings.TrimPrefix(mkdir(t, dir, "src"), dir), Target: "/mnt",
		ReadOnly: true, RemountRW: true,
	}
	t.Chdir(dir)
	if got := text(c.bind(t, Host{}, dir, "")); got != "failed to mark bind mount read only" {
		t.Errorf("got %q", got)
	}
	c.RemountRW = false
	if err := c.bind(t, Host{}, dir, ""); err != nil {
		t.Error(err)
	}
	if err := c.bind(t, Host{Legacy: true}, dir, ""); err != nil {
		t.Error(err)
	}
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	mkdir(t, dir, "a/b")
	write(t, dir+"/a/file", "")
	for link, to := range map[string]string{"out": "/", "in": "a", "a/up": "..", "dangling": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	top, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	for _, c := range []struct{ name, path, err string }{
		{"itself", "/", ""},
		{"below", "//a/./b/", ""},
		{"link out", "/out/etc", "symlink encountered at: R/out"},
		{"link inside", "/in/b", "symlink encountered at: R/in"},
		{"link as the last", "/a/up", "symlink encountered at: R/a/up"},
		{"dangling", "/dangling", "symlink encountered at: R/dangling"},
		{"file", "/a/file", "not a directory: R/a/file"},
		{"file on the way", "/a/file/x", "not a directory: R/a/file"},
		{"upwards", "/a/../..", "path leads upwards at: R/a/.."},
		{"missing", "/a/c/d", "cannot open directory R/a/c: no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, err := walk(top, "R", c.path, nil)
			at.Close()
			if got := text(err); got != c.err {
				t.Errorf("got %q, want %q", got, c.err)
			}
		})
	}
}

func TestWalkMakes(t *testing.T) {
	dir := workshop(t)
	top, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	mkdir(t, dir, "old")
	at, err := walk(top, dir, "/old/new/er", &Owner{100000, 100001})
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	for path, want := range map[string]Owner{"old": {}, "old/new": {100000, 100001}, "old/new/er": {100000, 100001}} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, path), &st); err != nil {
			t.Fatal(err)
		}
		if got := (Owner{int(st.Uid), int(st.Gid)}); got != want || st.Mode&0o7777 != 0o755 {
			t.Errorf("%s: owner %v, mode %o; want %v", path, got, st.Mode, want)
		}
	}
	if same, err := sameFolder(at.parent, mustOpen(t, dir+"/old/new")); err != nil || !same || at.name != "er" {
		t.Errorf("parent is not old/new but %v, %v; name %s", same, err, at.name)
	}
}

func mustOpen(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Between Linux 5.2 and 5.12 a mount gets its options only after it is mounted, and keeps
// those that the original has.
func TestOptionsAfterwards(t *testing.T) {
	dir := workshop(t)
	src, root := mkdir(t, dir, "src"), mustOpen(t, mkdir(t, dir, "root"))
	if err := unix.Mount("none", src, "tmpfs", unix.MS_NOSUID, ""); err != nil {
		t.Fatal(err)
	}
	p := Point{Kind: Bind, Source: src, Target: "/mnt", ReadOnly: true, Options: Options{NoDev: true}}
	tree, err := Host{}.prepare(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	at, err := walk(root, dir+"/root", p.Target, &Owner{})
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.OpenTree(int(tree.source.dir.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE)
	if err != nil {
		t.Skipf("an old kernel: %v", err)
	}
	tree.mount.Close()
	tree.mount, tree.options = os.NewFile(uintptr(fd), src), false
	if err := tree.attach(at); err != nil {
		t.Error(err)
	}
	if got, _ := options(t, dir+"/root/mnt"); !has(got, "ro") || !has(got, "nodev") || !has(got, "nosuid") {
		t.Errorf("options %s", got)
	}
	at.Close()
	tree.Close()
	for _, path := range []string{dir + "/root/mnt", src} {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	}
}
