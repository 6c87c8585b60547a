package mapping_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/mapping"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// lay makes files below a folder; a text that begins with "-> " makes a link.
func lay(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func machine(t *testing.T) host.Sys {
	dir := t.TempDir()
	const gpu, nic, usb = "bus/pci/devices/0000:01:00.0/", "bus/pci/devices/0000:03:00.0/", "bus/usb/devices/1-2/"
	lay(t, dir, map[string]string{
		gpu + "vendor": "0x10de\n", gpu + "device": "0x1b80\n", gpu + "subsystem_vendor": "0x1458\n", gpu + "subsystem_device": "0x3702\n",
		gpu + "iommu_group": "-> ../../../kernel/iommu_groups/1",
		nic + "vendor":      "0x8086\n", nic + "device": "0x1521\n", nic + "mdev_supported_types/x/name": "x",
		usb + "idVendor": "1234\n", usb + "idProduct": "5678\n", usb + "busnum": "1\n", usb + "devnum": "3\n",
	})
	return host.Sys(dir)
}

const pciText = `gpu
	description Grafik
	map id=10de:1b80,iommugroup=1,node=pve1,path=0000:01:00.0,subsystem-id=1458:3702
	map id=10de:1b80,node=pve2,path=0000:02:00.0
	mdev 0

# a comment
nic
	map id=8086:1521,node=pve1,path=0000:03:00
	mdev 1
	live-migration-capable 1

`

func fail(t *testing.T) func(string) {
	return func(text string) { t.Errorf("warned: %s", text) }
}

func TestReadPCI(t *testing.T) {
	want := mapping.PCIs{
		{ID: "gpu", Description: new("Grafik"), MDev: new(false), Maps: []mapping.PCIEntry{
			{DeviceID: "10de:1b80", IOMMUGroup: new(1), Node: "pve1", Path: "0000:01:00.0", SubsystemID: new("1458:3702")},
			{DeviceID: "10de:1b80", Node: "pve2", Path: "0000:02:00.0"},
		}},
		{ID: "nic", MDev: new(true), LiveMigrationCapable: new(true), Maps: []mapping.PCIEntry{
			{DeviceID: "8086:1521", Node: "pve1", Path: "0000:03:00"},
		}},
	}
	got := mapping.ReadPCI(pciText, fail(t))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	gpu, ok := got.Find("gpu")
	if diff := cmp.Diff(want[0].Maps[1:], gpu.On("pve2")); !ok || diff != "" {
		t.Error(ok, diff)
	}
}

func TestFaults(t *testing.T) {
	var got []string
	all := mapping.ReadPCI("stray 1\n\naa\n\tcolour red\n\tmdev maybe\n\tmap node=pve1\n\n-x\n\tmdev 1\n\naa\n\n", func(text string) { got = append(got, text) })
	want := []string{
		"file mapping/pci.cfg line 1 (skip section 'stray 1'): not a name",
		"file mapping/pci.cfg line 4 (section 'aa') - unable to parse value of 'colour': unexpected property 'colour'",
		"file mapping/pci.cfg line 5 (section 'aa') - unable to parse value of 'mdev': type check ('boolean') failed - got 'maybe'",
		"file mapping/pci.cfg line 8 (skip section '-x'): invalid configuration ID '-x'",
		"file mapping/pci.cfg line 11 (skip section 'aa'): duplicate ID",
		"file mapping/pci.cfg (section 'aa') - unable to parse value of 'map': format error\nid: property is missing and it is not optional\npath: property is missing and it is not optional",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(all) != 1 || all[0].Maps != nil {
		t.Errorf("%+v", all)
	}
}

func TestPCIDevices(t *testing.T) {
	sys := machine(t)
	tests := []struct {
		name, text, mapping string
		want                []string
		err                 string
	}{
		{"fine", pciText, "gpu", []string{"0000:01:00.0"}, ""},
		{"whole device", pciText, "nic", []string{"0000:03:00"}, ""},
		{"unknown", pciText, "nope", nil, "PCI device mapping not found for 'nope'"},
		{"elsewhere", "xx\n\tmap id=10de:1b80,node=pve2,path=0000:02:00.0\n", "xx", nil, "PCI device mapping not found for 'xx'"},
		{"no device", "xx\n\tmap id=10de:1b80,node=pve1,path=0000:09:00\n", "xx", nil, "pci device '0000:09:00.0' not found"},
		{"other id", "xx\n\tmap id=10de:9999,node=pve1,path=0000:01:00.0,iommugroup=1,subsystem-id=1458:3702\n", "xx", nil, "'id' does not match for 'xx' (10de:1b80 != 10de:9999)"},
		{"group not noted", "xx\n\tmap id=10de:1b80,node=pve1,path=0000:01:00.0,subsystem-id=1458:3702\n", "xx", nil, "no 'iommugroup' for device '0000:01:00.0'"},
		{"other group", "xx\n\tmap id=10de:1b80,node=pve1,path=0000:01:00.0,iommugroup=2,subsystem-id=1458:3702\n", "xx", nil, "'iommugroup' does not match for 'xx' (1 != 2)"},
		{"no group", "xx\n\tmap id=8086:1521,node=pve1,path=0000:03:00.0,iommugroup=2\n\tmdev 1\n", "xx", nil, "'iommugroup' configured but should not be"},
		{"mdev", "xx\n\tmap id=8086:1521,node=pve1,path=0000:03:00.0\n", "xx", nil, "'mdev' does not match for 'xx' (1 != 0)"},
		{"subsystem", "xx\n\tmap id=10de:1b80,node=pve1,path=0000:01:00.0,iommugroup=1\n", "xx", nil, "no 'subsystem-id' for device '0000:01:00.0'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mapping.ReadPCI(tt.text, fail(t)).Devices(sys, "pve1", tt.mapping)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			want := tt.err
			if want != "" && !strings.HasSuffix(want, "not found for '"+tt.mapping+"'") {
				want = "PCI device mapping invalid (hardware probably changed): " + want
			}
			if (err == nil) != (want == "") || err != nil && err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
		})
	}
}

func TestUSBDevice(t *testing.T) {
	sys := machine(t)
	tests := []struct{ name, maps, want, err string }{
		{"by id", "\tmap id=1234:5678,node=pve1\n", "1234:5678", ""},
		{"by port", "\tmap id=1234:5678,node=pve1,path=1-2\n", "1-2", ""},
		{"elsewhere", "\tmap id=1234:5678,node=pve2\n", "", "USB device mapping not found for 'xx'"},
		{"two", "\tmap id=1234:5678,node=pve1\n\tmap id=1234:5678,node=pve1,path=1-2\n", "", "More than one USB mapping per host not supported"},
		{"unplugged", "\tmap id=1234:9999,node=pve1\n", "", "USB Mapping invalid (hardware probably changed): usb device '1234:9999' not found"},
		{"empty port", "\tmap id=1234:5678,node=pve1,path=1-3\n", "", "USB Mapping invalid (hardware probably changed): usb device '1-3' not found"},
		{"another", "\tmap id=1234:9999,node=pve1,path=1-2\n", "", "USB Mapping invalid (hardware probably changed): 'id' does not match for 'xx' (1234:5678 != 1234:9999)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mapping.ReadUSB("xx\n"+tt.maps, fail(t)).Device(sys, "pve1", "xx")
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestDirectoryPath(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, map[string]string{"file": ""})
	text := "share\n\tdescription project data\n\tmap node=pve1,path=" + dir + "\n\tmap node=pve2,path=/srv/share2\n" +
		"\ngone\n\tmap node=pve1,path=" + dir + "/none\n\nfile\n\tmap node=pve1,path=" + dir + "/file\n" +
		"\ntwo\n\tmap node=pve1,path=/a\n\tmap node=pve1,path=/b\n\nnone\n\tmap node=pve2,path=/a\n"
	all := mapping.ReadDirectories(text, fail(t))
	for name, want := range map[string]string{
		"share": "", "gone": "Path " + dir + "/none does not exist", "file": "Path " + dir + "/file exists, but is not a directory",
		"two": "More than one directory mapping for node pve1", "none": "No directory mapping for node pve1", "nope": "Directory ID nope does not exist",
	} {
		got, err := all.Path("pve1", name)
		if want == "" && (got != dir || err != nil) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestDirectoryFormat(t *testing.T) {
	var e mapping.DirectoryEntry
	err := schema.Parse("node=pve2,path=relative", &e)
	if err == nil || !strings.Contains(err.Error(), "path: invalid format - Value does not look like a valid absolute path. These symbols are currently not allowed in path: ;,=()") {
		t.Errorf("got %v", err)
	}
}

// TestConformanceSpec compares the keys of the maps with the interface specification.
func TestConformanceSpec(t *testing.T) {
	text, err := os.ReadFile(conformance.Spec(t, "sections.json"))
	if err != nil {
		t.Skip("the interface specification is not on this machine")
	}
	type key struct {
		Type, Pattern, Format string
		Optional              bool
		MaxLength             *int
	}
	var spec struct {
		Sections map[string]struct {
			Base struct {
				Map struct {
					Items struct{ Format map[string]key }
				}
			} `json:"base_properties"`
		}
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*schema.Schema{
		"mapping/pci": schema.Of[mapping.PCIEntry](), "mapping/usb": schema.Of[mapping.USBEntry](), "mapping/directory": schema.Of[mapping.DirectoryEntry](),
	} {
		got := map[string]key{}
		for name, k := range s.Properties {
			got[name] = key{Type: k.Type, Pattern: k.Pattern, Format: k.Format, Optional: k.Optional, MaxLength: k.MaxLength}
		}
		if diff := cmp.Diff(spec.Sections[name].Base.Map.Items.Format, got); diff != "" {
			t.Error(name, diff)
		}
	}
}

func FuzzReadPCI(f *testing.F) {
	f.Add(pciText)
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range mapping.ReadPCI(text, func(string) {}) {
			if schema.CheckFormat("pve-configid", m.ID) != nil {
				t.Errorf("name %q", m.ID)
			}
		}
	})
}
