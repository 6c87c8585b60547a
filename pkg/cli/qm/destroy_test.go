package qm

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDestroy(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	before := y.files()
	y.vm()
	y.image(y.path("var/lib/vz/images/100/vm-100-disk-7.raw"), "raw")
	y.write("etc/pve/firewall/100.fw", "[OPTIONS]\nenable: 1\n")
	y.must("destroy", "100")
	left := y.files()
	if _, ok := left["var/lib/vz/images/100/vm-100-disk-7.raw"]; !ok || len(left) != len(before)+1 {
		t.Errorf("what the VM did not name is gone, or more is left: %v", left)
	}
	y.write("etc/pve/nodes/pve1/qemu-server/100.conf", "name: again\n")
	y.must("destroy", "100", "--destroy-unreferenced-disks", "1")
	if diff := cmp.Diff(before, y.files()); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

// TestDestroyMissing destroys a VM whose volumes and storages are gone.
func TestDestroyMissing(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.write("etc/pve/nodes/pve1/qemu-server/100.conf", "scsi0: local:100/vm-100-disk-0.raw,size=1G\nscsi1: gone:100/vm-100-disk-0.raw\n")
	y.must("destroy", "100")
	if out := y.must("list"); out != "" {
		t.Errorf("there still: %s", out)
	}
}

// TestDestroyPurge keeps what it does not know in the files that it changes.
func TestDestroyPurge(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.write("etc/pve/ha/resources.cfg", "vm: 100\n\tstate started\n\nct: 200\n\tfuture 1\n\n")
	y.write("etc/pve/ha/rules.cfg", "node-affinity: both\n\tresources vm:100,ct:200\n\tnodes pve1\n\n"+
		"node-affinity: one\n\tresources vm:100\n\tnodes pve1\n\n")
	y.write("etc/pve/jobs.cfg", "vzdump: a\n\tvmid 100\n\tschedule 1:00\n\nvzdump: b\n\tvmid 100,200\n\tcomment keep\n\tschedule 2:00\n\n"+
		"realm-sync: c\n\tschedule 3:00\n\n")
	y.write("etc/pve/replication.cfg", "local: 100-0\n\ttarget pve2\n\nlocal: 200-0\n\ttarget pve2\n\n")
	y.refuses("used in HA resources", "destroy", "100")
	y.must("destroy", "100", "--purge")
	for name, want := range map[string]string{
		"ha/resources.cfg": "ct: 200\n\tfuture 1\n\n",
		"ha/rules.cfg":     "node-affinity: both\n\tnodes pve1\n\tresources ct:200\n\n",
		"jobs.cfg":         "vzdump: b\n\tcomment keep\n\tschedule 2:00\n\tvmid 200\n\nrealm-sync: c\n\tschedule 3:00\n\n",
		"replication.cfg":  "local: 200-0\n\ttarget pve2\n\n",
	} {
		got, err := os.ReadFile(y.path("etc/pve/" + name))
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestImportOVF(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.image(y.path("ovf/disk1.vmdk"), "vmdk")
	const manifest = `<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f1" ovf:href="disk1.vmdk"/></References>
 <DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="5244416"/></DiskSection>
 <VirtualSystem ovf:id="appliance"><Name>appliance</Name><VirtualHardwareSection>
  <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
  <Item><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>256</rasd:VirtualQuantity></Item>
  <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType><rasd:Address>0</rasd:Address></Item>
  <Item><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceType>17</rasd:ResourceType><rasd:Parent>3</rasd:Parent>
   <rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource></Item>
 </VirtualHardwareSection></VirtualSystem>
</Envelope>
`
	y.write("ovf/appliance.ovf", manifest)
	before := y.files()
	out := y.must("importovf", "100", y.path("ovf/appliance.ovf"), "fast", "--dryrun")
	if !strings.Contains(out, `"disk_address": "scsi0"`) {
		t.Errorf("dry run: %s", out)
	}
	if diff := cmp.Diff(before, y.files()); diff != "" {
		t.Errorf("the dry run changed files:\n%s", diff)
	}
	y.must("importovf", "100", y.path("ovf/appliance.ovf"), "fast", "--format", "qcow2")
	y.same(y.file("100", "scsi0"))
	if got := y.option("100", "memory") + " " + y.option("100", "cores") + " " + y.option("100", "name"); got != "256 2 appliance" {
		t.Errorf("memory, cores and name: %s", got)
	}
	y.write("var/lib/vz/import/appliance.ovf", manifest)
	y.image(y.path("var/lib/vz/import/disk1.vmdk"), "vmdk")
	y.must("import", "101", "local:import/appliance.ovf", "--storage", "local", "--memory", "128")
	y.same(y.file("101", "scsi0"))
	if got := y.option("101", "memory"); got != "128" {
		t.Errorf("memory: %s", got)
	}
}
