package cloudinit

import (
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

var update = flag.Bool("update", false, "write what is generated to testdata")

const resolver = "# made by hand\nsearch example.org other.example\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver 192.0.2.2\n"

func guest(t testing.TB, vm id.VM, p schema.Params) Guest {
	t.Helper()
	c := new(qemu.Config)
	if err := schema.Decode(p, c); err != nil {
		t.Fatal(err)
	}
	return Guest{ID: vm, Config: c, Resolver: resolver, Snippet: func(_ context.Context, volume string) (string, error) {
		if volume == "local:snippets/gone.yaml" {
			return "", errors.New("no such snippet")
		}
		return "# snippet " + volume + "\n", nil
	}}
}

// full has something of everything.
func full() schema.Params {
	return schema.Params{
		"name": "web", "ciuser": "bob", "cipassword": "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.", "searchdomain": "example.net b.example",
		"sshkeys": "ssh-ed25519%20AAAA%2BB%20bob%40laptop%20%23home%0A%0Assh-rsa%20BBBB%0A",
		"net0":    "virtio=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400", "ipconfig0": "ip=10.0.0.5/22,gw=10.0.0.1,ip6=2001:db8::5/64,gw6=2001:db8::1",
		"net1": "virtio=BC:24:11:00:00:02,bridge=vmbr0", "ipconfig1": "ip=dhcp,ip6=dhcp",
		"net2": "e1000=BC:24:11:00:00:03", "net10": "e1000=BC:24:11:00:00:0A", "ipconfig10": "ip6=auto",
	}
}

func with(p schema.Params, more ...string) schema.Params {
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == "" {
			delete(p, more[i])
			continue
		}
		p[more[i]] = more[i+1]
	}
	return p
}

