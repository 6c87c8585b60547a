package cmdline

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// stock is a node with a stock QEMU that knows a little, and no KVM.
func stock() Host {
	names := func(what string) func(int) string { return func(int) string { return "/run/" + what } }
	return Host{
		Node: "here", Arch: "x86_64", CPUs: 8, CPUVendor: "GenuineIntel", PhysBits: 46,
		QEMU: &Capabilities{
			Binary: "/usr/bin/qemu-system-x86_64", Version: "7.2.22",
			Machines:   []string{"pc", "q35", "pc-i440fx-7.2", "pc-q35-7.2", "pc-i440fx-5.1", "pc-q35-5.1"},
			CPUs:       []string{"qemu64", "kvm64", "max", "EPYC", "Icelake-Server", "486"},
			Properties: map[string][]string{CPUProperties: {"aes", "pcid", "lahf-lm", "sep", "enforce", "kvm", "vendor", "sse4.1", "sse4.2", "ssse3", "pni", "popcnt", "x2apic", "kvm-pv-eoi", "kvm-pv-unhalt"}, "virtio-net-pci": {"host_mtu"}},
		},
		Paths: Paths{QMP: "/run/qmp", VNC: "/run/vnc", Agent: "/run/qga", TPM: "/run/tpm", EFIVars: "/run/vars", Spice: "/run/spice", Serial: names("serial"), VirtioFS: names("fs")},
		Volume: func(id string) (Volume, error) {
			return Volume{ID: id, Type: "dir", Kind: "images", Format: "raw", Path: "/disk"}, nil
		},
		Firmware: func(kind string) (Firmware, error) {
			return Firmware{Code: "/code", Vars: "/vars", VarsSize: 528 << 10}, nil
		},
		BridgeMTU: func(bridge string) (int, error) {
			if bridge == "nobr" {
				return 0, errors.New("bridge 'nobr' does not exist")
			}
			return 1500, nil
		},
		PCI:        fakePCI{environment{PCIDevices: []string{"0000:01:00.0", "0000:01:00.1", "0000:00:02.0"}}},
		DirMapping: func(string) (string, error) { return "/srv", nil },
		USBMapping: func(string) (string, error) { return "1-2", nil },
	}
}

