package ovf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// virtualSize asks qemu-img.
func virtualSize(ctx context.Context, image string) (int64, error) {
	out, err := run.Output(ctx, run.Host{}, "qemu-img", "info", "--output=json", image)
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	return info.Size, errors.Join(err, json.Unmarshal(out, &info))
}

func TestConformanceOVF(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name  string
			Input struct {
				File, Manifest string
				Disks          []struct {
					Name, Format string
					Size         int64 `json:"virtual_size"`
				}
			}
			Expect struct {
				Error  bool
				Values []struct {
					Path  []any
					Value any
				}
			}
		}
	}
	conformance.Load(t, "cluster/storage-ovf", &suite)
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is not on this machine")
	}
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c.Input.File, c.Input.Manifest)
			for _, d := range c.Input.Disks {
				if _, err := run.Output(t.Context(), run.Host{}, "qemu-img", "create", "-q", "-f", d.Format, filepath.Join(dir, d.Name), fmt.Sprint(d.Size)); err != nil {
					t.Fatal(err)
				}
			}
			m, err := Read(t.Context(), filepath.Join(dir, c.Input.File), virtualSize)
			if c.Expect.Error {
				if err == nil {
					t.Error("no error")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range m.Disks {
				m.Disks[i].File = strings.TrimPrefix(m.Disks[i].File, dir+"/")
			}
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			for _, v := range c.Expect.Values {
				if diff := cmp.Diff(v.Value, at(got, v.Path)); diff != "" {
					t.Errorf("%v: %s", v.Path, diff)
				}
			}
		})
	}
}

// at walks into decoded JSON.
func at(v any, path []any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case float64:
			l, _ := v.([]any)
			if int(p) >= len(l) {
				return nil
			}
			v = l[int(p)]
		}
	}
	return v
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// manifest wraps hardware items and more in the rest of a manifest with files a and b.
func manifest(items string) string {
	return `<?xml version="1.0"?><Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:id="a" ovf:href="a.vmdk"/><File ovf:id="b" ovf:href="sub/b%20c.vmdk"/><File ovf:id="z" ovf:href="z.gz" ovf:compression="gzip"/>
<File ovf:id="up" ovf:href="../secret"/><File ovf:id="abs" ovf:href="/etc/passwd"/><File ovf:id="link" ovf:href="link"/><File ovf:id="net" ovf:href="https://example.org/x.vmdk"/></References>
<DiskSection><Disk ovf:diskId="d1" ovf:fileRef="a" ovf:capacity="10" ovf:capacityAllocationUnits="byte * 2^30"/>
<Disk ovf:diskId="blank" ovf:capacity="5" ovf:capacityAllocationUnits="MegaBytes"/><Disk ovf:diskId="odd" ovf:fileRef="a" ovf:capacity="1" ovf:capacityAllocationUnits="acre"/>
<Disk ovf:diskId="dz" ovf:fileRef="z" ovf:capacity="1"/><Disk ovf:diskId="delta" ovf:fileRef="a" ovf:parentRef="d1" ovf:capacity="1"/></DiskSection>
<DeploymentOptionSection><Configuration ovf:id="small"/><Configuration ovf:id="big" ovf:default="true"/></DeploymentOptionSection>
<VirtualSystem ovf:id="x"><Name> my_vm (1) </Name><OperatingSystemSection ovf:id="96"/><VirtualHardwareSection>
` + items + `</VirtualHardwareSection></VirtualSystem></Envelope>`
}

func hw(kind, more string) string {
	return "<Item><ResourceType>" + kind + "</ResourceType>" + more + "</Item>"
}

