package cmdline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// machine is the machine type of a VM.
type machine struct {
	name    string // as QEMU is told, without +pveN and .pxe
	full    string // with +pveN, as upstream has it
	version version
	q35     bool
	virt    bool // an ARM board
	oldROM  bool // network cards boot from the ROMs of old
}

// chooseMachine finds out the machine type and whether QEMU can run it.
func (c *composer) chooseMachine() error {
	binary, patch, ok := versionOfBinary(c.host.QEMU.Version)
	if !ok || binary.major < 6 {
		return fmt.Errorf("Detected old QEMU binary ('%s', at least 6.0 is required)", c.host.QEMU.Version)
	}
	conf := c.conf.Machine
	if conf == nil {
		conf = &qemu.Machine{}
	}
	name, err := c.machineName(str(conf.Type, ""), binary)
	if err != nil {
		return err
	}
	m := machine{full: name, q35: strings.Contains(str(conf.Type, ""), "q35"), virt: strings.HasPrefix(name, "virt")}
	if m.version, ok = versionOfMachine(name); !ok {
		m.version = binary
		m.version.pve = binary.maxPVE()
	}
	if patch < 90 { // from 90 on it is a release candidate of the next version
		if err := c.checkMachine(m, binary); err != nil {
			return err
		}
	}
	m.full, m.oldROM = strings.CutSuffix(m.full, ".pxe")
	m.oldROM = m.oldROM || !m.version.atLeast(2, 4)
	m.name, _, _ = strings.Cut(m.full, "+")
	if !c.host.QEMU.hasMachine(m.name) {
		return fmt.Errorf("machine type '%s' is not supported by QEMU version '%s' on node '%s'", m.name, c.host.QEMU.Version, c.host.Node)
	}
	c.machine, c.out.Machine = m, m.full
	return checkVIOMMU(conf, m)
}

// machineName returns the machine type with its +pveN. Windows does not take to
// new hardware, so that its VMs stay at the version they were made with.
func (c *composer) machineName(configured string, binary version) (string, error) {
	name := configured
	if c.vm.Machine != "" {
		name = c.vm.Machine
	}
	if name == "" {
		switch c.arch {
		case "x86_64":
			name = "pc"
		case "aarch64":
			name = "virt"
		default:
			return "", fmt.Errorf("unsupported architecture '%s'", c.arch)
		}
	}
	switch unversioned := name == "pc" || name == "q35" || name == "virt"; {
	case unversioned && c.windows > 0:
		name = pinned(name, c.pinVersion(binary))
	case unversioned:
		name = fmt.Sprintf("%s+pve%d", name, binary.maxPVE())
	}
	if strings.Contains(name, "+pve") {
		return name, nil
	}
	base, pxe := strings.CutSuffix(name, ".pxe")
	return base + "+pve0" + ifSet(pxe, ".pxe"), nil
}

// pinVersion is the version that a Windows VM without one gets: 5.1, or that of
// its making from 9.1 on; the latest where QEMU has not got that.
func (c *composer) pinVersion(binary version) version {
	want := version{major: 5, minor: 1}
	if meta := c.conf.Meta; meta != nil && meta.CreationQEMU != nil {
		if made, _, ok := versionOfBinary(*meta.CreationQEMU); ok && made.atLeast(9, 1) {
			want = made
		}
	}
	if want.compare(version{major: binary.major, minor: binary.minor}) > 0 {
		want = binary
		want.pve = binary.maxPVE()
	}
	return want
}

// pinned returns the machine type of a base at a version.
func pinned(base string, v version) string {
	if base == "pc" {
		base = "pc-i440fx"
	} else if base == "q35" {
		base = "pc-q35"
	}
	return base + "-" + v.String()
}

// PinMachine returns the machine type that a new VM is given where its type must
// not change with QEMU: Windows only. It is the one given where none is needed.
func PinMachine(machineType, osType, arch, qemuVersion string) (name string, changed bool) {
	if machineType == "" {
		machineType = "pc"
		if arch == "aarch64" {
			machineType = "virt"
		}
	}
	binary, _, ok := versionOfBinary(qemuVersion)
	if !ok || windowsVersion(osType) == 0 || !slices.Contains([]string{"pc", "q35", "virt"}, machineType) {
		return machineType, false
	}
	binary.pve = binary.maxPVE()
	return pinned(machineType, binary), true
}

func (c *composer) checkMachine(m machine, binary version) error {
	want := version{major: m.version.major, minor: m.version.minor}
	if binary.compare(want) < 0 {
		return fmt.Errorf("Installed QEMU version '%s' is too old to run machine type '%s', please upgrade node '%s'", c.host.QEMU.Version, m.full, c.host.Node)
	}
	if most := want.maxPVE(); m.version.pve > most {
		return fmt.Errorf("Installed qemu-server (max feature level for %s is pve%d) is too old to run machine type '%s', please upgrade node '%s'", want, most, m.full, c.host.Node)
	}
	return nil
}

// checkVIOMMU checks the settings of an IOMMU for the guest.
func checkVIOMMU(conf *qemu.Machine, m machine) error {
	kind, width := str(conf.VIOMMU, ""), 0.0
	if conf.AWBits != nil {
		width = *conf.AWBits
	}
	switch {
	case kind == "intel" && !m.q35:
		return errors.New("to use Intel vIOMMU please set the machine type to q35")
	case kind == "intel" && width != 0 && width != 39 && width != 48:
		return errors.New("Intel vIOMMU supports only 39 or 48 bits as address width")
	case kind == "" && width != 0:
		return errors.New("cannot set aw-bits if no vIOMMU is configured")
	}
	return nil
}

