package idmap_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func TestConformanceIDMap(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name          string
			LXC           [][2]string `json:"lxc"`
			Unprivileged  bool
			Valid         bool
			ErrorPatterns []struct{ Regex string } `json:"error_patterns"`
			Generate      *struct {
				Type           string
				Count          int
				ContainerStart int `json:"container_start"`
				HostStart      int `json:"host_start"`
				Step, Length   int
			}
		}
	}
	conformance.Load(t, "guest/lxc-idmap", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var lines []string
			for _, pair := range c.LXC {
				if idmap.IsKey(pair[0]) {
					lines = append(lines, pair[1])
				}
			}
			if g := c.Generate; g != nil {
				for i := range g.Count {
					lines = append(lines, fmt.Sprintf("%s %d %d %d", g.Type, g.ContainerStart+i*g.Step, g.HostStart+i*g.Step, g.Length))
				}
			}
			m, err := idmap.Of(lines, c.Unprivileged)
			if (err == nil) != c.Valid {
				t.Fatalf("valid %v, error %v", c.Valid, err)
			}
			for _, p := range c.ErrorPatterns {
				if !regexp.MustCompile(p.Regex).MatchString(err.Error()) {
					t.Errorf("error %q, want %q", err, p.Regex)
				}
			}
			if len(lines) == 0 && c.Unprivileged && !cmp.Equal(m, idmap.Default()) {
				t.Errorf("map %v", m)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, line := range []string{
		"", "u", "u 0 100000", "b 0 100000 65536", "u 0 100000 65536 1", "u -1 100000 65536", "u 0 0x10 65536", "u 0 4294967296 1", "u +1 2 3",
	} {
		if e, err := idmap.Parse(line); err == nil {
			t.Errorf("%q: read as %v", line, e)
		}
	}
	for name, m := range map[string]idmap.Map{
		"empty range":  {{idmap.User, 0, 100000, 0}},
		"last id":      {{idmap.User, 0, 4294967295, 1}},
		"beyond ids":   {{idmap.Group, 4294967000, 0, 65536}},
		"same entries": {{idmap.Group, 0, 1000, 1}, {idmap.Group, 0, 1000, 1}},
	} {
		if m.Check() == nil {
			t.Errorf("%s: %v passes", name, m)
		}
	}
}

func TestTranslate(t *testing.T) {
	m, err := idmap.Of([]string{"u 0 100000 1005", "u 1005 1005 1", "u 1006 101006 64530", "g 0 200000 65536"}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind     idmap.Kind
		id, host uint32
		ok       bool
	}{
		{idmap.User, 0, 100000, true},
		{idmap.User, 1004, 101004, true},
		{idmap.User, 1005, 1005, true},
		{idmap.User, 1006, 101006, true},
		{idmap.User, 65535, 165535, true},
		{idmap.User, 65536, 0, false},
		{idmap.Group, 1005, 201005, true},
	} {
		host, ok := m.ToHost(c.kind, c.id)
		if host != c.host || ok != c.ok {
			t.Errorf("%c %d: %d %v, want %d %v", c.kind, c.id, host, ok, c.host, c.ok)
		}
		if back, there := m.ToContainer(c.kind, host); ok && (back != c.id || !there) {
			t.Errorf("%c %d: %d comes back as %d", c.kind, c.id, host, back)
		}
	}
	uid, gid, err := m.Root()
	if uid != 100000 || gid != 200000 || err != nil {
		t.Errorf("root is %d:%d, %v", uid, gid, err)
	}
	users, groups := m.Ids()
	if len(users) != 3 || len(groups) != 1 || groups[0].HostID != 200000 {
		t.Errorf("ids %v %v", users, groups)
	}
	if diff := cmp.Diff([]string{"-m", "u:0:100000:65536", "-m", "g:0:100000:65536"}, idmap.Default().Args()); diff != "" {
		t.Error(diff)
	}
	if _, _, err := (idmap.Map{{idmap.User, 1, 1, 1}}).Root(); err == nil {
		t.Error("a map without root has a root")
	}
	if host, ok := (idmap.Map(nil)).ToHost(idmap.User, 7); host != 7 || !ok {
		t.Error("users of a privileged container are not those of the host")
	}
}

func TestCheckSubIDs(t *testing.T) {
	for name, c := range map[string]struct {
		uid, gid string
		without  bool // newuidmap is not installed
		want     []idmap.SubID
	}{
		"there":       {uid: "root:100000:65536\n", gid: "root:100000:65536\n"},
		"wider":       {uid: "joe:1:2\n0:65536:1000000\n", gid: "#\nbroken\nroot:100000:x\nroot:100000:65537\n"},
		"not asked":   {without: true},
		"no files":    {want: []idmap.SubID{{"/etc/subuid", "root:100000:65536"}, {"/etc/subgid", "root:100000:65536"}}},
		"other users": {uid: "joe:100000:65536\n", gid: "root:100000:65536\n", want: []idmap.SubID{{"/etc/subuid", "root:100000:65536"}}},
		"in parts":    {uid: "root:100000:65536\n", gid: "root:165535:1\nroot:100000:65535\n"},
		"too short":   {uid: "root:100000:65536\n", gid: "root:100000:65535\nroot:165536:1\n", want: []idmap.SubID{{"/etc/subgid", "root:100000:65536"}}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
				t.Fatal(err)
			}
			for file, text := range map[string]string{"etc/subuid": c.uid, "etc/subgid": c.gid} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := idmap.CheckSubIDs(dir, idmap.Default(), !c.without)
			var got []idmap.SubID
			if missing, ok := errors.AsType[*idmap.Missing](err); ok {
				got = missing.Lines
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if name == "other users" && err.Error() != "newuidmap does not let root use the ids of the map: add 'root:100000:65536' to /etc/subuid" {
				t.Error(err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("u 0 100000 65536")
	f.Add("g 65534 365534 2")
	f.Fuzz(func(t *testing.T, line string) {
		e, err := idmap.Parse(line)
		if err != nil {
			return
		}
		again, err := idmap.Parse(e.String())
		if err != nil || again != e {
			t.Errorf("%q: %v, then %v, %v", line, e, again, err)
		}
		if (idmap.Map{e}).Check() == nil {
			if _, ok := (idmap.Map{e}).ToHost(e.Kind, e.Container+e.Count-1); !ok {
				t.Errorf("%v does not map its last id", e)
			}
		}
	})
}
