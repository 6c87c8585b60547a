package qm

import (
	"os"
	"strings"
	"testing"
)

// refusedVMs show what this machine cannot give a guest, and what is said of it.
func refusedVMs() []keyVM {
	mappings := func(t *testing.T, l *keyLab) {
		l.write(t, "etc/pve/mapping/usb.cfg", "stick\n\tmap node=pve1,id=1234:5678,path=9-9\n")
		l.write(t, "etc/pve/mapping/pci.cfg", "card\n\tmap node=pve1,id=1234:5678,path=0000:99:00.0\n")
	}
	return []keyVM{{
		name: "refused", state: off, prepare: mappings, create: []string{"--memory", "128", "--ostype", "l26"},
		proofs: []keyProof{
			{"amd-sev amd-sev.type", refused("Your CPU does not support AMD SEV.", "--amd-sev", "type=std")},
			{"amd-sev.*", refused("Your CPU does not support AMD SEV.", "--amd-sev", "type=snp,allow-smt=0,kernel-hashes=1,no-debug=1,no-key-sharing=1")},
			{"intel-tdx intel-tdx.*", refused("Your CPU does not support Intel TDX.", "--intel-tdx", "type=tdx,attestation=1,vsock-cid=3,vsock-port=4000")},
			{"parallel[n]", refused("no such parallel device", "--parallel0", "/dev/parport9")},
			{"serial[n]", refused("no such serial device", "--serial3", "/dev/no-such-port")},
			{"net[n].bridge", all(refused("bridge 'vmbr99' does not exist", "--net0", "virtio,bridge=vmbr99"), refused("bridge 'vmbr99' does not exist", "--net0", "e1000,bridge=vmbr99"))},
			{"virtiofs[n].dirid", refused("nowhere does not exist", "--virtiofs0", "nowhere")},
			{"usb[n].mapping", all(refused("usb device '9-9' not found", "--usb0", "mapping=stick"), refused("not found", "--usb0", "mapping=none"))},
			{"hostpci[n] hostpci[n].host hostpci[n].mapping", all(refused("99:00", "--hostpci0", "99:00.0"), refused("pci device '0000:99:00.0' not found", "--hostpci0", "mapping=card"))},
			{"hostpci[n].pcie", refused("q35 machine model is not enabled", "--hostpci0", "00:01.0,pcie=1")},
			{"hostpci[n].legacy-igd", refused("legacy IGD assignment requires VGA mode to be 'none'", "--hostpci0", "00:01.0,legacy-igd=1")},
			{"hostpci[n].mdev hostpci[n].driver", passthroughRefused},
			{"hostpci[n].x-vga hostpci[n].rombar hostpci[n].romfile hostpci[n].device-id hostpci[n].vendor-id hostpci[n].sub-device-id hostpci[n].sub-vendor-id", line(
				[]string{"--hostpci0", "00:01.0,x-vga=1,rombar=0,romfile=a.rom,device-id=0x1234,vendor-id=0x5678,sub-device-id=0x9abc,sub-vendor-id=0xdef0"},
				`vfio-pci,host=0000:00:01\.0,id=hostpci0,bus=pci\.0,addr=0x10,rombar=0,x-vga=on,romfile=/usr/share/kvm/a\.rom,\S*x-pci-vendor-id=0x5678,x-pci-device-id=0x1234,x-pci-sub-vendor-id=0xdef0,x-pci-sub-device-id=0x9abc`)},
			{"vga.type", refused("DRM render node", "--vga", "virtio-gl")},
			{"arch", foreignArch},
			{"kvm", line([]string{"--kvm", "1"}, `accel=kvm`, `-cpu kvm64,`)}, // stock kernels hang under the KVM of nested test machines
			{"machine.type", refused("is too old to run machine type", "--machine", "pc-i440fx-99.0")},
			{"hugepages", all(refused("numa needs to be enabled to use hugepages", "--hugepages", "2"), refused("is not a multiple of the requested hugepages size", "--hugepages", "2", "--numa", "1", "--memory", "129"))},
			{"cpu.guest-phys-bits", guestPhysBits},
			{"cpu.flags", notTaken("VM-specific CPU flags must be a subset of: aes,", "--cpu", "qemu64,flags=+avx")},
			{"cpu.cputype", notTaken("Custom cputype 'none' not found", "--cpu", "custom-none")},
			{"numa[n].hostnodes", refused("host NUMA node7 doesn't exist", "--numa", "1", "--numa0", "cpus=0,memory=128,hostnodes=7,policy=bind")},
			{"cores", refused("vcpus allowed per VM on this node", "--cores", "4096")},
			{"boot.order", notTaken("boot", "--boot", "order=scsi9")},
		},
	}}
}

// passthroughRefused shows that a device is not taken from the host where there is no
// IOMMU to keep it in its place.
func passthroughRefused(t *testing.T, l *keyLab) {
	if groups, err := os.ReadDir("/sys/kernel/iommu_groups"); err == nil && len(groups) > 0 {
		t.Skip("this machine has an IOMMU: its devices would be taken")
	}
	if _, err := os.Stat("/sys/bus/pci/devices/0000:00:01.0"); err != nil {
		t.Skip("no PCI device to ask for")
	}
	refused("IOMMU", "--hostpci0", "00:01.0")(t, l)
	refused("", "--hostpci0", "00:01.0,mdev=nvidia-1")(t, l)
	line([]string{"--hostpci0", "00:01.0,driver=keep"}, `vfio-pci,host=0000:00:01\.0`)(t, l)
}

// guestPhysBits shows what becomes of a width that only newer versions of QEMU know.
func guestPhysBits(t *testing.T, l *keyLab) {
	if strings.Contains(command(t, "qemu-system-x86_64", "-device", "qemu64-x86_64-cpu,help"), "guest-phys-bits") {
		line([]string{"--cpu", "Nehalem,guest-phys-bits=40"}, `-cpu '?Nehalem,\S*guest-phys-bits=40`)(t, l)
		return
	}
	refused("cpu: 'guest-phys-bits' is not known to QEMU", "--cpu", "Nehalem,guest-phys-bits=40")(t, l)
}

func foreignArch(t *testing.T, l *keyLab) {
	if _, err := os.Stat("/usr/bin/qemu-system-aarch64"); err == nil {
		line([]string{"--arch", "aarch64"}, `qemu-system-aarch64`, `type=virt`)(t, l)
		return
	}
	refused("qemu-system-aarch64", "--arch", "aarch64")(t, l)
}