func compose(t testing.TB, config string, host Host) (*Command, error) {
	t.Helper()
	return Compose(VM{ID: 100, Config: readConfig(t, config)}, host)
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{"machine: pc-i440fx-9.2+pve1", "Installed QEMU version '7.2.22' is too old to run machine type 'pc-i440fx-9.2+pve1', please upgrade node 'here'"},
		{"machine: pc-i440fx-2.1", "machine type 'pc-i440fx-2.1' is not supported by QEMU version '7.2.22' on node 'here'"},
		{"kvm: 1", "KVM virtualisation configured, but not available. Either disable in VM configuration or enable in BIOS."},
		{"kvm: 1\narch: aarch64", "KVM cannot run a guest of architecture 'aarch64' on node 'here', which is 'x86_64'"},
		{"cpu: EPYC-Turin", "cpu: model 'EPYC-Turin' is not known to QEMU '7.2.22' on node 'here'"},
		{"cpu: nonsense", "cpu: model 'nonsense' is not known for architecture 'x86_64'"},
		{"cpu: custom-none", "Custom cputype 'none' not found"},
		{"cpu: kvm64,flags=+spec-ctrl", "cpu: flag 'spec-ctrl' is not known to QEMU '7.2.22' on node 'here'"},
		{"cpu: kvm64,guest-phys-bits=40", "cpu: 'guest-phys-bits' is not known to QEMU '7.2.22' on node 'here'"},
		{"cores: 9", "MAX 8 vcpus allowed per VM on this node"},
		{"vcpus: 3\ncores: 2", "vcpus: 3 is more than the 2 that sockets and cores make"},
		{"net0: virtio,bridge=nobr", "netdev net0: bridge 'nobr' does not exist"},
		{"net0: virtio,bridge=vmbr0,mtu=9000", "netdev net0: MTU '9000' is bigger than the bridge MTU '1500' - adjust the MTU for the network device in the VM configuration, while ensuring that the bridge is configured as desired."},
		{"net0: virtio,bridge=vmbr0,mtu=100", "netdev net0: MTU '100' is smaller than the IP minimum MTU '576'"},
		{"hugepages: 2", "numa needs to be enabled to use hugepages"},
		{"hotplug: memory", "NUMA needs to be enabled for memory hotplug"},
		{"hotplug: memory\nnuma: 1\nmemory: 512", "minimum memory must be 1024MB"},
		{"hotplug: memory\nnuma: 1\nmemory: 2048\nnuma0: cpus=0,memory=2048", "cannot enable memory hotplugging with custom NUMA topology"},
		{"hotplug: memory\nnuma: 1\nmemory: 2048\nvirtiofs0: share", "Memory hotplug does not work in combination with virtio-fs."},
		{"numa: 1\nnuma0: cpus=0", "missing NUMA node0 memory value"},
		{"numa: 1\nnuma0: cpus=0,memory=100", "total memory for NUMA nodes must be equal to vm static memory"},
		{"numa: 1\nnuma0: cpus=0,memory=512,hostnodes=0", "you need to define a policy for hostnode 0"},
		{"machine: q35,viommu=intel,aw-bits=40", "Intel vIOMMU supports only 39 or 48 bits as address width"},
		{"machine: q35,aw-bits=40", "cannot set aw-bits if no vIOMMU is configured"},
		{"bios: ovmf\ncpu: 486", "OVMF (UEFI) BIOS is not supported on 32-bit CPU types"},
		{"bios: ovmf\nefidisk0: /some/file", "efidisk format must be specified"},
		{"vga: qxl", "vga: display 'qxl' needs SPICE, which QEMU '7.2.22' on node 'here' was built without"},
		{"vga: none,clipboard=vnc", "vga type none is not compatible with VNC clipboard"},
		{"virtiofs0: share,expose-acl=1\nostype: win11", "Please disable ACLs for virtiofs on Windows VMs, otherwise the virtiofs shared directory cannot be mounted."},
		{"hostpci0: 05:00.0", "no PCI device found for '0000:05:00.0'"},
		{"hostpci0: 01:00,pcie=1", "q35 machine model is not enabled"},
		{"hostpci0: 01:00\nhostpci1: 01:00.0", "device '0000:01:00.0' assigned more than once"},
		{"hostpci0: 01:00,mdev=x", "cannot use mediated device with multifunction device"},
		{"hostpci0: 01:00.0,legacy-igd=1\nvga: none", "legacy IGD assignment only works for devices on host bus 00:02.0"},
		{"hostpci0: 00:02.0,legacy-igd=1", "legacy IGD assignment requires VGA mode to be 'none'"},
		{"hostpci0: pcie=1", "Either 'host' or 'mapping' must be set."},
		{"amd-sev: std\nbios: ovmf", "Your CPU does not support AMD SEV."},
		{"intel-tdx: tdx,attestation=0\nbios: ovmf", "Your CPU does not support Intel TDX."},
		{"scsi0: local:1/x.raw,format=qcow2", "drive 'scsi0' - volume 'local:1/x.raw' - 'format=qcow2' option different from storage format 'raw'"},
		{"scsi14: local:1/x.raw\nmachine: pc-i440fx-4.0", "machine type 'pc-i440fx-4.0' is not supported by QEMU version '7.2.22' on node 'here'"},
		{"scsi0: local:1/x.raw,mbps_max=3", "scsi0.mbps_max: mbps_max requires mbps"},
		{"args: -x 'y", "args: unbalanced quotes"},
		{"smbios1: base64=1,serial=abc", "smbios1: serial: value is not base64"},
	} {
		t.Run(c.config, func(t *testing.T) {
			if _, err := compose(t, c.config, stock()); err == nil || err.Error() != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
	host := stock()
	host.QEMU = nil
	if _, err := compose(t, "", host); err == nil || err.Error() != "QEMU is not installed on node 'here'" {
		t.Error(err)
	}
}

// TestEmulated is the CPU where KVM cannot be used.
func TestEmulated(t *testing.T) {
	intel, trusted := KVM{Opens: true}, KVM{Opens: true, Trusted: true}
	for _, c := range []struct {
		name, config string
		kvm          KVM
		cpu          string
		uses         bool
		note         string
	}{
		{"nothing said", "", KVM{}, "qemu64", false, "KVM is not usable on node 'here' (/dev/kvm does not open): the guest's CPU is emulated, which is slow; 'kvm: 1' insists on KVM"},
		{"a device that proves nothing", "", intel, "qemu64", false, "KVM is not usable on node 'here' (/dev/kvm opens, but the CPU shows neither vmx nor svm): the guest's CPU is emulated, which is slow; 'kvm: 1' insists on KVM"},
		{"insisted", "kvm: 1", intel, "kvm64,enforce,+kvm_pv_eoi,+kvm_pv_unhalt,+lahf_lm,+sep", true, ""},
		{"usable", "", trusted, "kvm64,enforce,+kvm_pv_eoi,+kvm_pv_unhalt,+lahf_lm,+sep", true, ""},
		{"switched off", "kvm: 0", trusted, "qemu64", false, ""},
		{"host", "cpu: host\nkvm: 0", trusted, "max", false, "cpu: model 'host' needs KVM, using 'max'"},
		{"host of Windows", "cpu: host\nkvm: 0\nostype: win11", trusted, "max", false, "cpu: model 'host' needs KVM, using 'max'"},
		{"flags", "cpu: x86-64-v2-AES,flags=-pcid;-md-clear\nkvm: 0", trusted, "qemu64,+aes,-pcid,+pni,+popcnt,+sse4.1,+sse4.2,+ssse3", false, ""},
		{"replaced model", "cpu: Icelake-Client,hidden=1\nkvm: 0", trusted, "Icelake-Server,kvm=off,vendor=GenuineIntel", false, ""},
		{"phys bits", "cpu: kvm64,phys-bits=40,level=13\nkvm: 0", trusted, "", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := stock()
			host.KVM = c.kvm
			got, err := compose(t, c.config, host)
			if c.cpu == "" {
				if err == nil {
					t.Error("phys-bits is not known to this QEMU")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			accel := "accel=tcg"
			if c.uses {
				accel = "accel=kvm"
			}
			if got.CPU != c.cpu || got.KVM != c.uses || strings.Join(got.Notes, "\n") != c.note || !strings.Contains(strings.Join(got.Argv, " "), accel) {
				t.Errorf("got -cpu %s, KVM %v, notes %q", got.CPU, got.KVM, got.Notes)
			}
		})
	}
}

// TestAside is what is told beside the line.
func TestAside(t *testing.T) {
	got, err := compose(t, strings.Join([]string{
		"scsi0: local:1/a.raw,iops=5,mbps=1.5", "ide2: local:100/vm-100-cloudinit.qcow2,media=cdrom", "efidisk0: local:1/e.raw", "bios: ovmf",
		"tpmstate0: local:1/t.raw,version=v2.0", "virtiofs0: share,cache=never", "net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,queues=2,link_down=1,rate=5,tag=7",
		"net1: e1000,bridge=vmbr1", "net2: virtio=BC:24:11:00:00:02", "ivshmem: size=32", "hostpci0: 01:00", "numa: 1", "hugepages: any", "memory: 4096", "args: -foo 'a b'",
	}, "\n"), stock())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"local:1/e.raw", "local:1/t.raw", "local:100/vm-100-cloudinit.qcow2", "local:1/a.raw"}, got.Volumes); diff != "" {
		t.Error(diff)
	}
	if got.CloudInit != "ide2" || got.TPM == nil || got.TPM.Version != "v2.0" || got.TPM.Socket != "/run/tpm" || got.EFIVars != nil {
		t.Errorf("%+v", got)
	}
	if len(got.Taps) != 2 || got.Taps[0].Name != "tap100i0" || got.Taps[0].Queues != 2 || *got.Taps[0].Net.Tag != 7 || got.Taps[1].MAC == "" {
		t.Errorf("%+v", got.Taps)
	}
	if diff := cmp.Diff([]string{"net0"}, got.LinkDown); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]HugePages{{Size: 1024, Node: 0, Count: 4}}, got.HugePages); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]PCIDevice{{Option: "hostpci0", IDs: []string{"0000:01:00.0", "0000:01:00.1"}}}, got.PCI); diff != "" {
		t.Error(diff)
	}
	if got.Shared == nil || got.Shared.Size != 32 || len(got.VirtioFS) != 1 || got.VirtioFS[0].Path != "/srv" || !got.VNC {
		t.Errorf("%+v", got)
	}
	if tail := got.Argv[len(got.Argv)-2:]; !slices.Equal(tail, []string{"-foo", "a b"}) {
		t.Error(tail)
	}
	line := strings.Join(got.Argv, " ")
	for _, want := range []string{
		`{"id":"throttle-drive-scsi0","limits":{"bps-total":1572864,"iops-total":5},"qom-type":"throttle-group"}`,
		"vfio-pci,host=0000:01:00.0,id=hostpci0.0,bus=pci.0,addr=0x10.0,multifunction=on", "vfio-pci,host=0000:01:00.1,id=hostpci0.1,bus=pci.0,addr=0x10.1",
		"type=user,id=net2,hostname=vm100", "type=tap,id=net0,ifname=tap100i0,script=no,downscript=no,queues=2",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
}

