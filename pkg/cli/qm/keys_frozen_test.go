package qm

import (
	"fmt"
	"strings"
	"testing"
)

// frozenVMs are VMs whose QEMU is asked what it is made of.
func frozenVMs() []keyVM {
	return []keyVM{
		{
			name: "board",
			create: []string{
				"--machine", "pc-i440fx-6.2,enable-s3=0,enable-s4=0", "--memory", "256", "--acpi", "0", "--kvm", "0", "--keyboard", "de", "--tablet", "0",
				"--vga", "cirrus,memory=8", "--tdf", "1", "--reboot", "0", "--allow-ksm", "0", "--localtime", "1", "--args", "-uuid 11111111-2222-3333-4444-555555555555",
				"--sockets", "2", "--vcpus", "1", "--numa", "1", "--ostype", "l26", "--scsi0", "local:1", "--scsihw", "lsi",
				"--cpu", "Nehalem,flags=+aes;-pcid,level=11,phys-bits=40,hidden=1,reported-model=kvm64",
				"--smbios1", "uuid=12345678-1234-1234-1234-123456789012,base64=1,serial=YSBi,manufacturer=TWU=,product=UHI=,version=Vg==,sku=U2s=,family=RmE=",
			},
			proofs: []keyProof{
				{"machine machine.type", human("info qom-tree /machine", `pc-i440fx-6\.2-machine`)},
				{"machine.enable-s3 machine.enable-s4", all(arg(`PIIX4_PM\.disable_s3=1`, `PIIX4_PM\.disable_s4=1`),
					line([]string{"--machine", "pc-i440fx-6.2,enable-s3=1,enable-s4=0"}, `-global '?PIIX4_PM\.disable_s4=1`))},
				{"memory memory.current", query("query-memory-size-summary", `"base-memory": ?268435456`)},
				{"acpi", prop("/machine", "acpi", "off")},
				{"kvm", query("query-kvm", `"enabled": ?false`)},
				{"keyboard", arg(`-k de `)},
				{"tablet", all(noArg(`usb-tablet`), line([]string{"--tablet", "1"}, `usb-tablet,id=tablet,bus=uhci\.0,port=1`))},
				{"vga.type", device("vga", "type", "cirrus-vga")},
				{"vga.memory", device("vga", "vgamem_mb", 8)},
				{"tdf", arg(`driftfix=slew`)},
				{"reboot", arg(`-no-reboot`)},
				{"allow-ksm", prop("/machine", "mem-merge", false)},
				{"localtime", arg(`base=localtime`)},
				{"args", query("query-uuid", `11111111-2222-3333-4444-555555555555`)},
				{"sockets vcpus smp", all(query("query-hotpluggable-cpus", `"socket-id": ?1`), arg(`-smp 1,sockets=2,cores=1,maxcpus=2`),
					line([]string{"--smp", "2", "--delete", "sockets,vcpus"}, `-smp '2,sockets=2,cores=1`))},
				{"numa", human("info numa", `2 nodes`, `node 0 size: 128 MB`, `node 1 size: 128 MB`)},
				{"cpu cpu.cputype cpu.flags cpu.level cpu.phys-bits cpu.hidden", all(
					prop("/machine/unattached/device[0]", "type", "Nehalem-x86_64-cpu"), prop("/machine/unattached/device[0]", "aes", true),
					prop("/machine/unattached/device[0]", "pcid", false), prop("/machine/unattached/device[0]", "level", 11),
					prop("/machine/unattached/device[0]", "phys-bits", 40), prop("/machine/unattached/device[0]", "kvm", false))},
				{"cpu.hv-vendor-id", line([]string{"--kvm", "1", "--ostype", "win10", "--cpu", "Nehalem,hv-vendor-id=me"}, `hv_vendor_id=me`)},
				{"smbios1.base64", arg(`-smbios type=1,uuid=12345678-\S+,manufacturer=Me,product=Pr,version=V,serial=a b,sku=Sk,family=Fa`)},
				{"scsihw", all(device("scsihw0", "type", "lsi53c895a"), scsiModels)},
				{"bootdisk", line([]string{"--delete", "boot", "--bootdisk", "scsi0"}, `id=scsi0,\S*bootindex=100`)},
				{"boot.legacy", line([]string{"--boot", "legacy=dnc", "--ide2", "none,media=cdrom", "--net0", "e1000"}, `id=ide2,bootindex=100`, `id=net0,bootindex=200`)},
				{"boot boot.order", line([]string{"--boot", "order=net0;scsi0", "--net0", "e1000"}, `id=net0,bootindex=100`, `id=scsi0,\S*bootindex=101`)},
				{"startdate", line([]string{"--startdate", "2006-06-17T16:01:21"}, `base=2006-06-17T16:01:21`)},
				{"arch", line([]string{"--arch", "x86_64"}, `qemu-system-x86_64`)},
			},
		},
		{
			name: "q35",
			create: []string{
				"--machine", "q35,viommu=virtio", "--memory", "256", "--vga", "qxl2", "--ostype", "l26", "--usb0", "spice", "--usb1", "host=1234:5678,usb3=1",
				"--spice_enhancements", "foldersharing=1,videostreaming=filter", "--audio0", "device=ich9-intel-hda,driver=spice", "--bios", "ovmf",
				"--watchdog", "model=ib700,action=pause", "--rng0", "source=/dev/random,max_bytes=512,period=100", "--agent", "enabled=1,type=isa", "--serial2", "socket",
			},
			proofs: []keyProof{
				{"machine.viommu", all(human("info qom-tree /machine", `virtio-iommu-pci`, `pc-q35-`), line([]string{"--machine", "q35,viommu=intel,aw-bits=39"}, `intel-iommu,intremap=on,caching-mode=on,aw-bits=39`))},
				{"machine.aw-bits", notTaken("machine", "--machine", "q35,viommu=intel,aw-bits=3")},
				{"vga", all(device("vga", "type", "qxl-vga"), displays)},
				{"vga.clipboard", line([]string{"--vga", "std,clipboard=vnc"}, `qemu-vdagent,id=vdagent,name=vdagent,clipboard=on`, `name=com\.redhat\.spice\.0`)},
				{"spice_enhancements spice_enhancements.foldersharing", query("query-chardev", `foldershare`)},
				{"spice_enhancements.videostreaming", all(query("query-spice", `"enabled": ?true`), arg(`-spice unix=on,addr=\S+/100\.spice,\S*streaming-video=filter`), spiceTLS)},
				{"usb[n] usb[n].host usb[n].usb3", all(device("usbredirdev0", "type", "usb-redir"), device("usb1", "type", "usb-host"), device("usb1", "vendorid", 0x1234),
					device("usb1", "productid", 0x5678), arg(`usb-host,bus=xhci\.0,port=2,vendorid=0x1234,productid=0x5678,id=usb1`))},
				{"audio0 audio0.device audio0.driver", all(device("audiodev0", "type", "ich9-intel-hda"), arg(`-audiodev spice,id=spice-backend0`),
					line([]string{"--vga", "std"}, `-audiodev 'none,id=spice-backend0'`), line([]string{"--audio0", "device=AC97,driver=none"}, `-device 'AC97,id=audiodev0,\S*audiodev=none-backend0'`, `none,id=none-backend0`))},
				{"watchdog watchdog.model watchdog.action", all(human("info qtree", `dev: ib700`), arg(`-watchdog-action pause`))},
				{"rng0 rng0.source rng0.max_bytes rng0.period", all(object("rng0", "filename", "/dev/random"), human("info qtree", `max-bytes = 512`, `period = 100`))},
				{"agent.type", arg(`socket,path=\S+/100\.qga,server=on,wait=off,id=qga0`, `isa-serial,chardev=qga0`)},
				{"serial[n]", query("query-chardev", `"label": ?"serial2"`)},
				{"bios", query("query-named-block-nodes", `"pflash0"`)},
			},
		},
		{
			name: "memory",
			create: []string{
				"--memory", "1536", "--hotplug", "cpu,memory", "--numa", "1", "--sockets", "2", "--vcpus", "1", "--ostype", "l26",
				"--net0", "virtio=BC:24:11:00:00:01,queues=2,host-tunnel=1", "--ivshmem", "size=2,name=keys-memory", "--vmgenid", "11111111-2222-3333-4444-555555555555",
			},
			proofs: []keyProof{
				{"hotplug", all(query("query-memory-devices", `"dimm0"`), arg(`-m size=1024,slots=255,maxmem=`), arg(`-smp 1,sockets=2,cores=1,maxcpus=2`))},
				{"net[n].queues", all(device("net0", "mq", true), device("net0", "vectors", 6))},
				{"net[n].host-tunnel", stored(`net0: .*host-tunnel=1`)}, // QEMU from 10.2 on is told
				{"vmgenid", query("query-vm-generation-id", `11111111-2222-3333-4444-555555555555`)},
				{"ivshmem ivshmem.size ivshmem.name", all(object("ivshmem", "size", 2<<20), object("ivshmem", "mem-path", "/dev/shm/pve-shm-keys-memory"), removeShared("keys-memory"))},
			},
		},
	}
}

