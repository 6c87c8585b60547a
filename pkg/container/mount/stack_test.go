package mount

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// hosts are the ways in which things are mounted.
func hosts() map[string]Host { return map[string]Host{"new": {}, "legacy": {Legacy: true}} }

func TestStack(t *testing.T) {
	for name, h := range hosts() {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			var warned bytes.Buffer
			h.Patience = time.Millisecond
			h.Warn = func(f string, args ...any) { fmt.Fprintf(&warned, f+"\n", args...) }
			root := mkdir(t, dir, "rootfs")
			raw := image(t, dir+"/root.raw", "ext4")
			data := image(t, dir+"/data.raw", "ext4")
			shared := mkdir(t, dir, "shared/docs")
			write(t, shared+"/hello", "hello")
			subvol := mkdir(t, dir, "subvol")
			ids := IDs{{Inside: 0, Outside: 100000, Count: 65536}, {Group: true, Inside: 0, Outside: 100000, Count: 65536}}
			points := []Point{
				{Name: "mp1", Kind: Bind, Source: shared, Target: "/srv/data/docs", ReadOnly: true},
				{Name: "mp2", Kind: Volume, Format: Subvol, Source: subvol, Target: "/home", Quota: true, Options: Options{NoExec: true, NoATime: true}},
				{Name: "mp0", Kind: Volume, Source: data, Target: "/srv/data", Options: Options{NoSUID: true, NoDev: true, LazyTime: true, Discard: true}},
				{Name: "rootfs", Kind: Volume, Source: raw, Target: "/"},
			}
			s, err := h.Mount(t.Context(), root, ids, points)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, root+"/srv/data/docs/hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			if err := os.WriteFile(root+"/srv/data/docs/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing to a read-only mount: %v", err)
			}
			write(t, root+"/home/x", "")
			write(t, root+"/srv/data/x", "")
			mount, super := options(t, root+"/srv/data")
			if !has(mount, "nosuid") || !has(mount, "nodev") || !has(super, "lazytime") && !has(mount, "lazytime") || !has(super, "discard") {
				t.Errorf("mp0 has options %s and %s", mount, super)
			}
			if mount, _ := options(t, root+"/home"); !has(mount, "noexec") || !has(mount, "noatime") || has(mount, "ro") {
				t.Errorf("mp2 has options %s", mount)
			}
			var st unix.Stat_t
			if err := unix.Stat(root+"/srv", &st); err != nil || st.Uid != 100000 || st.Gid != 100000 {
				t.Errorf("folder on the way belongs to %d:%d, %v", st.Uid, st.Gid, err)
			}
			if want := "cannot enable quota control for bind mounted subvolumes\n"; warned.String() != want {
				t.Errorf("warned %q", warned.String())
			}
			var devices []bool
			for _, m := range s.Mounted {
				devices = append(devices, strings.HasPrefix(m.Device, "/dev/loop"))
			}
			if diff := cmp.Diff([]bool{true, false, true, false}, devices); diff != "" {
				t.Error(diff)
			}
			if _, err := h.Mount(t.Context(), mkdir(t, dir, "second"), nil, []Point{{Source: data, Target: "/"}}); err == nil || !strings.Contains(err.Error(), "is in use as /dev/loop") {
				t.Errorf("the same image twice: %v", err)
			}
			if err := s.Unmount(t.Context()); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(root); len(left) > 0 {
				t.Errorf("root is not empty: %v", left)
			}
		})
	}
}