// TestChipset holds still what every q35 guest has.
func TestChipset(t *testing.T) {
	want := []string{
		"ich9-usb-ehci1,id=ehci,multifunction=on,bus=pcie.0,addr=1d.7",
		"ich9-usb-uhci1,id=uhci-1,multifunction=on,bus=pcie.0,addr=1d.0,masterbus=ehci.0,firstport=0",
		"ich9-usb-uhci2,id=uhci-2,multifunction=on,bus=pcie.0,addr=1d.1,masterbus=ehci.0,firstport=2",
		"ich9-usb-uhci3,id=uhci-3,multifunction=on,bus=pcie.0,addr=1d.2,masterbus=ehci.0,firstport=4",
		"ich9-usb-ehci2,id=ehci-2,multifunction=on,bus=pcie.0,addr=1a.7",
		"ich9-usb-uhci4,id=uhci-4,multifunction=on,bus=pcie.0,addr=1a.0,masterbus=ehci-2.0,firstport=0",
		"ich9-usb-uhci5,id=uhci-5,multifunction=on,bus=pcie.0,addr=1a.1,masterbus=ehci-2.0,firstport=2",
		"ich9-usb-uhci6,id=uhci-6,multifunction=on,bus=pcie.0,addr=1a.2,masterbus=ehci-2.0,firstport=4",
		"ich9-intel-hda,id=audio0,bus=pcie.0,addr=1b.0",
		"pcie-root-port,id=ich9-pcie-port-1,x-speed=16,x-width=32,multifunction=on,bus=pcie.0,addr=1c.0,port=1,chassis=1",
		"pcie-root-port,id=ich9-pcie-port-2,x-speed=16,x-width=32,multifunction=on,bus=pcie.0,addr=1c.1,port=2,chassis=2",
		"pcie-root-port,id=ich9-pcie-port-3,x-speed=16,x-width=32,multifunction=on,bus=pcie.0,addr=1c.2,port=3,chassis=3",
		"pcie-root-port,id=ich9-pcie-port-4,x-speed=16,x-width=32,multifunction=on,bus=pcie.0,addr=1c.3,port=4,chassis=4",
		"i82801b11-bridge,id=pcidmi,bus=pcie.0,addr=1e.0",
		"pci-bridge,id=pci.0,bus=pcidmi,addr=1.0,chassis_nr=1",
		"pci-bridge,id=pci.1,bus=pcidmi,addr=2.0,chassis_nr=2",
		"pci-bridge,id=pci.2,bus=pcidmi,addr=3.0,chassis_nr=3",
		"pci-bridge,id=pci.3,bus=pcidmi,addr=4.0,chassis_nr=4",
	}
	if diff := cmp.Diff(want, chipset(version{major: 4})); diff != "" {
		t.Error(diff)
	}
	old := chipset(version{major: 3, minor: 1})
	if len(old) != len(want)-1 || old[9] != "ioh3420,id=ich9-pcie-port-1,multifunction=on,bus=pcie.0,addr=1c.0,port=1,chassis=1" {
		t.Error(old)
	}
	for n, addr := range []string{"10.0", "10.1", "10.2", "10.3", "10.4", "10.5", "10.6", "10.7", "11.0", "11.1", "11.2", "11.3"} {
		host := stock()
		got, err := compose(t, "machine: q35\nhostpci"+itoa(n+4)+": 01:00.0,pcie=1", host)
		if err != nil {
			t.Fatal(err)
		}
		if port := rootPort(n+5, addr, true); !slices.Contains(got.Argv, port) {
			t.Errorf("hostpci%d: no %s", n+4, port)
		}
	}
}

