package conf_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/ceph/conf"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func TestConformanceCephConf(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name  string
			Input struct{ Raw string }
			// Numbers in the cases are as good as their text.
			Expect struct {
				Config    map[string]map[string]any
				RoundTrip bool `json:"round_trip"`
			}
		}
	}
	conformance.Load(t, "cluster/storage-ceph-conf", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			want := conf.Conf{}
			for section, keys := range c.Expect.Config {
				want[section] = map[string]string{}
				for key, value := range keys {
					want[section][key] = fmt.Sprint(value)
				}
			}
			got, _ := conf.Parse(c.Input.Raw)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if c.Expect.RoundTrip {
				again, warnings := conf.Parse(got.String())
				if diff := cmp.Diff(got, again); diff != "" || len(warnings) > 0 {
					t.Errorf("written and read again: %q\n%s", warnings, diff)
				}
			}
		})
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       conf.Conf
		warnings   int
	}{
		{"hyphens", "[global]\nmon-host = a", conf.Conf{"global": {"mon_host": "a"}}, 0},
		{"vector", "[global]\nmon host = [v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0]", conf.Conf{"global": {"mon_host": "[v2:1.2.3.4:3300/0,v1:1.2.3.4:6789/0]"}}, 0},
		{"comment inside quotes", "[a]\nb = \"c # d\"\ne = 'f \\# g'", conf.Conf{"a": {"e": "f # g"}}, 1},
		{"empty value", "[a]\nadmin socket =\nb = c", conf.Conf{"a": {"admin_socket": "", "b": "c"}}, 0},
		{"before a section", "a = b\n[c]", conf.Conf{"c": {}}, 1},
		{"bad section hides its keys", "[a]\nb = c\n[d] e\nf = g", conf.Conf{"a": {"b": "c"}}, 2},
		{"comments continue nothing", "[a]\n# b \\\nc = d # e \\\nf = g", conf.Conf{"a": {"c": "d", "f": "g"}}, 0},
		{"twice", "[a]\nb = 1\n[a]\nb = 2\nc = 3", conf.Conf{"a": {"b": "2", "c": "3"}}, 0},
		{"blanks in quotes", "[a]\nb = \" c \"", conf.Conf{"a": {"b": " c "}}, 0},
		{"carriage returns", "[a]\r\nb = c\r\n", conf.Conf{"a": {"b": "c"}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, warnings := conf.Parse(c.text)
			if diff := cmp.Diff(c.want, got); diff != "" || len(warnings) != c.warnings {
				t.Errorf("%q\n%s", warnings, diff)
			}
		})
	}
}

func TestString(t *testing.T) {
	c := conf.Conf{
		"zebra": {}, "osd.1": {"host": "b"}, "global": {"fsid": "x", "auth": "a;b"}, "osd.0": {"host": "a"}, "osd": {}, "client": {"keyring": " p "},
	}
	want := "[global]\n\tauth = a\\;b\n\tfsid = x\n\n[client]\n\tkeyring = \" p \"\n\n[osd]\n\n[osd.0]\n\thost = a\n\n[osd.1]\n\thost = b\n\n[zebra]\n\n"
	if diff := cmp.Diff(want, c.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMonitors(t *testing.T) {
	c, _ := conf.Parse(`
[global]
mon host = [v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2,[2001:db8::1]:6789,2001:db8::2 mon5 [v2:[2001:db8::3]:3300/0,v1:[2001:db8::3]:6789]
[mon.x]
mon addr = 10.0.0.9:6789
[mon.y]
host = y
`)
	want := []conf.Monitor{
		{Host: "10.0.0.2"}, {Host: "10.0.0.9", Port: "6789"}, {Host: "2001:db8::1", Port: "6789"}, {Host: "2001:db8::2"}, {Host: "mon5"},
		{Protocol: "v1", Host: "10.0.0.1", Port: "6789"}, {Protocol: "v1", Host: "2001:db8::3", Port: "6789"},
		{Protocol: "v2", Host: "10.0.0.1", Port: "3300"}, {Protocol: "v2", Host: "2001:db8::3", Port: "3300"},
	}
	got := c.Monitors()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"[a]\nb = c\n", "[a\\;]\n'x' = \"y\\#\" # z", "[a]\nb=\\\n c", "[a]\nb = 'c\\'\"d'", "[a]\nb = \"c\\\\\"", "[a]\\\n\nx=y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, _ := conf.Parse(text)
		again, warnings := conf.Parse(c.String())
		if diff := cmp.Diff(c, again); diff != "" || len(warnings) > 0 {
			t.Errorf("%q was written as %q: %q\n%s", text, c.String(), warnings, diff)
		}
		c.Monitors()
	})
}