func onDisk(resource, more string) string {
	return hw("17", "<InstanceID>9</InstanceID><HostResource>"+resource+"</HostResource>"+more)
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		items string
		want  Machine
	}{
		"nothing": {"", Machine{Options: schema.Params{}}},
		"units and choices": {
			`<Item configuration="small"><ResourceType>3</ResourceType><VirtualQuantity>1</VirtualQuantity></Item>` +
				`<Item configuration="other big"><ResourceType>3</ResourceType><VirtualQuantity>8</VirtualQuantity></Item>` +
				hw("4", "<AllocationUnits>GigaBytes</AllocationUnits><VirtualQuantity>3</VirtualQuantity>"),
			Machine{Options: schema.Params{"cores": "8", "memory": "3072"}},
		},
		"memory without a unit": {hw("4", "<VirtualQuantity>512</VirtualQuantity>"), Machine{Options: schema.Params{"memory": "512"}}},
		"buses": {
			hw("5", "<InstanceID>1</InstanceID>") + hw("5", "<InstanceID>2</InstanceID>") + hw("20", "<InstanceID>3</InstanceID><ResourceSubType>AHCI</ResourceSubType>") +
				hw("6", "<InstanceId>4</InstanceId><ResourceSubType>VirtualSCSI</ResourceSubType>") +
				hw("20", "<InstanceID>5</InstanceID><ResourceSubType>vmware.nvme.controller</ResourceSubType>") +
				onDisk("ovf:/disk/d1", "<Parent>1</Parent><AddressOnParent>0</AddressOnParent>") +
				onDisk("/disk/blank", "<Parent>2</Parent><AddressOnParent>0</AddressOnParent>") +
				onDisk("ovf:/file/b", "<Parent>3</Parent><AddressOnParent>29</AddressOnParent>") +
				onDisk("ovf:/disk/d1", "<Parent>4</Parent><AddressOnParent>3</AddressOnParent>") +
				onDisk("ovf:/disk/d1", "<Parent>5</Parent>") + hw("17", "<InstanceID>10</InstanceID>"),
			Machine{
				Options: schema.Params{"boot": "order=ide0;ide1;sata0;scsi3;scsi0", "scsihw": "pvscsi"},
				Disks: []Disk{
					{"ide0", "a.vmdk", 10 << 30}, {"ide1", "", 5 << 20}, {"sata0", "sub/b%20c.vmdk", 0}, {"scsi3", "a.vmdk", 10 << 30}, {"scsi0", "a.vmdk", 10 << 30},
				},
				Notes: map[string]string{"scsi": "NVMe disks become SCSI disks"},
			},
		},
		"version 2": {
			"<StorageItem><ResourceType>17</ResourceType><HostResource>ovf:/disk/d1</HostResource></StorageItem>" +
				"<EthernetPortItem><ResourceType>10</ResourceType><ResourceSubType>VmxNet3</ResourceSubType><Connection>VM Network</Connection></EthernetPortItem>",
			Machine{
				Options: schema.Params{"boot": "order=scsi0"}, Disks: []Disk{{"scsi0", "a.vmdk", 10 << 30}},
				Nets: map[string]Net{"net0": {Model: "vmxnet3", Network: "VM Network"}},
			},
		},
		"cards and firmware": {
			hw("10", "<ResourceSubType>PCNet32</ResourceSubType><Address>bc-24-11-00-00-01</Address>") + hw("10", "<ResourceSubType>Sparkling</ResourceSubType>") +
				`<Config ovf:key="firmware" ovf:value="efi"/>`,
			Machine{
				Options: schema.Params{"bios": "ovmf"},
				Nets:    map[string]Net{"net0": {Model: "pcnet", MAC: "BC:24:11:00:00:01"}, "net1": {Model: "e1000"}},
				Notes: map[string]string{
					"net1": `card "Sparkling" is not known, it becomes an e1000`,
					"bios": "the EFI variables are not part of the manifest: boot entries may be lost",
				},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(manifest(c.items)))
			if err != nil {
				t.Fatal(err)
			}
			c.want.Options["name"], c.want.Options["ostype"] = "myvm1", "l26"
			if c.want.Nets == nil {
				c.want.Nets = map[string]Net{}
			}
			if c.want.Notes == nil {
				c.want.Notes = map[string]string{}
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseFaults(t *testing.T) {
	laughs := `<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><Envelope><VirtualSystem><Name>&c;</Name></VirtualSystem></Envelope>`
	for name, c := range map[string]struct{ text, want string }{
		"empty":             {"", "manifest is empty"},
		"not XML":           {"PK\x03\x04", "manifest: XML syntax error on line 1: illegal character code U+0003"},
		"another document":  {"<html/>", "manifest begins with <html>, not with <Envelope>"},
		"cut off":           {"<Envelope><VirtualSystem>", "manifest: XML syntax error on line 1: unexpected EOF"},
		"a bomb":            {laughs, "manifest: a document type is not allowed"},
		"unknown entity":    {"<Envelope><VirtualSystem><Name>&x;</Name></VirtualSystem></Envelope>", "manifest: XML syntax error on line 1: invalid character entity &x;"},
		"deep":              {"<Envelope>" + strings.Repeat("<a>", 1<<16), "manifest: elements are nested more than 64 deep"},
		"large":             {"<Envelope>" + strings.Repeat("<a/>", maxManifest/4+8), "manifest is larger than 8 MiB"},
		"no machine":        {"<Envelope/>", "manifest describes no virtual machine"},
		"two machines":      {"<Envelope><VirtualSystemCollection><VirtualSystem/><VirtualSystem/></VirtualSystemCollection></Envelope>", "manifest describes 2 virtual machines, only one can be imported"},
		"no CPUs":           {manifest(hw("3", "<VirtualQuantity>0</VirtualQuantity>")), `item : number of CPUs is "0"`},
		"endless memory":    {manifest(hw("4", "<InstanceID>2</InstanceID><AllocationUnits>byte * 2^60</AllocationUnits><VirtualQuantity>99</VirtualQuantity>")), "item 2: memory: 99 byte * 2^60 is too much"},
		"odd unit":          {manifest(onDisk("ovf:/disk/odd", "")), `disk 9: capacity: unit "acre" is not known`},
		"no such disk":      {manifest(onDisk("ovf:/disk/none", "")), `disk 9: manifest has no disk "none"`},
		"no such file":      {manifest(onDisk("ovf:/file/none", "")), `disk 9: manifest has no file "none"`},
		"odd resource":      {manifest(onDisk("rdm", "")), `disk 9: host resource "rdm" is neither a disk nor a file`},
		"compressed":        {manifest(onDisk("ovf:/disk/dz", "")), `disk 9: image "z.gz" is compressed with gzip: unpack it first`},
		"a difference":      {manifest(onDisk("ovf:/disk/delta", "")), `disk 9: "delta" is a difference to disk "d1", which cannot be imported`},
		"controller gone":   {manifest(onDisk("ovf:/disk/d1", "<Parent>77</Parent>")), "disk 9: its controller 77 is missing"},
		"odd controller":    {manifest(hw("3", "<InstanceID>3</InstanceID><VirtualQuantity>1</VirtualQuantity>") + onDisk("ovf:/disk/d1", "<Parent>3</Parent>")), "disk 9: its parent 3 is no disk controller"},
		"negative address":  {manifest(onDisk("ovf:/disk/d1", "<AddressOnParent>-1</AddressOnParent>")), `disk 9: address "-1" is not a number`},
		"more than fit":     {manifest(hw("5", "<InstanceID>1</InstanceID>") + strings.Repeat(onDisk("ovf:/disk/d1", "<Parent>1</Parent>"), 5)), "disk 9: more than 4 disks on bus ide"},
		"unknown character": {`<?xml version="1.0" encoding="ebcdic"?><Envelope/>`, `manifest: xml: encoding "ebcdic" declared but Decoder.CharsetReader is nil`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(c.text))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestRead looks for images only beside the manifest.
func TestRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vm")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "../secret", "secret")
	write(t, dir, "a.vmdk", "image")
	write(t, dir, "sub/b c.vmdk", "image")
	if err := os.Symlink("../secret", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	size := func(_ context.Context, image string) (int64, error) {
		info, err := os.Stat(image)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	for name, c := range map[string]struct {
		id, want string // the file wanted, or how the error ends
	}{
		"beside":      {"a", filepath.Join(dir, "a.vmdk")},
		"below":       {"b", filepath.Join(dir, "sub/b c.vmdk")},
		"above":       {"up", `scsi0: image "../secret" is not beside the manifest`},
		"absolute":    {"abs", `scsi0: image "/etc/passwd" is not beside the manifest`},
		"link":        {"link", `scsi0: image "link": statat link: path escapes from parent`},
		"far away":    {"net", `scsi0: image "https://example.org/x.vmdk": non-existent or non-regular file`},
		"compressed":  {"z", `disk 9: image "z.gz" is compressed with gzip: unpack it first`},
		"not a thing": {"", `disk 9: manifest has no file ""`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "vm.ovf")
			write(t, dir, "vm.ovf", manifest(onDisk("ovf:/file/"+c.id, "")))
			m, err := Read(t.Context(), path, size)
			if err != nil {
				if got, _ := strings.CutPrefix(err.Error(), path+": "); got != c.want {
					t.Errorf("got %s", got)
				}
				return
			}
			if diff := cmp.Diff([]Disk{{"scsi0", c.want, 5}}, m.Disks); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, path := range []string{"/no/such.ovf", dir} {
		if _, err := Read(t.Context(), path, size); err == nil || err.Error() != path+": non-existent or non-regular file" {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestOSType(t *testing.T) {
	for o, want := range map[guestOS]string{
		{"103", "windows7Server64Guest"}: "win7", {"1", "windows2019srvNext_64Guest"}: "win11", {"1", "windows9Server64Guest"}: "win10",
		{"96", ""}: "l26", {"101", "debian12_64Guest"}: "l26", {"97", ""}: "l24", {"29", ""}: "solaris", {"", ""}: "other", {"1", "otherGuest"}: "other",
	} {
		if got := osType(o); got != want {
			t.Errorf("%v: got %s, want %s", o, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(manifest(hw("3", "<VirtualQuantity>2</VirtualQuantity>") + onDisk("ovf:/disk/d1", "") + hw("10", "")))
	f.Add("<Envelope><VirtualSystem/></Envelope>")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, d := range m.Disks {
			if seen[d.Address] || d.Address == "" || d.Size < 0 {
				t.Errorf("disks: %+v", m.Disks)
			}
			seen[d.Address] = true
		}
		if name := m.Options["name"]; name != clean(name) {
			t.Errorf("name %q", name)
		}
	})
}
