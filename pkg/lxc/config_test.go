package lxc_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

func TestConfigText(t *testing.T) {
	for name, c := range map[string]struct{ key, value, want, fault string }{
		"plain":        {"lxc.uts.name", "web", "lxc.uts.name = web\n", ""},
		"equals":       {"lxc.environment", "A=b c", "lxc.environment = A=b c\n", ""},
		"empty":        {"lxc.apparmor.profile", "", "lxc.apparmor.profile =\n", ""},
		"blanks":       {"lxc.environment", " x ", "lxc.environment = \" x \"\n", ""},
		"quotes":       {"lxc.environment", `"x"`, "lxc.environment = \"\"x\"\"\n", ""},
		"begins quote": {"lxc.environment", `'x`, "lxc.environment = \"'x\"\n", ""},
		"hash":         {"lxc.environment", "#x", "lxc.environment = #x\n", ""},
		"line end":     {"lxc.environment", "x\nlxc.hook.stop = /bin/sh", "", "LXC configuration: the value of lxc.environment has a line end"},
		"zero":         {"lxc.environment", "x\x00", "", "LXC configuration: the value of lxc.environment has a line end"},
		"key":          {"lxc.a = b\nlxc.c", "x", "", `LXC configuration: "lxc.a = b\nlxc.c" is no key`},
		"foreign key":  {"net0", "x", "", `LXC configuration: "net0" is no key`},
	} {
		t.Run(name, func(t *testing.T) {
			var config lxc.Config
			config.Add(c.key, c.value)
			got, err := config.Text()
			if got != c.want || (err == nil) != (c.fault == "") || err != nil && err.Error() != c.fault {
				t.Fatalf("%q, %v", got, err)
			}
			if err != nil {
				return
			}
			back, err := lxc.ParseConfig(got)
			if err != nil {
				t.Fatal(err)
			}
			if value, ok := back.Get(c.key); !ok || value != c.value {
				t.Errorf("comes back as %q, %v", value, ok)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	c, err := lxc.ParseConfig(`
# comment
lxc.net.0.type = veth
lxc.net.0.link=vmbr0
lxc.net.1.type = phys
lxc.mount.entry = a b
  lxc.mount.entry	=	"c d "
lxc.cap.drop = x
lxc.cap.drop =
lxc.cap.drop = y`)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Values("lxc.mount.entry"); !slices.Equal(got, []string{"a b", "c d "}) {
		t.Errorf("%q", got)
	}
	if got := c.Values("lxc.cap.drop"); !slices.Equal(got, []string{"y"}) {
		t.Errorf("%q", got)
	}
	c.Delete("lxc.net.0")
	c.Set("lxc.cap.drop", "z")
	c.Set("lxc.tty.max", "2")
	c.Addf("lxc.idmap", "%s 0 %d 65536", "u", 100000)
	got, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	want := `lxc.net.1.type = phys
lxc.mount.entry = a b
lxc.mount.entry = "c d "
lxc.cap.drop = z
lxc.tty.max = 2
lxc.idmap = u 0 100000 65536
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"lxc.x", "x = y", " = y", "lxc.a b = c"} {
		if _, err := lxc.ParseConfig(bad); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if n := len(maps.Collect(c.All())); n != 5 || c.Len() != 6 {
		t.Errorf("%d keys of %d lines", n, c.Len())
	}
}

// FuzzParseConfig: what is read can be written, and is then read as the same.
func FuzzParseConfig(f *testing.F) {
	f.Add("lxc.a = b\nlxc.c = \" d \"\n#x\n\nlxc.e='\"'")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := lxc.ParseConfig(text)
		if err != nil {
			return
		}
		out, err := c.Text()
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		again, err := lxc.ParseConfig(out)
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if twice, err := again.Text(); err != nil || twice != out {
			t.Errorf("%q then %q, %v", out, twice, err)
		}
	})
}
