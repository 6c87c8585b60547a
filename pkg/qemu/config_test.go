package qemu

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestConfigDecode(t *testing.T) {
	p := schema.Params{
		"scsi0": "local:100/vm-100-disk-0.qcow2,iothread=1,size=32G", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
		"memory": "2048", "cores": "2", "boot": "order=scsi0", "ostype": "l26", "numa": "1", "numa0": "cpus=0-1,memory=1024",
		"agent": "1,freeze-fs-on-backup=0",
	}
	var c Config
	if err := schema.Decode(p, &c); err != nil {
		t.Fatal(err)
	}
	p["agent"] = "1,freeze-fs=0"
	if diff := cmp.Diff(p, schema.Encode(c)); diff != "" {
		t.Error(diff)
	}
	err := schema.Decode(schema.Params{"virtio0": "local:1/x.raw,ssd=1"}, &c)
	want := "virtio0: invalid format - format error\nvirtio0.ssd: property is not defined in schema and the schema does not allow additional properties\n"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// A boot order and a list of features name what there is, and nothing else.
func TestConfigWords(t *testing.T) {
	for option, want := range map[string]string{
		"boot=order=scsi0;net1": "",
		"boot=cdn":              "",
		"boot=order=foo":        "boot: invalid format - format error\nboot.order: invalid format - invalid boot device 'foo'\n\n",
		"boot=order=efidisk0":   "boot: invalid format - format error\nboot.order: invalid format - invalid boot device 'efidisk0'\n\n",
		"boot=order=net32":      "boot: invalid format - format error\nboot.order: invalid format - invalid boot device 'net32'\n\n",
		"hotplug=disk,cpu":      "",
		"bootdisk=scsi30":       "",
		"bootdisk=scsi99":       "bootdisk: invalid format - invalid boot disk 'scsi99'\n",
		"hotplug=0":             "",
		"hotplug=disk,nonsense": "hotplug: invalid format - unable to parse hotplug option\n",
	} {
		key, value, _ := strings.Cut(option, "=")
		got := ""
		if err := schema.Decode(schema.Params{key: value}, new(Config)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", option, got, want)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	p := schema.Params{
		"scsi0": "local:100/vm-100-disk-0.qcow2,iothread=1,size=32G", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
		"memory": "2048", "cores": "2", "boot": "order=scsi0", "ostype": "l26", "smbios1": "uuid=21111111-2222-4333-8444-555555555555",
		"vmgenid": "21111111-2222-4333-8444-555555555555", "scsihw": "virtio-scsi-single", "name": "web", "sockets": "1", "tags": "a;b", "ide2": "none,media=cdrom",
	}
	for b.Loop() {
		var c Config
		if err := schema.Decode(p, &c); err != nil {
			b.Fatal(err)
		}
	}
}
