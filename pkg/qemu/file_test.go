package qemu_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestConformanceParseConfig(t *testing.T) {
	var suite struct {
		Environment struct{ VMID int }
		Cases       []struct {
			Name, Input, Output, Error string
			Strict                     bool
		}
	}
	conformance.Load(t, "guest/qemu-parse-config", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			doc, err := qemu.ReadDoc(id.VM(suite.Environment.VMID), []byte(c.Input), c.Strict, func(string) {})
			if c.Error != "" {
				if err == nil || err.Error()+"\n" != c.Error {
					t.Errorf("got %v, want %s", err, c.Error)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := qemu.WriteDoc(doc)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.Output, string(text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWriteDocRefusesLines(t *testing.T) {
	for _, section := range []string{"values", "pending", "snapshot"} {
		t.Run(section, func(t *testing.T) {
			doc, err := qemu.ReadDoc(100, []byte("memory: 512\n[PENDING]\nmemory: 1024\n[snap]\nmemory: 256\n"), true, nil)
			if err != nil {
				t.Fatal(err)
			}
			values := map[string]schema.Params{"values": doc.Values, "pending": doc.Pending, "snapshot": doc.Snapshots["snap"]}[section]
			values["args"] = "-no-hpet\nlock: backup"
			text, err := qemu.WriteDoc(doc)
			if err == nil || err.Error() != "unable to write 'args' - a value is one line" {
				t.Errorf("error %v, text %q", err, text)
			}
		})
	}
}

func FuzzReadDoc(f *testing.F) {
	f.Add("# a comment\n#%C3%A4\nmemory: 512\ncdrom: none\n\n[PENDING]\ndelete: a,!b\n[special:cloudinit]\nname: x\n[snap]\nsnaptime: 1\nsnapstate: delete\n[snap one]\nx\n")
	f.Add("boot: \ntags:  \ndescription: a%0Ab\n\r\n[special:x]\n[PENDING]\n[pending]\n")
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := qemu.ReadDoc(100, []byte(text), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		written, err := qemu.WriteDoc(doc)
		if err != nil {
			t.Skip(err)
		}
		again, err := qemu.ReadDoc(100, written, true, nil)
		if err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		second, err := qemu.WriteDoc(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(written), string(second)); diff != "" {
			t.Error(diff)
		}
	})
}

const typical = `#A web server
agent: 1
boot: order=scsi0;ide2;net0
cores: 2
cpu: x86-64-v2-AES
ide2: local:iso/debian-13.iso,media=cdrom,size=4M
memory: 2048
meta: creation-qemu=10.1.2,ctime=1749000000
name: web-front
net0: virtio=BC:24:11:0A:0B:0C,bridge=vmbr0,firewall=1
numa: 0
ostype: l26
scsi0: local:100/vm-100-disk-0.qcow2,iothread=1,size=8G
scsihw: virtio-scsi-single
smbios1: uuid=11111111-2222-4333-8444-555555555555
sockets: 1
vmgenid: aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee
`

func BenchmarkReadDoc(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := qemu.ReadDoc(100, []byte(typical), false, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		doc, err := qemu.ReadDoc(100, []byte(typical), false, nil)
		if err != nil {
			b.Fatal(err)
		}
		var c qemu.Config
		if err := schema.Decode(doc.Values, &c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteDoc(b *testing.B) {
	doc, err := qemu.ReadDoc(100, []byte(typical), false, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := qemu.WriteDoc(doc); err != nil {
			b.Fatal(err)
		}
	}
}
