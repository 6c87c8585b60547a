package config_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// toy is a dialect with few options.
func toy() *config.Dialect {
	return &config.Dialect{
		Pending: "PENDING", KeyChars: "_-", Alias: map[string]string{"cdrom": "ide2"},
		Special: map[string]func(key, value string) (string, error){"cloudinit": nil},
		Check: func(key, value string) (string, error) {
			switch key {
			case "bogus-key":
				return "", errors.New("unknown setting 'bogus-key'")
			case "onboot":
				on, _ := schema.ParseBool(value)
				return schema.FormatBool(on), nil
			}
			return value, nil
		},
	}
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text   string
		want   string   // as it is written again
		faults []string // each of which strict reading ends with
	}{
		"nothing":       {"", "", nil},
		"sorted":        {"b: 2\na: 1\n", "a: 1\nb: 2\n", nil},
		"no newline":    {"a: 1", "a: 1\n", nil},
		"dos lines":     {"a: 1\r\n\r\n#x\r\nb: 2\r\n", "#x\na: 1\nb: 2\n", nil},
		"normalised":    {"onboot: yes\n", "onboot: 1\n", nil},
		"alias":         {"cdrom: none\n", "ide2: none\n", nil},
		"blank value":   {"boot: \ntags:   \n", "boot:  \ntags:  \n", nil},
		"description":   {"a: 1\n#b%C3%A4: %\n#\n# c\n", "#b%C3%A4%3A %25\n#\n# c\na: 1\n", nil},
		"named":         {"description: x%0Ay\n", "#x\n#y\n", nil},
		"nothing noted": {"#\n#  \na: 1\n", "a: 1\n", nil},
		"pending":       {"[pending]\n#\ndelete: a,!b\nc: 1\n", "\n[PENDING]\n#\nc: 1\ndelete: a,!b\n", nil},
		"special":       {"[special:CloudInit]\nbogus-key: 1\n[snap]\na: 1\n", "\n[special:cloudinit]\nbogus-key: 1\n\n[snap]\na: 1\n", nil},
		"snapshots":     {"[z]\na: 1\n[zz]\n[bb]\nsnapstate: delete\n", "\n[bb]\nsnapstate: delete\n\n[zz]\n", []string{"vm 400 - skipping unknown section: 'z'"}},
		"broken": {
			"this line has no colon\nmemory: 1024\nmemory: 2048\nbogus-key: 1\nsnapstate: delete\ndelete: a\n[snap one]\na: 1\n[ok-snap]\na: 2\nb: 1\n[ok-snap]\na: 3\n[special:x]\nb: 1\n",
			"memory: 2048\n\n[ok-snap]\na: 3\n",
			[]string{
				"vm 400 - unable to parse config: this line has no colon", "vm 400 - unable to parse value of 'bogus-key' - unknown setting 'bogus-key'",
				"vm 400 - property 'delete' is only allowed in [PENDING]", "vm 400 - skipping unknown section: 'snap one'",
				"vm 400 - duplicate snapshot section: ok-snap", "vm 400 - skipping unknown section: 'special:x'",
			},
		},
		"duplicates": {
			"[PENDING]\na: 1\n[PENDING]\nb: 2\n[special:cloudinit]\na: 1\n[special:cloudinit]\nb: 1\n",
			"\n[PENDING]\nb: 2\n\n[special:cloudinit]\nb: 1\n",
			[]string{"vm 400 - duplicate section: pending", "vm 400 - duplicate section: cloudinit"},
		},
		"no header": {"[snap\na: 1\n", "a: 1\n", []string{"vm 400 - unable to parse config: [snap"}},
		"not a key": {"A: 1\n1: 2\na b: 3\n: 4\nx:\n", "", []string{"vm 400 - unable to parse config: A: 1", "vm 400 - unable to parse config: 1: 2", "vm 400 - unable to parse config: a b: 3", "vm 400 - unable to parse config: : 4", "vm 400 - unable to parse config: x:"}},
	} {
		t.Run(name, func(t *testing.T) {
			var faults []string
			doc, err := config.Parse(toy(), 400, []byte(c.text), false, func(fault string) { faults = append(faults, fault) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.faults, faults); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.want, string(doc.Bytes(toy()))); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(doc, doc.Clone()); diff != "" {
				t.Error(diff)
			}
			_, err = config.Parse(toy(), 400, []byte(c.text), true, nil)
			if len(c.faults) == 0 && err != nil || len(c.faults) > 0 && (err == nil || err.Error() != c.faults[0]) {
				t.Errorf("strict: %v", err)
			}
		})
	}
}

func TestParseContainer(t *testing.T) {
	dialect := &config.Dialect{
		Pending: "pve:pending", KeyChars: "_", Ends: true,
		Raw: func(key string) (bool, string) { return key == "lxc.mount.entry" || key == "lxc.apparmor.profile", "" },
	}
	var faults []string
	doc, err := config.Parse(dialect, 210, []byte("#vor\nlxc.mount.entry: /a b none bind\nmemory: 1\nlxc.apparmor.profile = unconfined\nlxc.unknown.key: 1\n[pve:bogus]\nswap: 1\n[pve:pending]\nmemory: 2\n"),
		false, func(fault string) { faults = append(faults, fault) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"vm 210 - unable to parse config: lxc.unknown.key: 1", "vm 210 - unable to parse config: [pve:bogus]"}, faults); diff != "" {
		t.Error(diff)
	}
	want := "#vor\nmemory: 1\nswap: 1\nlxc.mount.entry: /a b none bind\nlxc.apparmor.profile: unconfined\n\n[pve:pending]\nmemory: 2\n"
	if diff := cmp.Diff(want, string(doc.Bytes(dialect))); diff != "" {
		t.Error(diff)
	}
	if doc.Values[config.Description] != "vor\n" {
		t.Errorf("%q", doc.Values[config.Description])
	}
}

func FuzzParse(f *testing.F) {
	f.Add("#a%3\nb: 1\nlxc.x: 1\n[pve:pending]\ndelete: a\n[snap]\n", true)
	f.Add("cdrom: a\n[PENDING]\n[special:cloudinit]\na: \n", false)
	f.Fuzz(func(t *testing.T, text string, container bool) {
		dialect := toy()
		if container {
			dialect = &config.Dialect{Pending: "pve:pending", KeyChars: "_", Ends: true, Raw: func(key string) (bool, string) { return key == "lxc.x", "" }}
		}
		doc, err := config.Parse(dialect, 400, []byte(text), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		written := doc.Bytes(dialect)
		again, err := config.Parse(dialect, 400, written, true, nil)
		if err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		if diff := cmp.Diff(string(written), string(again.Bytes(dialect))); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("100% SSD: ä\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if got := config.DecodeText(config.EncodeText(text)); got != text {
			t.Errorf("%q became %q", text, got)
		}
		config.DecodeText(text)
	})
}