// chooseAccel decides whether the guest runs on the CPU itself or on one that
// QEMU emulates.
func (c *composer) chooseAccel() error {
	native := c.arch == c.host.Arch
	switch wanted := c.conf.KVM; {
	case wanted != nil && !*wanted, !native:
		if wanted != nil && *wanted {
			return fmt.Errorf("KVM cannot run a guest of architecture '%s' on node '%s', which is '%s'", c.arch, c.host.Node, c.host.Arch)
		}
	case wanted != nil && !c.host.KVM.Opens:
		return errors.New("KVM virtualisation configured, but not available. Either disable in VM configuration or enable in BIOS.")
	case wanted != nil || c.host.KVM.Opens && c.host.KVM.Trusted:
		c.kvm = true
	default:
		c.note("KVM is not usable on node '%s' (%s): the guest's CPU is emulated, which is slow; 'kvm: 1' insists on KVM", c.host.Node, c.host.KVM)
	}
	c.out.KVM = c.kvm
	return nil
}

// String says why KVM is not used.
func (k KVM) String() string {
	switch {
	case !k.Opens:
		return "/dev/kvm does not open"
	case !k.Trusted:
		return "/dev/kvm opens, but the CPU shows neither vmx nor svm"
	}
	return "/dev/kvm opens"
}

// power ends the flags of the machine. From 9.2+pve1 on there are no sleep states
// unless they are asked for.
func (c *composer) power() error {
	c.flags = append(c.flags, "accel="+map[bool]string{true: "kvm", false: "tcg"}[c.kvm])
	conf := c.conf.Machine
	if conf == nil {
		conf = &qemu.Machine{}
	}
	if !c.machine.virt {
		object := "PIIX4_PM"
		if c.machine.q35 {
			object = "ICH9-LPC"
		}
		usual := !c.machine.version.atLeast(9, 2, 1)
		for _, state := range []struct {
			name    string
			enabled bool
		}{{"disable_s3", flag(conf.EnableS3, usual)}, {"disable_s4", flag(conf.EnableS4, usual)}} {
			if !state.enabled {
				c.arg("-global", object+"."+state.name+"=1")
			}
		}
		// SeaBIOS hangs in SMM where it has no display.
		if str(c.conf.BIOS, "seabios") == "seabios" && (c.vga.kind == "none" || c.vga.serial()) {
			c.flags = append(c.flags, "smm=off")
		}
	}
	c.flags = append(c.flags, "type="+c.machine.name)
	return nil
}

// fixups keeps the slots of hot-pluggable devices where guests made before QEMU
// 6.1 know them.
func (c *composer) fixups() error {
	configured := ""
	if c.conf.Machine != nil {
		configured = str(c.conf.Machine.Type, "")
	}
	versioned := configured != "" && !slices.Contains([]string{"pc", "q35", "virt"}, configured)
	old := true
	if meta := c.conf.Meta; meta != nil && meta.CreationQEMU != nil {
		if made, _, ok := versionOfBinary(*meta.CreationQEMU); ok {
			old = !made.atLeast(6, 1)
		}
	}
	if forced, ok := versionOfMachine(c.vm.Machine); ok && !forced.atLeast(6, 1) {
		return nil
	}
	if !versioned && old && c.machine.q35 && str(c.conf.OSType, "") == "l26" {
		c.arg("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off")
	}
	return nil
}

// viommu gives the guest an IOMMU.
func (c *composer) viommu() error {
	conf := c.conf.Machine
	if conf == nil || conf.VIOMMU == nil {
		return nil
	}
	width := ""
	if conf.AWBits != nil {
		width = itoa(int(*conf.AWBits))
		c.note("vIOMMU 'aw-bits' set to %s. Sometimes it is necessary to set the CPU's 'guest-phys-bits' to the same value.", width)
	}
	if *conf.VIOMMU == "intel" {
		c.devices = slices.Insert(c.devices, 0, "-device", option("intel-iommu", "intremap", "on", "caching-mode", "on", "aw-bits", width))
		c.flags = append(c.flags, "kernel-irqchip=split")
		return nil
	}
	if width != "" && !c.host.QEMU.hasProperty("virtio-iommu-pci", "aw-bits") {
		return fmt.Errorf("aw-bits of a VirtIO vIOMMU needs QEMU 9.0, installed is '%s'", c.host.QEMU.Version)
	}
	c.device("virtio-iommu-pci", "aw-bits", width)
	return nil
}

// windowsVersion is the version of Windows that an ostype means, 0 for others.
func windowsVersion(ostype string) int {
	switch ostype {
	case "wxp", "w2k3", "w2k":
		return 5
	case "w2k8", "wvista":
		return 6
	}
	if n, ok := strings.CutPrefix(ostype, "win"); ok {
		return number(n)
	}
	return 0
}

func isLinux(ostype string) bool { return ostype == "l24" || ostype == "l26" }

// hotplugFeatures reads the option hotplug.
func hotplugFeatures(text *string) map[string]bool {
	words := schema.SplitList(str(text, "1"))
	features := map[string]bool{}
	for _, word := range words {
		switch word {
		case "1":
			features["network"], features["disk"], features["usb"] = true, true, true
		case "0":
		default:
			features[word] = true
		}
	}
	return features
}

func join(words []string) string { return strings.Join(words, ",") }