// Nothing is mounted when one cannot be.
func TestStackAllOrNothing(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "rootfs")
	subvol := mkdir(t, dir, "subvol")
	if err := os.Symlink("/etc", subvol+"/evil"); err != nil {
		t.Fatal(err)
	}
	mkdir(t, dir, "src")
	write(t, dir+"/file", "not an image")
	for name, c := range map[string]struct {
		point Point
		want  string
	}{
		"target behind a link": {Point{Name: "mp0", Kind: Bind, Source: dir + "/src", Target: "/evil/x"}, "mp0: symlink encountered at: " + root + "/evil"},
		"target is a link":     {Point{Name: "mp0", Kind: Bind, Source: dir + "/src", Target: "/evil"}, "mp0: symlink encountered at: " + root + "/evil"},
		"target upwards":       {Point{Name: "mp0", Kind: Bind, Source: dir + "/src", Target: "/a/../../x"}, "mp0: path leads upwards at: " + root + "/a/.."},
		"source missing":       {Point{Name: "mp0", Kind: Bind, Source: dir + "/gone", Target: "/x"}, "mp0: directory '" + dir + "/gone' does not exist"},
		"source behind a link": {Point{Name: "mp0", Kind: Bind, Source: subvol + "/evil", Target: "/x"}, "mp0: symlink encountered at: " + subvol + "/evil"},
		"not a device":         {Point{Name: "mp0", Kind: Device, Source: dir + "/file", Target: "/x"}, "mp0: " + dir + "/file is not a block device"},
		"not a file system":    {Point{Name: "mp0", Source: dir + "/file", Target: "/x"}, "no file system on it that is known here"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Host{}.Mount(t.Context(), root, nil, []Point{{Format: Subvol, Source: subvol, Target: "/"}, c.point})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestTrustedLink(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "rootfs")
	mkdir(t, dir, "real/images/100/subvol-100-disk-0.subvol")
	if err := os.Symlink("real", dir+"/storage"); err != nil {
		t.Fatal(err)
	}
	p := Point{Format: Subvol, Source: dir + "/storage/images/100/subvol-100-disk-0.subvol", Trusted: dir + "/storage", Target: "/"}
	s, err := Host{}.Mount(t.Context(), root, nil, []Point{p})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	p.Trusted = ""
	if _, err := (Host{}).Mount(t.Context(), root, nil, []Point{p}); err == nil {
		t.Error("a link was followed that nobody trusts")
	}
}

func TestFilesystems(t *testing.T) {
	for name, h := range hosts() {
		for _, fstype := range []string{"ext4", "xfs", "btrfs"} {
			t.Run(name+"/"+fstype, func(t *testing.T) {
				dir := workshop(t)
				root := mkdir(t, dir, "rootfs")
				raw := image(t, dir+"/disk.raw", fstype)
				for _, c := range []struct {
					name  string
					point Point
					check func(mount, super string) bool
				}{
					{"plain", Point{}, func(m, _ string) bool { return has(m, "rw") }},
					{"acl", Point{ACL: new(true)}, func(m, _ string) bool { return has(m, "rw") }},
					{"noacl", Point{ACL: new(false)}, func(_, s string) bool { return fstype != "btrfs" || has(s, "noacl") }},
					{"ro", Point{ReadOnly: true}, func(m, s string) bool { return has(m, "ro") && has(s, "ro") }},
					{"frozen", Point{Frozen: true}, func(m, s string) bool { return has(m, "ro") && has(s, "ro") }},
				} {
					p := c.point
					p.Source, p.Target = raw, "/"
					s, err := h.Mount(t.Context(), root, nil, []Point{p})
					if err != nil {
						t.Errorf("%s: %v", c.name, err)
						continue
					}
					if mount, super := options(t, root); !c.check(mount, super) {
						t.Errorf("%s: options %s and %s", c.name, mount, super)
					}
					if err := s.Unmount(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// A frozen image is not written to, although its journal has something to play back.
func TestFrozenIsNotWritten(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "rootfs")
	raw := image(t, dir+"/disk.raw", "ext4")
	s, err := Host{}.Mount(t.Context(), root, nil, []Point{{Source: raw, Target: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, root+"/x", "x")
	unix.Sync()
	crashed := read(t, raw) // as after a loss of power
	if err := s.Unmount(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/snap.raw", crashed)
	s, err = Host{}.Mount(t.Context(), root, nil, []Point{{Source: dir + "/snap.raw", Target: "/", Frozen: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	if read(t, dir+"/snap.raw") != crashed {
		t.Error("the image was written to")
	}
}

func TestQuota(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "rootfs")
	raw := image(t, dir+"/disk.raw", "ext4")
	s, err := Host{}.Mount(t.Context(), root, nil, []Point{{Source: raw, Target: "/", Quota: true}})
	if err != nil {
		if !strings.Contains(err.Error(), "quota") {
			t.Errorf("an error that does not tell why: %v", err)
		}
		t.Skip("no quotas in this kernel")
	}
	if _, super := options(t, root); !has(super, "usrjquota=aquota.user") || !has(super, "grpjquota=aquota.group") || !has(super, "jqfmt=vfsv0") {
		t.Errorf("options %s", super)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	btrfs := image(t, dir+"/btrfs.raw", "btrfs")
	_, err = Host{}.Mount(t.Context(), root, nil, []Point{{Source: btrfs, Target: "/", Quota: true}})
	if err == nil || !strings.Contains(err.Error(), "no user quotas on btrfs") {
		t.Errorf("quotas on btrfs: %v", err)
	}
}

func TestBlockDevice(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "rootfs")
	f, err := os.OpenFile(image(t, dir+"/disk.raw", "ext4"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	loop, err := Host{}.attach(t.Context(), f, f.Name(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	s, err := Host{}.Mount(t.Context(), root, nil, []Point{{Kind: Device, Source: loop.Name(), Target: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Mounted[0].Device; got != loop.Name() {
		t.Errorf("device %s", got)
	}
	loops, err := Host{}.Loops(f.Name())
	if diff := cmp.Diff([]string{loop.Name()}, loops); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := errors.Join(f.Truncate(16<<20), Host{}.Grown(f.Name())); err != nil {
		t.Error(err)
	}
	if size, err := loop.Seek(0, 2); err != nil || size != 16<<20 {
		t.Errorf("the device has %d bytes, %v", size, err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
}

// What is in use goes from the tree nonetheless, and who uses it is told.
func TestBusy(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "rootfs")
	var warned string
	h := Host{Patience: time.Millisecond, Warn: func(f string, args ...any) { warned += fmt.Sprintf(f, args...) }}
	s, err := h.Mount(t.Context(), root, nil, []Point{{Source: image(t, dir+"/disk.raw", "ext4"), Target: "/"}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, root+"/x", "")
	f, err := os.Open(root + "/x")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	if want := fmt.Sprintf("(pid %d)", os.Getpid()); !strings.Contains(warned, want) || !strings.Contains(warned, root+" is in use by ") {
		t.Errorf("warned %q, want %s", warned, want)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	f.Close()
}

func TestUnmountTree(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "root fs")
	mkdir(t, dir, "root fs beside")
	a, b := mkdir(t, dir, "a"), mkdir(t, dir, "b")
	s, err := Host{}.Mount(t.Context(), root, nil, []Point{
		{Format: Subvol, Source: a, Target: "/"}, {Kind: Bind, Source: b, Target: "/in/side"}, {Kind: Bind, Source: a, Target: "/in/side/deep"},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	var out strings.Builder
	if err := (Host{}).UnmountTree(plan.With(t.Context(), plan.New(&out)), root); err != nil {
		t.Fatal(err)
	}
	if want := "unmount R/in/side/deep\nunmount R/in/side\nunmount R\n"; strings.ReplaceAll(out.String(), root, "R") != want {
		t.Errorf("plan %q", out.String())
	}
	if err := (Host{}).UnmountTree(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if err := (Host{}).UnmountTree(t.Context(), filepath.Join(dir, "nowhere")); err != nil {
		t.Error(err)
	}
}

func TestPlanMounts(t *testing.T) {
	var out strings.Builder
	ctx := plan.With(t.Context(), plan.New(&out))
	s, err := Host{}.Mount(ctx, "/r", nil, []Point{{Source: "/b", Target: "/x"}, {Source: "/a", Target: "/"}})
	if err != nil || len(s.Mounted) > 0 {
		t.Fatal(s, err)
	}
	if diff := cmp.Diff("mount /a on /r\nmount /b on /r/x\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

// On most hosts mounts show up in all namespaces. What is mounted in a container must not.
func TestPropagation(t *testing.T) {
	for name, h := range hosts() {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
				t.Fatal(err)
			}
			root, src := mkdir(t, dir, "root"), mkdir(t, dir, "src")
			mkdir(t, src, "inside")
			s, err := h.Mount(t.Context(), root, nil, []Point{{Kind: Bind, Source: src, Target: "/mnt"}})
			if err != nil {
				t.Fatal(err)
			}
			s.Release()
			if err := unix.Mount("none", root+"/mnt/inside", "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			want := []string{root + "/mnt", root + "/mnt/inside"}
			if diff := cmp.Diff(want, mountPoints(read(t, "/proc/self/mountinfo"), dir)[1:]); diff != "" {
				t.Error(diff)
			}
			if err := h.UnmountTree(t.Context(), root); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who mounts in a namespace of his own and is killed leaves nothing.
func TestKilled(t *testing.T) {
	dir := workshop(t)
	root, raw := mkdir(t, dir, "root"), image(t, dir+"/disk.raw", "ext4")
	a := start(t, "container", "/", nil)
	if got := a.do("mount " + raw + " " + root); got != "done" {
		t.Fatal(got)
	}
	if got := loopsBelow(t, dir); len(got) != 1 {
		t.Errorf("attached: %q", got)
	}
	a.killed = true
	if err := unix.Kill(a.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	noLoops(t, dir)
}

// Nothing stays open, whether it works or not.
func TestDescriptors(t *testing.T) {
	dir := workshop(t)
	root, src := mkdir(t, dir, "root"), mkdir(t, dir, "src")
	raw := image(t, dir+"/disk.raw", "ext4")
	write(t, dir+"/bad", "bad")
	a := start(t, "container", mkdir(t, dir, "home"), nil)
	open := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := open()
	for _, h := range hosts() {
		for _, points := range [][]Point{
			{{Source: raw, Target: "/"}, {Kind: Bind, Source: src, Target: "/x"}},
			{{Source: raw, Target: "/"}, {Kind: Bind, Source: src + "/gone", Target: "/x"}},
			{{Source: raw, Target: "/"}, {Kind: Bind, Source: src, Target: "/lost+found/../x"}},
			{{Source: dir + "/bad", Target: "/"}},
		} {
			s, err := h.Mount(t.Context(), root, nil, points)
			if err == nil {
				err = s.Unmount(t.Context())
				if err != nil {
					t.Error(err)
				}
			}
		}
		for _, p := range []Point{
			{Source: raw, Target: "/x", IDMap: IDMap{Passthrough: true}}, {Kind: Bind, Source: src, Target: "/../x"}, {Source: dir + "/bad", Target: "/x"},
		} {
			c := Container{Init: a.pid, IDs: unprivileged()}
			if _, err := h.Add(t.Context(), c, p); err == nil {
				if err := h.Remove(t.Context(), c, p); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// A view is in no tree, but programs see it when they get its descriptor.
func TestOpen(t *testing.T) {
	dir := workshop(t)
	v, err := Host{}.Open(t.Context(), Point{Source: image(t, dir+"/disk.raw", "ext4"), Target: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(v.Device, "/dev/loop") {
		t.Errorf("device %q", v.Device)
	}
	cmd := exec.Command("sh", "-c", "echo x >/proc/self/fd/3/x && ls /proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{v.Root}
	out, err := cmd.CombinedOutput()
	if string(out) != "lost+found\nx\n" || err != nil {
		t.Errorf("%s, %v", out, err)
	}
	if left := mountPoints(read(t, "/proc/self/mountinfo"), dir); len(left) != 1 {
		t.Errorf("mounted: %q", left)
	}
	v.Close()
	noLoops(t, dir)
	if _, err := (Host{Legacy: true}).Open(t.Context(), Point{Kind: Bind, Source: dir}, nil); err == nil {
		t.Error("no error on an old kernel")
	}
}

func BenchmarkStack(b *testing.B) {
	dir := workshop(b)
	root := mkdir(b, dir, "rootfs")
	points := []Point{{Format: Subvol, Source: mkdir(b, dir, "subvol"), Target: "/"}}
	for i := range 9 {
		points = append(points, Point{Kind: Bind, Source: mkdir(b, dir, fmt.Sprint("src", i)), Target: fmt.Sprint("/mnt/", i), ReadOnly: i%2 == 0})
	}
	for b.Loop() {
		s, err := Host{}.Mount(b.Context(), root, nil, points)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Unmount(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
