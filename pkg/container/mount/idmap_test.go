package mount

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseIDMap(t *testing.T) {
	for _, c := range []struct {
		text string
		want IDMap
		err  string
	}{
		{"", IDMap{}, ""},
		{"passthrough", IDMap{Passthrough: true}, ""},
		{"u:1:2:3;g:4:5:6", IDMap{Ranges: []IDRange{{Inside: 1, Outside: 2, Count: 3}, {Group: true, Inside: 4, Outside: 5, Count: 6}}}, ""},
		{"u:1:2:0", IDMap{}, "idmap entry 'u:1:2:0' has a range that cannot be"},
		{"u:1:4294967290:9", IDMap{}, "idmap entry 'u:1:4294967290:9' has a range that cannot be"},
		{"b:1:2:3", IDMap{}, "idmap entry 'b:1:2:3' is not type:container:disk:range-size"},
		{"u:1:2:x", IDMap{}, "idmap entry 'u:1:2:x': 'x' is no number of users or groups"},
		{"u:0:0:10;u:9:20:1", IDMap{}, "idmap: 9 is mapped twice in the container"},
		{"u:0:0:10;u:20:9:1", IDMap{}, "idmap: 9 is mapped twice on disk"},
		{"u:0:0:10;g:0:0:10", IDMap{Ranges: []IDRange{{Count: 10}, {Group: true, Count: 10}}}, ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			got, err := ParseIDMap(c.text)
			if text(err) != c.err {
				t.Errorf("got %v, want %s", err, c.err)
			}
			if diff := cmp.Diff(c.want, got); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOnHost(t *testing.T) {
	show := func(ranges []IDRange) string {
		var words []string
		for _, r := range ranges {
			words = append(words, fmt.Sprintf("%d>%d+%d", r.Inside, r.Outside, r.Count))
		}
		return strings.Join(words, " ")
	}
	for _, c := range []struct{ text, users, groups string }{
		{"passthrough", "0>100000+65536", "0>100000+65536"},
		{"u:1005:1005:1", "1005>101005+1 100000>100000+1005 101006>101006+64530", "100000>100000+65536"},
		{"g:100:50:5", "100000>100000+65536", "50>100100+5 100000>100000+100 100105>100105+65431"},
		{"u:0:0:65536", "0>100000+65536", "100000>100000+65536"},
		// What is taken on disk has its old meaning no more.
		{"u:0:100007:1", "100001>100001+6 100007>100000+1 100008>100008+65528", "100000>100000+65536"},
	} {
		t.Run(c.text, func(t *testing.T) {
			m, err := ParseIDMap(c.text)
			if err != nil {
				t.Fatal(err)
			}
			users, err := m.onHost(unprivileged(), false)
			if got := show(users); got != c.users || err != nil {
				t.Errorf("users: got %s, %v; want %s", got, err, c.users)
			}
			groups, err := m.onHost(unprivileged(), true)
			if got := show(groups); got != c.groups || err != nil {
				t.Errorf("groups: got %s, %v; want %s", got, err, c.groups)
			}
		})
	}
	m := IDMap{Ranges: []IDRange{{Inside: 65530, Outside: 0, Count: 10}}}
	if _, err := m.onHost(unprivileged(), false); text(err) != "idmap: the container has no user 65536" {
		t.Errorf("got %v", err)
	}
	split := IDs{{Inside: 0, Outside: 100000, Count: 10}, {Inside: 10, Outside: 500, Count: 10}}
	ranges, err := IDMap{Ranges: []IDRange{{Inside: 5, Outside: 0, Count: 10}}}.onHost(split, false)
	if got := show(ranges); got != "0>100005+5 5>500+5 505>505+5 100000>100000+5" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func FuzzParseIDMap(f *testing.F) {
	for _, seed := range []string{"", "passthrough", "u:1:2:3", "u:0:0:65536;g:100:50:5", "u:0:100007:1;u:1:5:2"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseIDMap(s)
		if err != nil {
			return
		}
		for _, group := range []bool{false, true} {
			ranges, err := m.onHost(unprivileged(), group)
			if err != nil {
				continue
			}
			// The kernel takes no map in which a number occurs twice.
			for i, a := range ranges {
				for _, b := range ranges[:i] {
					if a.Inside < b.Inside+b.Count && b.Inside < a.Inside+a.Count || a.Outside < b.Outside+b.Count && b.Outside < a.Outside+a.Count {
						t.Errorf("%q: %v and %v overlap", s, a, b)
					}
				}
			}
		}
	})
}

func TestOnDisk(t *testing.T) {
	for text, want := range map[string]Owner{"": {100000, 100000}, "passthrough": {}, "u:0:7:1": {7, 100000}, "g:0:0:65536": {100000, 0}} {
		m, err := ParseIDMap(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.OnDisk(unprivileged(), Owner{100000, 100000}); got != want || err != nil {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestIDMap(t *testing.T) {
	dir := workshop(t)
	home := mkdir(t, dir, "home")
	chown(t, 100000, 100000, home)
	src := mkdir(t, dir, "src")
	write(t, src+"/1005", "")
	chown(t, 1005, 1005, src+"/1005")
	write(t, src+"/root", "")
	a := start(t, "container", home, unprivileged())
	c := Container{Init: a.pid, IDs: unprivileged()}
	for _, try := range []struct{ idmap, who, root, made string }{
		{"", "65534:65534 644", "65534:65534 644", ""},
		{"passthrough", "1005:1005 644", "0:0 644", "0:0"},
		{"u:1005:1005:1;g:7:1005:1", "1005:7 644", "65534:65534 644", ""},
		{"u:0:1005:1;g:0:1005:1", "0:0 644", "65534:65534 644", ""},
	} {
		t.Run(try.idmap, func(t *testing.T) {
			m, err := ParseIDMap(try.idmap)
			if err != nil {
				t.Fatal(err)
			}
			p := Point{Name: "mp0", Kind: Bind, Source: src, Target: "/mnt", IDMap: m, Options: Options{NoDev: true}}
			if _, err := (Host{}).Add(t.Context(), c, p); err != nil {
				t.Fatal(err)
			}
			if got := a.do("owner /mnt/1005"); got != try.who {
				t.Errorf("1005 is %s, want %s", got, try.who)
			}
			if got := a.do("owner /mnt/root"); got != try.root {
				t.Errorf("root is %s, want %s", got, try.root)
			}
			if try.made != "" {
				if got := a.do("write /mnt/made"); got != "done" {
					t.Error(got)
				}
				var st unix.Stat_t
				if err := unix.Stat(src+"/made", &st); err != nil || fmt.Sprintf("%d:%d", st.Uid, st.Gid) != try.made {
					t.Errorf("made by %d:%d, %v; want %s", st.Uid, st.Gid, err, try.made)
				}
			}
			if err := (Host{}).Remove(t.Context(), c, p); err != nil {
				t.Error(err)
			}
		})
	}
}

// Folders that are missing are made below a root whose owners are mapped, too.
func TestIDMapRoot(t *testing.T) {
	dir := workshop(t)
	root := mkdir(t, dir, "root")
	volume, src := mkdir(t, dir, "volume"), mkdir(t, dir, "src")
	points := []Point{
		{Format: Subvol, Source: volume, Target: "/", IDMap: IDMap{Passthrough: true}},
		{Kind: Bind, Source: src, Target: "/new/folder"},
	}
	s, err := Host{}.Mount(t.Context(), root, unprivileged(), points)
	if err != nil {
		t.Fatal(err)
	}
	var inside, disk unix.Stat_t
	if err := unix.Stat(root+"/new", &inside); err != nil || inside.Uid != 100000 || inside.Gid != 100000 {
		t.Errorf("seen as of %d:%d, %v", inside.Uid, inside.Gid, err)
	}
	if err := unix.Stat(volume+"/new", &disk); err != nil || disk.Uid != 0 || disk.Gid != 0 {
		t.Errorf("on disk of %d:%d, %v", disk.Uid, disk.Gid, err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	// A privileged container has no map that could be changed.
	s, err = Host{}.Mount(t.Context(), root, nil, points[:1])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := (Host{Legacy: true}).Mount(t.Context(), root, unprivileged(), points[:1]); err == nil || !strings.Contains(err.Error(), "need Linux 5.12") {
		t.Errorf("on an old kernel: %v", err)
	}
}

func TestKeepAttrs(t *testing.T) {
	for name, h := range hosts() {
		t.Run(name, func(t *testing.T) {
			dir := workshop(t)
			root, volume := mkdir(t, dir, "root"), mkdir(t, dir, "volume")
			covered := mkdir(t, root, "var/spool")
			chown(t, 100033, 100044, covered)
			if err := unix.Chmod(covered, 0o1770); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				point Point
				want  string
			}{
				{Point{Kind: Bind, KeepAttrs: true}, "0:0 755"},
				{Point{Format: Subvol}, "0:0 755"},
				{Point{Format: Subvol, KeepAttrs: true, ReadOnly: true}, "0:0 755"},
				{Point{Format: Subvol, KeepAttrs: true}, "100033:100044 1770"},
			} {
				p := c.point
				p.Source, p.Target = volume, "/var/spool"
				s, err := h.Mount(t.Context(), root, unprivileged(), []Point{p})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := act("owner", covered); got != c.want || err != nil {
					t.Errorf("%+v: got %s, %v; want %s", c.point, got, err, c.want)
				}
				if err := s.Unmount(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
