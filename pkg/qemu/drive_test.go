package qemu

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestParseDrive(t *testing.T) {
	for _, c := range []struct{ key, text, print, fault string }{
		{key: "scsi0", text: "local:100/vm-100-disk-0.qcow2,size=32G,iothread=on", print: "local:100/vm-100-disk-0.qcow2,iothread=1,size=32G"},
		{key: "ide2", text: "none,media=cdrom", print: "none,media=cdrom"},
		{key: "efidisk0", text: "local:100/e.raw,efitype=4m,size=528K", print: "local:100/e.raw,efitype=4m,size=528K"},
		{key: "tpmstate0", text: "local:100/t.raw,version=v2.0", print: "local:100/t.raw,version=v2.0"},
		{key: "unused3", text: "local:100/vm-100-disk-9.raw", print: "local:100/vm-100-disk-9.raw"},
		{key: "virtio1", text: "local:1/x.raw,bps_rd=1048576", print: "local:1/x.raw,mbps_rd=1"},
		{key: "virtio1", text: "local:1/x.raw,bps_rd=1000000", print: "local:1/x.raw,mbps_rd=0.954"},
		{key: "virtio1", text: "none,media=cdrom", fault: "virtio1.media: a virtio drive cannot be a CD drive"},
		{key: "ide1", text: "local:iso/x.iso,media=cdrom,format=raw", fault: "ide1.format: not possible with media=cdrom"},
		{key: "virtio1", text: "local:1/x.raw,mbps_max=3", fault: "virtio1.mbps_max: mbps_max requires mbps"},
		{key: "virtio1", text: "local:1/x.raw,ssd=1", fault: "virtio1: invalid format - format error\nvirtio1.ssd: property is not defined in schema and the schema does not allow additional properties\n"},
	} {
		t.Run(c.key+"="+c.text, func(t *testing.T) {
			d, err := ParseDrive(c.key, c.text)
			if c.fault != "" {
				if err == nil || err.Error() != c.fault {
					t.Fatalf("got %v, want %s", err, c.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := PrintDrive(d); got != c.print || d.Key() != c.key {
				t.Errorf("got %s=%s, want %s=%s", d.Key(), got, c.key, c.print)
			}
		})
	}
	for _, key := range []string{"ide4", "scsi31", "net0", "scsi", "efidisk1", ""} {
		if _, err := ParseDrive(key, "local:1/x.raw"); !errors.Is(err, ErrNotDrive) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestDrives(t *testing.T) {
	values := schema.Params{
		"sata0": "local:1/s.raw", "virtio1": "local:1/v.raw", "scsi10": "local:1/b.raw", "scsi2": "local:1/a.raw", "ide2": "none,media=cdrom",
		"efidisk0": "local:1/e.raw", "tpmstate0": "local:1/t.raw", "unused0": "local:1/u.raw", "scsi3": "broken,nonsense=1", "net1": "virtio",
	}
	keys := func(kinds DriveKind) (got []string) {
		for d := range Drives(values, kinds) {
			got = append(got, d.Key())
		}
		return got
	}
	want := []string{"ide2", "scsi2", "scsi10", "virtio1", "sata0", "efidisk0", "tpmstate0", "unused0"}
	if diff := cmp.Diff(want, keys(AllDrives)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[:5], keys(Disks)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"scsi2", "ide2", "net1"}, DefaultBootOrder(values)); diff != "" {
		t.Error(diff)
	}
	delete(values, "scsi3")
	var c Config
	if err := schema.Decode(values, &c); err != nil {
		t.Fatal(err)
	}
	var typed []string
	for d := range c.Drives(AllDrives) {
		typed = append(typed, d.Key())
	}
	if !slices.Equal(typed, want) {
		t.Errorf("typed: %v", typed)
	}
}

func TestBootOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		values schema.Params
		want   map[string]int
	}{
		{"default", schema.Params{"ide2": "none,media=cdrom", "scsi0": "local:1/a.raw", "bootdisk": "scsi0", "net0": "virtio"}, map[string]int{"scsi0": 100, "ide2": 200, "net0": 300}},
		{"letters", schema.Params{"boot": "dc", "ide2": "none,media=cdrom", "scsi0": "local:1/a.raw", "scsi1": "local:1/b.raw", "bootdisk": "scsi1"}, map[string]int{"scsi1": 201, "ide2": 100}},
		{"order", schema.Params{"boot": "order=net0;scsi0", "scsi0": "local:1/a.raw", "ide2": "none,media=cdrom"}, map[string]int{"net0": 100, "scsi0": 101}},
		{"nothing", schema.Params{"boot": "order="}, map[string]int{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg Config
			if err := schema.Decode(c.values, &cfg); err != nil {
				t.Skip(err) // an empty order is refused by the schema
			}
			if diff := cmp.Diff(c.want, cfg.BootOrder()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseDrive(f *testing.F) {
	f.Add("scsi0", "local:100/vm-100-disk-0.qcow2,iothread=1,size=32G")
	f.Add("efidisk0", "local:1/e.raw,efitype=4m")
	f.Fuzz(func(t *testing.T, key, text string) {
		d, err := ParseDrive(key, text)
		if err != nil {
			return
		}
		again, err := ParseDrive(key, PrintDrive(d))
		if err != nil {
			t.Fatalf("%q printed as %q: %v", text, PrintDrive(d), err)
		}
		if diff := cmp.Diff(d, again); diff != "" {
			t.Error(diff)
		}
	})
}
