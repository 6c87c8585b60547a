package network

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

type suiteCase struct {
	Name, Input, Output string
	Active              []string `json:"active_interfaces"`
	Links               map[string]struct {
		Type string `json:"link_type"`
		Info struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
	} `json:"ip_links"`
	Parsed struct {
		Ifaces  map[string]map[string]any
		Options [][2]any
	}
	Changes struct {
		Remove []string
		Set    map[string]map[string]any
		Unset  map[string][]string
	}
}

func (c suiteCase) links() []Link {
	var links []Link
	for name, l := range c.Links {
		links = append(links, Link{
			Name: name, Physical: l.Type == "ether" && l.Info.Kind == "", Active: slices.Contains(c.Active, name),
		})
	}
	for _, name := range c.Active {
		if _, ok := c.Links[name]; !ok {
			links = append(links, Link{Name: name, Active: true})
		}
	}
	return links
}

func TestConformanceInterfaces(t *testing.T) {
	var suite struct{ Cases []suiteCase }
	conformance.Load(t, "guest/common-network-interfaces", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			file := read(t, c.Input, c.links()...)
			got := map[string]map[string]any{}
			throughJSON(t, file.Ifaces, &got)
			if diff := cmp.Diff(c.Parsed.Ifaces, got); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			options := [][2]any{}
			for _, o := range file.Options {
				options = append(options, [2]any{float64(o.Priority), o.Text})
			}
			if diff := cmp.Diff(c.Parsed.Options, options); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			change(t, file, c)
			if diff := cmp.Diff(c.Output, written(t, file)); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
		})
	}
}

func change(t *testing.T, file *File, c suiteCase) {
	t.Helper()
	for _, name := range c.Changes.Remove {
		delete(file.Ifaces, name)
	}
	for name, keys := range c.Changes.Unset {
		for _, key := range keys {
			file.Add(name).Unset(key)
		}
	}
	for name, keys := range c.Changes.Set {
		i := file.Add(name)
		for key, value := range keys {
			text := fmt.Sprint(value)
			if list, ok := value.([]any); ok {
				text = strings.Trim(fmt.Sprint(list), "[]")
			}
			if err := i.Set(key, text); err != nil {
				t.Error(err)
			}
		}
	}
}

func read(t testing.TB, text string, links ...Link) *File {
	t.Helper()
	file, err := Read(strings.NewReader(text), links)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// written is the text of the file without the comment on top.
func written(t testing.TB, file *File) string {
	t.Helper()
	var b strings.Builder
	if _, err := file.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(b.String(), header)
	if !ok {
		t.Error("no header")
	}
	return text
}

func throughJSON(t *testing.T, from, to any) {
	t.Helper()
	raw, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		t.Fatal(err)
	}
}

func TestWriteKeeps(t *testing.T) {
	const lo = "auto lo\niface lo inet loopback\n\n"
	for name, c := range map[string]struct{ in, want string }{
		"hooks and second addresses": {
			"iface eth0 inet static\n\taddress 10.0.0.1/8\n\taddress 10.0.0.2/8\n\tup ip route add 1.2.3.0/24 via 10.0.0.9\n",
			"iface eth0 inet static\n\taddress 10.0.0.1/8\n\taddress 10.0.0.2/8\n\tup ip route add 1.2.3.0/24 via 10.0.0.9\n\n",
		},
		"lacp over open vswitch": {
			"iface bond0 inet manual\n\tovs_type OVSBond\n\tovs_bridge vmbr0\n\tovs_bonds eth0 eth1\n\tovs_options lacp=active bond_mode=balance-tcp tag=5\n\n" +
				"iface vmbr0 inet manual\n\tovs_type OVSBridge\n\tovs_ports bond0\n",
			"iface bond0 inet manual\n\tovs_bonds eth0 eth1\n\tovs_type OVSBond\n\tovs_bridge vmbr0\n\tovs_options tag=5 lacp=active bond_mode=balance-tcp\n\n" +
				"iface vmbr0 inet manual\n\tovs_type OVSBridge\n\tovs_ports bond0\n\n",
		},
		"a bridge without ports": {
			"iface vmbr0 inet manual\n\tbridge-ports none\n\tbridge-stp off\n\tbridge-fd 0\n",
			"iface vmbr0 inet manual\n\tbridge-ports none\n\tbridge-stp off\n\tbridge-fd 0\n\n",
		},
		"a vlan with a name of its own": {
			"iface guests inet manual\n\tvlan-id 7\n\tvlan-raw-device eth0\n",
			"iface guests inet manual\n\tvlan-id 7\n\tvlan-raw-device eth0\n\n",
		},
		"vlan by number": {
			"iface vlan7 inet manual\n\tvlan-raw-device eth0\n",
			"iface vlan7 inet manual\n\tvlan-raw-device eth0\n\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := read(t, c.in)
			got := strings.TrimPrefix(written(t, file), lo)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if again := written(t, file); strings.TrimPrefix(again, lo) != got {
				t.Error("writing changed the file in memory")
			}
		})
	}
}

func TestSetRefuses(t *testing.T) {
	i := &Iface{Name: "eth0"}
	for _, c := range [][2]string{{"cidr", "10.0.0.1"}, {"colour", "blue"}} {
		if err := i.Set(c[0], c[1]); err == nil {
			t.Errorf("%s %s: no error", c[0], c[1])
		}
	}
}

// FuzzRead: whatever is read, what is written from it reads and writes the same
// from then on.
func FuzzRead(f *testing.F) {
	f.Add("auto lo\niface lo inet loopback\n\nsource x\n\nauto vmbr0\niface vmbr0 inet static\n\taddress 10.0.0.1/8\n\tbridge_ports eth0\n# c\n")
	f.Add("iface bond0.5.6 inet6 auto\n\tovs_type OVSBond\n\tovs_options lacp=active\n")
	f.Add("iface a\n\taddress fe80::1/64\n\tvxlan-remoteip 1.2.3.4\n")
	f.Fuzz(func(t *testing.T, text string) {
		links := []Link{{Name: "eth0", Physical: true}}
		once := written(t, read(t, text, links...))
		twice := written(t, read(t, once, links...))
		if once != twice {
			t.Errorf("not stable:\n%q\n%q", once, twice)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	text := strings.Repeat("auto vmbrN\niface vmbrN inet static\n\taddress 10.0.0.1/8\n\tbridge-ports eth0\n\n", 50)
	for b.Loop() {
		file, err := Read(strings.NewReader(text), nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := file.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
