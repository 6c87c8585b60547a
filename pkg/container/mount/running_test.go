package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

func TestAdd(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  IDs
	}{{"privileged", nil}, {"unprivileged", unprivileged()}} {
		t.Run(c.name, func(t *testing.T) {
			dir := workshop(t)
			home := mkdir(t, dir, "home")
			root := c.ids.Root()
			chown(t, root.UID, root.GID, home)
			a := start(t, "container", home, c.ids)
			src := mkdir(t, dir, "src")
			write(t, src+"/hello", "hello")
			running := Container{Init: a.pid, IDs: c.ids}
			h := Host{}

			bind := Point{Name: "mp0", Kind: Bind, Source: src, Target: "/srv/in/side", ReadOnly: true}
			if _, err := h.Add(t.Context(), running, bind); err != nil {
				t.Fatal(err)
			}
			if got := a.do("cat /srv/in/side/hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			if got := a.do("write /srv/in/side/hello"); !strings.Contains(got, "read-only") {
				t.Errorf("writing: %s", got)
			}
			if c.ids != nil {
				if got := a.do("remount /srv/in/side"); !strings.Contains(got, "not permitted") {
					t.Errorf("the container takes read-only back: %s", got)
				}
			}
			if got := a.do("owner /srv/in"); got != "0:0 755" {
				t.Errorf("folder on the way: %s", got)
			}
			if _, err := os.Stat(home + "/srv/in/side/hello"); err == nil {
				t.Error("seen on the host")
			}
			if err := h.Remove(t.Context(), running, bind); err != nil {
				t.Error(err)
			}
			if got := a.do("cat /srv/in/side/hello"); !strings.Contains(got, "no such file") {
				t.Errorf("after removal: %q", got)
			}
			if err := h.Remove(t.Context(), running, bind); err == nil {
				t.Error("removed twice")
			}

			raw := image(t, dir+"/disk.raw", "ext4", "-E", fmt.Sprintf("root_owner=%d:%d", root.UID, root.GID))
			volume := Point{Name: "mp1", Source: raw, Target: "/vol"}
			device, err := h.Add(t.Context(), running, volume)
			if err != nil || !strings.HasPrefix(device, "/dev/loop") {
				t.Fatal(device, err)
			}
			if got := a.do("write /vol/x"); got != "done" {
				t.Error(got)
			}
			if err := h.Remove(t.Context(), running, volume); err != nil {
				t.Error(err)
			}
			noLoops(t, dir)
		})
	}
}

// A container that unmounts what was added must not set its loop device free.
func TestAddKeeps(t *testing.T) {
	dir := workshop(t)
	home := mkdir(t, dir, "home")
	chown(t, 100000, 100000, home)
	a := start(t, "container", home, unprivileged())
	monitor := start(t, "container", "/", nil)
	c := Container{Init: a.pid, IDs: unprivileged(), Monitor: monitor.pid, Staging: dir + "/staging"}
	p := Point{Name: "mp0", Source: image(t, dir+"/disk.raw", "ext4"), Target: "/vol"}
	if _, err := (Host{}).Add(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
	if got := a.do("umount /vol"); got != "done" {
		t.Fatal(got)
	}
	if left := loopsBelow(t, dir); len(left) != 1 {
		t.Errorf("attached: %q", left)
	}
	if err := (Host{}).Unpin(c, "mp0"); err != nil {
		t.Error(err)
	}
	if err := (Host{}).Unpin(c, "mp0"); err != nil {
		t.Error(err)
	}
	noLoops(t, dir)
	p.Target = "/link"
	if err := os.Symlink("/", home+"/link"); err != nil {
		t.Fatal(err)
	}
	if _, err := (Host{}).Add(t.Context(), c, p); text(err) != "mp0: symlink encountered at: /link" {
		t.Errorf("got %v", err)
	}
	noLoops(t, dir)
}

func TestAddRefuses(t *testing.T) {
	dir := workshop(t)
	a := start(t, "container", mkdir(t, dir, "home"), nil)
	src := mkdir(t, dir, "src")
	c := Container{Init: a.pid}
	for name, p := range map[string]Point{
		"root":    {Kind: Bind, Source: src, Target: "/"},
		"upwards": {Kind: Bind, Source: src, Target: "/../x"},
		"nothing": {Kind: Bind, Source: src + "/gone", Target: "/x"},
	} {
		if _, err := (Host{}).Add(t.Context(), c, p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := (Host{}).Add(t.Context(), Container{Init: 1 << 29}, Point{Kind: Bind, Source: src, Target: "/x"}); err == nil {
		t.Error("a process that is not there: no error")
	}
	var out strings.Builder
	if _, err := (Host{}).Add(plan.With(t.Context(), plan.New(&out)), c, Point{Kind: Bind, Source: src, Target: "/x"}); err != nil || out.Len() == 0 {
		t.Error(out.String(), err)
	}
	if _, err := os.Stat(dir + "/home/x"); err == nil {
		t.Error("the plan was carried out")
	}
}

// The container swaps a folder on the way for a link, all the time.
func TestAddRaced(t *testing.T) {
	dir := workshop(t)
	home := mkdir(t, dir, "home")
	mkdir(t, home, "t/dir")
	mkdir(t, home, "victim")
	chown(t, 100000, 100000, home, home+"/t", home+"/t/dir", home+"/victim")
	src := mkdir(t, dir, "src")
	a := start(t, "racer", home, unprivileged())
	c := Container{Init: a.pid, IDs: unprivileged()}
	done := 0
	for range 300 {
		_, err := Host{}.Add(t.Context(), c, Point{Name: "mp0", Kind: Bind, Source: src, Target: "/t/dir/mp"})
		if err == nil {
			done++
		}
	}
	if got := a.do("owner /"); got != "0:0 755" {
		t.Error(got)
	}
	seen := 0
	for _, at := range mountPoints(read(t, fmt.Sprintf("/proc/%d/mountinfo", a.pid)), "/") {
		if strings.Contains(at, "victim") {
			t.Fatalf("mounted on %s", at)
		}
		if strings.HasSuffix(at, "/mp") {
			seen++
		}
	}
	if seen != done {
		t.Errorf("%d were mounted but %d are seen", done, seen)
	}
	if left, _ := os.ReadDir(home + "/victim"); len(left) > 0 {
		t.Errorf("made below the victim: %v", left)
	}
	t.Logf("%d of 300 were mounted", done)
}

// Somebody who may change the folders of a root that is mounted on the host swaps one for a
// link to a folder of the host.
func TestStackRaced(t *testing.T) {
	for name, h := range hosts() {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			root, src, secret := mkdir(t, dir, "root"), mkdir(t, dir, "src"), mkdir(t, dir, "secret")
			mkdir(t, root, "t/dir")
			stop, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				race(filepath.Join(root, "t/dir"), secret, stop)
			}()
			done := 0
			for range 200 {
				s, err := h.Mount(t.Context(), root, nil, []Point{{Name: "mp0", Kind: Bind, Source: src, Target: "/t/dir/mp"}})
				if err != nil {
					continue
				}
				done++
				if err := s.Unmount(t.Context()); err != nil {
					t.Error(err)
				}
			}
			close(stop)
			<-ended
			if left, _ := os.ReadDir(secret); len(left) > 0 {
				t.Errorf("made below the secret: %v", left)
			}
			for _, at := range mountPoints(read(t, "/proc/self/mountinfo"), dir) {
				if at != dir {
					t.Errorf("mounted on %s", at)
					_ = unix.Unmount(at, unix.MNT_DETACH)
				}
			}
			t.Logf("%d of 200 were mounted", done)
		})
	}
}