// displays are the kinds of display, as their cards.
func displays(t *testing.T, l *keyLab) {
	for kind, want := range map[string]string{
		"cirrus": `-device 'cirrus-vga,id=vga`, "std": `-device 'VGA,id=vga`, "vmware": `-device 'vmware-svga,id=vga`, "virtio": `-device 'virtio-vga,id=vga`,
		"qxl": `-device 'qxl-vga,id=vga`, "qxl2": `qxl-vga\.ram_size=134217728`, "qxl3": `max_outputs=4`, "qxl4": `max_outputs=4`,
		"none": `-vga none -nographic`, "serial0": `-nographic`, "serial3": `-nographic`,
	} {
		line([]string{"--vga", kind}, want)(t, l)
	}
}

// spiceTLS shows that SPICE has a port where the node has certificates.
func spiceTLS(t *testing.T, l *keyLab) {
	for _, name := range []string{"etc/pve/nodes/pve1/pve-ssl.pem", "etc/pve/nodes/pve1/pve-ssl.key", "etc/pve/pve-root-ca.pem"} {
		l.write(t, name, "")
	}
	line(nil, `-spice 'tls-port=61100,addr=localhost,tls-ciphers=HIGH,seamless-migration=on,x509-key-file=\S+/pve-ssl\.key,x509-cert-file=\S+/pve-ssl\.pem,x509-cacert-file=\S+/pve-root-ca\.pem`)(t, l)
}

