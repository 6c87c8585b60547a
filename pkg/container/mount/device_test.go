package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

func TestLookNode(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "")
	for _, c := range []struct{ path, err string }{
		{"", "Path is not defined"},
		{dir + "/gone", "Device " + dir + "/gone does not exist"},
		{dir + "/file", dir + "/file is not a device"},
		{dir, dir + " is not a device"},
		{dir + "/file/x", "Error accessing device " + dir + "/file/x: not a directory"},
		{"/dev/null", ""},
	} {
		n, err := LookNode(c.path)
		if text(err) != c.err {
			t.Errorf("%s: got %v, want %s", c.path, err, c.err)
		}
		if err == nil && (n.Number() != "1:3" || n.Type() != "c") {
			t.Errorf("%s is %s %s", c.path, n.Type(), n.Number())
		}
	}
}

func TestMakeNode(t *testing.T) {
	dir := workshop(t)
	n, err := LookNode("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	ids := unprivileged()
	n, err = n.Given(ids, 5, 6, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	top := mustOpen(t, dir)
	var out strings.Builder
	if err := n.Make(plan.With(t.Context(), plan.New(&out)), top, "/dri/null", ids.Root()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("make node /dri/null: c 1:3\n", out.String()); diff != "" {
		t.Error(diff)
	}
	for range 2 { // what is there is replaced
		if err := n.Make(t.Context(), top, "dri/null", ids.Root()); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/dri/null", &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != 100005 || st.Gid != 100006 || st.Mode != unix.S_IFCHR|0o640 || st.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("made %d:%d %o %x", st.Uid, st.Gid, st.Mode, st.Rdev)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := n.Make(t.Context(), top, "/out/null", ids.Root()); text(err) != "node /dev/null: symlink encountered at: /out" {
		t.Errorf("got %v", err)
	}
	if _, err := n.Given(ids, 65536, 0, 0); text(err) != "the container has no user 65536" {
		t.Errorf("got %v", err)
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]os.FileMode{"": 0o660, "0660": 0o660, "0007": 7} {
		if got, err := ParseMode(text); got != want || err != nil {
			t.Errorf("%q: %o, %v", text, got, err)
		}
	}
	for _, bad := range []string{"8", "07777", "rw", "-1"} {
		if _, err := ParseMode(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestAddNode(t *testing.T) {
	dir := workshop(t)
	home := mkdir(t, dir, "home")
	ids := unprivileged()
	chown(t, 100000, 100000, home)
	a := start(t, "container", home, ids)
	c := Container{Init: a.pid, IDs: ids}
	n, err := LookNode("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if n, err = n.Given(ids, 0, 0, 0o660); err != nil {
		t.Fatal(err)
	}
	n.Path = "/dev/in/null"
	if err := (Host{}).AddNode(t.Context(), c, n); err != nil {
		t.Fatal(err)
	}
	if got := a.do("write /dev/in/null"); got != "done" {
		t.Error(got)
	}
	if got := a.do("owner /dev/in/null"); got != "0:0 660" {
		t.Error(got)
	}
	if got := a.do("cat /dev/in/null"); got != "" {
		t.Errorf("read %q", got)
	}
	if err := (Host{}).RemoveNode(t.Context(), c, n); err != nil {
		t.Error(err)
	}
	if got := a.do("cat /dev/in/null"); !strings.Contains(got, "no such file") {
		t.Error(got)
	}
	if err := (Host{}).RemoveNode(t.Context(), c, n); err == nil {
		t.Error("removed twice")
	}
	if err := os.Symlink("/etc/passwd", home+"/dev/link"); err != nil {
		t.Fatal(err)
	}
	n.Path = "/dev/link"
	if err := (Host{}).AddNode(t.Context(), c, n); err == nil || !strings.Contains(err.Error(), "a folder or a link is in the way") {
		t.Errorf("onto a link: %v", err)
	}
}