// TestContent compares all files of a CD with testdata.
func TestContent(t *testing.T) {
	for name, p := range map[string]schema.Params{
		"nocloud":      full(),
		"nothing-set":  {},
		"root":         {"ciuser": "root", "ciupgrade": "0", "name": "10.example.com", "nameserver": "192.0.2.53 192.0.2.54"},
		"configdrive2": with(full(), "citype", "configdrive2"),
		"opennebula":   with(full(), "citype", "opennebula", "ciuser", ""),
		"windows":      with(full(), "ostype", "win11", "cipassword", `Pass"word 1`),
		"snippets":     with(full(), "cicustom", "user=local:snippets/u.yaml,vendor=local:snippets/v.yaml"),
		"odd-values":   {"name": "100", "ciuser": "yes", "cipassword": "it's: #1", "searchdomain": "o'neil.example", "nameserver": "::1"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := guest(t, 100, p).Content(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			b.WriteString("label " + c.Label + "\n")
			for _, path := range slices.Sorted(maps.Keys(c.Files)) {
				b.WriteString("-- " + path + " --\n" + c.Files[path])
			}
			golden := filepath.Join("testdata", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestContentFaults(t *testing.T) {
	big := strings.Repeat("x", maxContent)
	for name, c := range map[string]struct {
		p       schema.Params
		snippet func(context.Context, string) (string, error)
		want    string
	}{
		"snippet gone":    {schema.Params{"cicustom": "meta=local:snippets/gone.yaml"}, nil, "cicustom: no such snippet"},
		"snippets large":  {schema.Params{"cicustom": "user=local:snippets/a"}, func(context.Context, string) (string, error) { return big, nil }, "Cloud-Init sum of snippets too big (> 3 MiB)"},
		"keys not a code": {schema.Params{"sshkeys": "a%2"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var config qemu.Config
			if err := schema.Decode(c.p, &config); err != nil {
				if c.want != "" {
					t.Fatal(err)
				}
				return // the schema refuses it first
			}
			g := guest(t, 100, c.p)
			if c.snippet != nil {
				g.Snippet = c.snippet
			}
			if _, err := g.Content(t.Context()); err == nil || c.want != "" && err.Error() != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestIsVolume(t *testing.T) {
	for volume, want := range map[string]bool{
		"local:100/vm-100-cloudinit.qcow2": true, "lvm:vm-100-cloudinit": true, "local:1000/vm-1000-cloudinit.qcow2": false,
		"local:100/vm-100-cloudinit2.raw": false, "none": false, "local:iso/x.iso": false, "cdrom": false,
	} {
		if got := IsVolume(100, volume); got != want {
			t.Errorf("%s: got %v", volume, got)
		}
	}
}

type transcripts struct {
	Environment struct {
		Resolver string `json:"resolv_conf"`
	}
	States map[string]map[string]any
	Cases  []struct {
		Name, State, Stdout string
		Argv                []string
		Exit                int
	}
}

// TestConformanceDump compares with what qm cloudinit dump and pending print.
func TestConformanceDump(t *testing.T) {
	var all transcripts
	conformance.Load(t, "cli/cli-qm", &all)
	for _, c := range all.Cases {
		if len(c.Argv) < 4 || c.Exit != 0 || !strings.HasPrefix("cloudinit", c.Argv[1]) || c.Argv[1] == "c" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			text := all.States[c.State]["etc/pve/nodes/pve1/qemu-server/"+c.Argv[3]+".conf"].(string)
			d := read(text)
			var got string
			if c.Argv[2] == "pending" {
				got = show(Changes(d))
			} else {
				g := guest(t, 102, d.Values)
				g.Resolver = all.Environment.Resolver
				text, err := g.Dump(c.Argv[4])
				if err != nil {
					t.Fatal(err)
				}
				got = text + "\n"
			}
			if diff := cmp.Diff(c.Stdout, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// read is as much of the reader of configurations as these states need.
func read(text string) *config.Doc {
	d := &config.Doc{Values: schema.Params{}, Special: map[string]schema.Params{}}
	to := d.Values
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "[special:"); ok {
			to = schema.Params{}
			d.Special[strings.TrimSuffix(name, "]")] = to
		}
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			to[key] = value
		}
	}
	return d
}

// show prints changes as qm does.
func show(list []Change) string {
	var b strings.Builder
	for _, c := range list {
		if c.Value != nil {
			b.WriteString("cur " + c.Key + ": " + *c.Value + "\n")
		}
		if c.Pending != nil {
			b.WriteString("new " + c.Key + ": " + *c.Pending + "\n")
		}
		if c.Delete != nil {
			b.WriteString("del " + c.Key + "\n")
		}
	}
	return b.String()
}

func TestRecord(t *testing.T) {
	type change struct {
		key  string
		next *string
	}
	for name, c := range map[string]struct {
		start   schema.Params
		changes []change
		want    schema.Params // of the section
	}{
		"changed":              {schema.Params{"ciuser": "a"}, []change{{"ciuser", new("b")}, {"ciuser", new("c")}}, schema.Params{"ciuser": "a"}},
		"and back":             {schema.Params{"ciuser": "a"}, []change{{"ciuser", new("b")}, {"ciuser", new("a")}}, nil},
		"new":                  {schema.Params{}, []change{{"sshkeys", new("k")}, {"ciuser", new("b")}}, schema.Params{"added": "ciuser,sshkeys"}},
		"new and gone":         {schema.Params{}, []change{{"ciuser", new("b")}, {"ciuser", nil}}, nil},
		"gone":                 {schema.Params{"ciuser": "a"}, []change{{"ciuser", nil}}, schema.Params{"ciuser": "a"}},
		"gone and back":        {schema.Params{"ciuser": "a"}, []change{{"ciuser", nil}, {"ciuser", new("a")}}, nil},
		"gone and another":     {schema.Params{"ciuser": "a"}, []change{{"ciuser", nil}, {"ciuser", new("b")}}, schema.Params{"ciuser": "a"}},
		"card":                 {schema.Params{}, []change{{"net3", new("virtio")}}, schema.Params{"added": "net3"}},
		"not of the CD":        {schema.Params{"memory": "16"}, []change{{"memory", new("32")}, {"netx", new("1")}}, nil},
		"deleting what is not": {schema.Params{}, []change{{"ciuser", nil}}, nil},
		"the same":             {schema.Params{"name": "a"}, []change{{"name", new("a")}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := &config.Doc{Values: c.start}
			for _, ch := range c.changes {
				var old *string
				if v, ok := d.Values[ch.key]; ok {
					old = &v
				}
				Record(d, ch.key, old, ch.next)
				if delete(d.Values, ch.key); ch.next != nil {
					d.Values[ch.key] = *ch.next
				}
			}
			if diff := cmp.Diff(c.want, d.Special[section]); diff != "" {
				t.Error(diff)
			}
			if HasChanges(d) != (c.want != nil) {
				t.Error("HasChanges is wrong")
			}
			if Written(d); HasChanges(d) {
				t.Error("changes after Written")
			}
		})
	}
}

func TestChanges(t *testing.T) {
	d := &config.Doc{
		Values:  schema.Params{"ciuser": "b", "cipassword": "new", "sshkeys": "k", "ipconfig1": "ip=dhcp", "name": "x", "ciupgrade": "1"},
		Special: map[string]schema.Params{section: {"ciuser": "a", "cipassword": "old", "nameserver": "::1", "added": "sshkeys,ipconfig1"}},
	}
	want := "new ipconfig1: ip=dhcp\nnew sshkeys: k\ncur cipassword: **********\nnew cipassword: **********\n" +
		"cur ciupgrade: 1\ncur ciuser: a\nnew ciuser: b\ndel nameserver\n"
	if diff := cmp.Diff(want, show(Changes(d))); diff != "" {
		t.Error(diff)
	}
}