func scsiModels(t *testing.T, l *keyLab) {
	for model, want := range map[string]string{
		"lsi": `-device 'lsi,id=scsihw0`, "lsi53c810": `-device 'lsi53c810,id=scsihw0`, "virtio-scsi-pci": `-device 'virtio-scsi-pci,id=scsihw0`,
		"virtio-scsi-single": `-device 'virtio-scsi-pci,id=virtioscsi0`, "megasas": `-device 'megasas,id=scsihw0`, "pvscsi": `-device 'pvscsi,id=scsihw0`,
	} {
		line([]string{"--scsihw", model}, want)(t, l)
	}
}

// deviceVMs are VMs with a device of each kind.
func deviceVMs() []keyVM {
	return []keyVM{cards(), disks()}
}

// cards is a VM with all models of network cards, without a bridge.
func cards() keyVM {
	models := []string{
		"e1000", "e1000-82540em", "e1000-82544gc", "e1000-82545em", "e1000e", "i82551", "i82557b", "i82559er", "ne2k_isa", "ne2k_pci", "pcnet",
		"rtl8139", "virtio", "vmxnet3",
	}
	vm := keyVM{name: "cards", create: []string{"--memory", "128", "--ostype", "l26"}}
	for n, model := range models {
		mac := fmt.Sprintf("02:00:00:00:00:%02d", n)
		vm.create = append(vm.create, fmt.Sprintf("--net%d", n), model+"="+mac)
		card := fmt.Sprintf("net%d", n)
		kind := model
		switch model {
		case "virtio":
			kind = "virtio-net-pci"
		case "e1000-82540em":
			kind = "e1000"
		}
		vm.proofs = append(vm.proofs, keyProof{"net[n]." + model, all(device(card, "type", kind), device(card, "mac", mac),
			human("info network", `\\ `+card+`: index=0,type=user`))})
	}
	vm.proofs = append(vm.proofs, keyProof{"net[n] net[n].model net[n].macaddr", stored(`net0: e1000=02:00:00:00:00:00`)})
	return vm
}