// TestPlaces holds still that no two devices share a slot, but those that never
// meet.
func TestPlaces(t *testing.T) {
	taken := map[slot]string{}
	note := func(device string) {
		s, ok := place(device)
		if !ok {
			t.Errorf("%s has no place", device)
			return
		}
		if other := taken[s]; other != "" && !slices.Contains([]string{"ehci piix3", "piix3 ehci", "legacy-igd vga", "vga legacy-igd", "pci.3 scsihw0", "scsihw0 pci.3"}, other+" "+device) {
			t.Errorf("%s and %s share slot %+v", other, device, s)
		}
		if s.addr < 1 || s.addr > 31 || s == (slot{0, 29}) {
			t.Errorf("%s is at %+v", device, s)
		}
		taken[s] = device
	}
	for device := range fixedSlots() {
		note(device)
	}
	for _, f := range families() {
		for n := f.first; n <= f.last; n++ {
			note(f.family + itoa(n))
		}
	}
	roots := map[string]bool{}
	for n := range 16 {
		_, addr := expressRootPlace(n)
		if roots[addr] {
			t.Errorf("two devices at %s", addr)
		}
		roots[addr] = true
	}
}

func TestPinMachine(t *testing.T) {
	for _, c := range []struct {
		machine, ostype, arch, qemu, want string
		changed                           bool
	}{
		{"", "l26", "x86_64", "10.1.2", "pc", false}, {"q35", "win11", "x86_64", "10.1.2", "pc-q35-10.1", true}, {"", "win11", "x86_64", "9.2.0", "pc-i440fx-9.2+pve1", true},
		{"pc-q35-8.1", "win11", "x86_64", "10.1.2", "pc-q35-8.1", false}, {"", "win11", "aarch64", "10.1.2", "virt-10.1", true},
	} {
		if got, changed := PinMachine(c.machine, c.ostype, c.arch, c.qemu); got != c.want || changed != c.changed {
			t.Errorf("%+v: got %s %v", c, got, changed)
		}
	}
}