// disks is a VM with disks on all buses: 0 is limited each way, 1 is limited in all, 2
// is read by the guest only or loses what is written.
func disks() keyVM {
	vm := keyVM{name: "disks", create: []string{"--memory", "128", "--scsihw", "virtio-scsi-single", "--ide3", "local:1"}}
	const ways = ",cache=writethrough,aio=threads,discard=on,rerror=report,werror=stop,serial=ABC%20D,backup=0,replicate=0,shared=1" +
		",mbps_rd=1.5,mbps_rd_max=3,bps_rd_length=5,iops_rd=100,iops_rd_max=300,iops_rd_length=7" +
		",bps_wr=2097152,mbps_wr_max=4,bps_wr_max_length=6,iops_wr=200,iops_wr_max=400,iops_wr_max_length=8"
	const total = ",cache=directsync,aio=native,detect_zeroes=0,bps=1048576,mbps_max=2,bps_max_length=3,iops=50,iops_max=60,iops_max_length=4"
	more := map[string]string{
		"ide": ",wwn=0x5000000000000001,ssd=1,model=My%20Disk", "sata": ",wwn=0x5000000000000001,ssd=1",
		"scsi": ",wwn=0x5000000000000001,ssd=1,vendor=Acme,product=Rocket,iothread=1,queues=3", "virtio": ",iothread=1",
	}
	for _, bus := range []string{"ide", "sata", "scsi", "virtio"} {
		vm.create = append(vm.create, "--"+bus+"0", "local:1,format=qcow2"+ways+more[bus], "--"+bus+"1", "volume=local:1,format=raw"+total)
		first, second := bus+"0", bus+"1"
		limits := map[string]any{
			"bps-read": 3 << 19, "bps-read-max": 3 << 20, "bps-read-max-length": 5, "iops-read": 100, "iops-read-max": 300, "iops-read-max-length": 7,
			"bps-write": 2 << 20, "bps-write-max": 4 << 20, "bps-write-max-length": 6, "iops-write": 200, "iops-write-max": 400, "iops-write-max-length": 8,
		}
		key := func(names string) string {
			var keys []string
			for name := range strings.FieldsSeq(names) {
				keys = append(keys, bus+"[n]."+name)
			}
			return strings.Join(keys, " ")
		}
		vm.proofs = append(vm.proofs,
			keyProof{bus + "[n] " + key("file volume size"), all(query("query-named-block-nodes", `"node-name": ?"drive-`+first+`"`),
				stored(first+`: local:100/vm-100-disk-\d\.qcow2,.*size=1G`, second+`: local:100/vm-100-disk-\d\.raw,.*size=1G`))},
			keyProof{
				key("mbps_rd mbps_rd_max bps_rd bps_rd_length bps_rd_max_length iops_rd iops_rd_max iops_rd_length iops_rd_max_length " +
					"mbps_wr mbps_wr_max bps_wr bps_wr_length bps_wr_max_length iops_wr iops_wr_max iops_wr_length iops_wr_max_length"),
				object("throttle-drive-"+first, "limits", limits),
			},
			keyProof{key("mbps mbps_max bps bps_max_length iops iops_max iops_max_length"), object("throttle-drive-"+second, "limits", map[string]any{
				"bps-total": 1 << 20, "bps-total-max": 2 << 20, "bps-total-max-length": 3, "iops-total": 50, "iops-total-max": 60, "iops-total-max-length": 4,
			})},
			keyProof{key("cache"), all(device(first, "write-cache", "off"), device(second, "write-cache", "off"),
				nodeLike(second, `"direct":true,"no-flush":false`), nodeLike(first, `"direct":false,"no-flush":false`))},
			keyProof{key("aio discard detect_zeroes format"), all(nodeLike(first, `"aio":"threads"`, `"discard":"unmap"`, `"detect-zeroes":"unmap"`, `"driver":"qcow2"`),
				nodeLike(second, `"aio":"native"`, `"discard":"ignore"`, `"detect-zeroes":"off"`, `"driver":"raw"`))},
			keyProof{key("rerror werror serial"), all(device(first, "rerror", "report"), device(first, "werror", "stop"), device(first, "serial", "ABC D"))},
			keyProof{key("backup replicate shared"), stored(first + `: (.*,)?backup=0,.*replicate=0,.*shared=1`)}, // for backups, replication and migration
		)
	}
	vm.proofs = append(vm.proofs,
		keyProof{"ide[n].wwn sata[n].wwn scsi[n].wwn", all(device("ide0", "wwn", 0x5000000000000001), device("sata0", "wwn", 0x5000000000000001), device("scsi0", "wwn", 0x5000000000000001))},
		keyProof{"ide[n].ssd sata[n].ssd scsi[n].ssd", all(device("ide0", "rotation_rate", 1), device("sata0", "rotation_rate", 1), device("scsi0", "rotation_rate", 1))},
		keyProof{"ide[n].model", device("ide0", "model", "My Disk")},
		keyProof{"scsi[n].vendor scsi[n].product", all(device("scsi0", "vendor", "Acme"), device("scsi0", "product", "Rocket"))},
		keyProof{"scsi[n].iothread virtio[n].iothread", query("query-iothreads", `iothread-virtioscsi0`, `iothread-virtio0`)},
		keyProof{"scsi[n].queues", arg(`virtio-scsi-pci,id=virtioscsi0,\S*num_queues=3`)},
		keyProof{"scsi[n].ro virtio[n].ro", line([]string{"--scsi2", "local:1,ro=1", "--virtio2", "local:1,ro=1"},
			`"node-name":"drive-scsi2","read-only":true`, `"node-name":"drive-virtio2","read-only":true`)},
		keyProof{"disk.snapshot", line([]string{"--ide3", "local:1,snapshot=1", "--sata2", "local:1,snapshot=1", "--scsi2", "local:1,snapshot=1", "--virtio2", "local:1,snapshot=1"},
			`id=drive-ide3,format=raw,snapshot=on`, `id=drive-sata2,format=raw,snapshot=on`, `id=drive-scsi2,format=raw,snapshot=on`, `id=drive-virtio2,format=raw,snapshot=on`)},
		keyProof{"disk.media", all(func(t *testing.T, l *keyLab) { l.write(t, "var/lib/vz/template/iso/a.iso", strings.Repeat("x", 4096)) },
			line([]string{"--sata2", "local:iso/a.iso,media=cdrom", "--scsi2", "local:iso/a.iso,media=cdrom"}, `-device 'ide-cd,bus=ahci0\.2,drive=drive-sata2`, `-device 'scsi-cd,`))},
		keyProof{"cdrom cdrom.*", line([]string{"--cdrom", "local:iso/a.iso"}, `-device 'ide-cd,bus=ide\.1,unit=0,drive=drive-ide2,id=ide2`, `template/iso/a\.iso`)},
		keyProof{"scsi[n].scsiblock", line([]string{"--scsi2", "local:1,scsiblock=1"}, `"driver":"raw","file":[^ ]*"node-name":"drive-scsi2"`)}, // no SCSI disk to hand through
	)
	return vm
}

// nodeLike says what QEMU was told of the block nodes of a drive, and that it has them.
func nodeLike(drive string, patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		for word := range strings.SplitSeq(l.argv(t), " -blockdev ") {
			if !strings.Contains(word, `"node-name":"drive-`+drive+`"`) {
				continue
			}
			for _, pattern := range patterns {
				fits(t, drive, pattern, word)
			}
			return
		}
		t.Errorf("no block node of %s", drive)
	}
}