func FuzzCompose(f *testing.F) {
	var s suite
	if raw, err := os.ReadFile(conformance.Path(f, "guest/qemu-cfg2cmd.json")); err == nil && json.Unmarshal(raw, &s) == nil {
		for _, c := range s.Cases {
			f.Add(c.Config)
		}
	}
	f.Add("hostpci0: 01:00,pcie=1\nmachine: q35\nostype: win7\nnuma: 1\nnuma0: cpus=0;2-9,memory=512,hostnodes=0-99999999999,policy=bind\nusb3: mapping=x")
	f.Add("machine: pc-i440fx-99999999999999999999.1\ncpu: max,phys-bits=64\nhotplug: memory\nnuma: 1\nmemory: 99999999")
	f.Fuzz(func(t *testing.T, text string) {
		p := schema.Params{}
		for line := range strings.Lines(text) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
				p[key] = value
			}
		}
		var c qemu.Config
		if schema.Decode(p, &c) != nil {
			return
		}
		host := stock()
		host.QEMU = &Capabilities{Version: "11.0.0"}
		host.KVM = KVM{Opens: true, Trusted: true}
		host.CPUs = 0
		got, err := Compose(VM{ID: 100, Config: c}, host)
		if err != nil {
			return
		}
		again, err := Compose(VM{ID: 100, Config: c}, host)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkCompose(b *testing.B) {
	for _, c := range []struct{ name, config string }{
		{"small", "scsi0: local:100/a.raw\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nscsihw: virtio-scsi-single\nboot: order=scsi0\nostype: l26\nmemory: 2048\nsmbios1: uuid=21111111-2222-4333-8444-555555555555\n"},
		{"large", "machine: q35\nbios: ovmf\nefidisk0: local:100/e.raw,efitype=4m\nostype: win11\n" + manyDisks()},
	} {
		b.Run(c.name, func(b *testing.B) {
			conf, host := readConfig(b, c.config), stock()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compose(VM{ID: 100, Config: conf}, host); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func manyDisks() string {
	var b strings.Builder
	for n := range 31 {
		b.WriteString("scsi" + itoa(n) + ": local:100/a.raw,iops=100\nnet" + itoa(n) + ": virtio=BC:24:11:00:00:01,bridge=vmbr0\n")
	}
	return b.String() + "scsihw: virtio-scsi-single\n"
}

func TestPretty(t *testing.T) {
	c := Command{Argv: []string{"/usr/bin/qemu", "-name", "a b", "-S", "-m", "512"}}
	if got, want := c.Pretty(), "/usr/bin/qemu \\\n  -name 'a b' \\\n  -S \\\n  -m 512"; got != want {
		t.Errorf("got %s", got)
	}
}
