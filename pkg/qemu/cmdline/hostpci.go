package cmdline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// PCI is what a node knows of its PCI devices.
type PCI interface {
	// Functions returns the full ids of the functions that a configured id
	// means: 0000:01:00.0 and 0000:01:00.1 for 01:00. None is an error.
	Functions(id string) ([]string, error)
	// Mapping returns the devices of this node that a name of the cluster stands
	// for, each as a list of ids joined by semicolons.
	Mapping(name string) (PCIMapping, error)
	// Reserve takes functions for the VM, or says who has them. It may do nothing,
	// where the command line is only to be shown.
	Reserve(ids []string) error
	// IsNVIDIA tells whether a function makes virtual devices in NVIDIA's own way.
	IsNVIDIA(id string) bool
}

// PCIMapping is what a name for PCI devices stands for on a node.
type PCIMapping struct {
	Devices       []string
	LiveMigration bool
}

// PCIDevice is a device of the host that the guest gets.
type PCIDevice struct {
	Option  string   // such as hostpci0
	IDs     []string // of functions; of a mediated device, those it can be made on
	MDev    string   // type of mediated device to make on one of them
	UUID    string   // that the mediated device is to have
	NVIDIA  string   // type of virtual device, made in NVIDIA's way
	Keep    bool     // leave the driver that the device has
	Migrate bool     // the device can move while the guest runs
}

// passthrough is a hostpciN as far as it is resolved.
type passthrough struct {
	conf         qemu.HostPCI
	alternatives [][]string
	live         bool
	nvidia       string
	mdev         string
}

// ChoosePCI finds the devices that the options hostpciN of a VM mean, by option.
// Of a mapping with several devices, the first that is free is taken, as
// [PCI.Reserve] tells.
func ChoosePCI(conf *qemu.Config, vm id.VM, pci PCI) (map[string]PCIDevice, error) {
	if len(conf.HostPCI) == 0 {
		return nil, nil
	}
	if pci == nil {
		return nil, errors.New("PCI devices cannot be passed through on this node")
	}
	resolved := map[int]passthrough{}
	for n := range 16 {
		if d, ok := conf.HostPCI[n]; ok {
			p, err := resolvePCI(d, pci)
			if err != nil {
				return nil, err
			}
			resolved[n] = p
		}
	}
	if err := checkPCI(conf, resolved); err != nil {
		return nil, err
	}
	chosen, used := map[string]PCIDevice{}, map[string]bool{}
	for n := range 16 {
		p, ok := resolved[n]
		if !ok {
			continue
		}
		key := fmt.Sprintf("hostpci%d", n)
		d, err := p.choose(key, pci, used)
		if err != nil {
			return nil, err
		}
		if p.mdev != "" {
			d.UUID = fmt.Sprintf("%08d-0000-0000-0000-%012d", n, vm)
		}
		chosen[key] = d
	}
	return chosen, nil
}

// resolvePCI finds the devices that an option can mean.
func resolvePCI(conf qemu.HostPCI, pci PCI) (passthrough, error) {
	p := passthrough{conf: conf, mdev: str(conf.MDev, "")}
	var texts []string
	switch host, name := str(conf.Host, ""), str(conf.Mapping, ""); {
	case host != "" && name != "":
		return p, errors.New("Cannot set both 'host' and 'mapping'.")
	case name != "":
		mapping, err := pci.Mapping(name)
		if err != nil {
			return p, err
		}
		if len(mapping.Devices) == 0 {
			return p, fmt.Errorf("PCI device mapping not found for '%s'", name)
		}
		texts, p.live = mapping.Devices, mapping.LiveMigration
	case host != "":
		texts = []string{host}
	default:
		return p, errors.New("Either 'host' or 'mapping' must be set.")
	}
	for _, text := range texts {
		var ids []string
		for one := range strings.SplitSeq(text, ";") {
			functions, err := pci.Functions(one)
			if err != nil {
				return p, err
			}
			ids = append(ids, functions...)
		}
		if len(ids) == 0 {
			return p, fmt.Errorf("no PCI device found for '%s'", text)
		}
		if len(ids) > 1 && p.mdev != "" {
			return p, errors.New("cannot use mediated device with multifunction device")
		}
		if model, ok := strings.CutPrefix(p.mdev, "nvidia-"); ok && pci.IsNVIDIA(ids[0]) && strings.Trim(model, "0123456789") == "" {
			p.nvidia = model
		}
		p.alternatives = append(p.alternatives, ids)
	}
	if p.nvidia != "" {
		p.mdev = ""
	}
	return p, nil
}

// choose takes one of the devices that an option can mean.
func (p passthrough) choose(key string, pci PCI, used map[string]bool) (PCIDevice, error) {
	d := PCIDevice{Option: key, MDev: p.mdev, NVIDIA: p.nvidia, Migrate: p.live, Keep: str(p.conf.Driver, "vfio") == "keep"}
	switch {
	case p.mdev != "":
		for _, ids := range p.alternatives {
			d.IDs = append(d.IDs, ids[0])
		}
		return d, nil
	case len(p.alternatives) == 1:
		d.IDs = p.alternatives[0]
		for _, id := range d.IDs {
			if used[id] {
				return d, fmt.Errorf("device '%s' assigned more than once", id)
			}
			used[id] = true
		}
		return d, nil
	}
	for _, ids := range p.alternatives {
		if slices.ContainsFunc(ids, func(id string) bool { return used[id] }) || pci.Reserve(ids) != nil {
			continue
		}
		for _, id := range ids {
			used[id] = true
		}
		d.IDs = ids
		return d, nil
	}
	return d, fmt.Errorf("could not find a free device for '%s'", key)
}

// checkPCI refuses what does not go together.
func checkPCI(conf *qemu.Config, devices map[int]passthrough) error {
	q35 := conf.Machine != nil && strings.Contains(str(conf.Machine.Type, ""), "q35")
	igd := false
	for n := range 16 {
		p, ok := devices[n]
		if !ok {
			continue
		}
		if flag(p.conf.PCIe, false) && !q35 {
			return errors.New("q35 machine model is not enabled")
		}
		if !flag(p.conf.LegacyIGD, false) {
			continue
		}
		for _, rule := range []struct {
			broken bool
			text   string
		}{
			{igd, "only one device can be assigned in legacy-igd mode"},
			{conf.VGA == nil || str(conf.VGA.Type, "") != "none", "legacy IGD assignment requires VGA mode to be 'none'"},
			{!flag(p.conf.ROMBar, true), "legacy IGD assignment requires rombar to be enabled"},
			{flag(p.conf.XVGA, false), "legacy IGD assignment is not compatible with x-vga"},
			{p.mdev != "" || p.nvidia != "", "legacy IGD assignment is not compatible with mdev"},
			{q35, "legacy IGD assignment is not compatible with q35"},
			{len(p.alternatives[0]) > 1, "legacy IGD assignment is not compatible with multifunction devices"},
			{len(p.alternatives) > 1, "legacy IGD assignment is not compatible with alternate devices"},
			{!strings.HasSuffix(p.alternatives[0][0], "02.0"), "legacy IGD assignment only works for devices on host bus 00:02.0"},
		} {
			if rule.broken {
				return errors.New(rule.text)
			}
		}
		igd = true
	}
	return nil
}

// hostPCI adds the devices of the host.
func (c *composer) hostPCI() error {
	devices, err := ChoosePCI(c.conf, c.vm.ID, c.host.PCI)
	if err != nil {
		return err
	}
	for n := range 16 {
		key := fmt.Sprintf("hostpci%d", n)
		d, ok := devices[key]
		if !ok {
			continue
		}
		c.out.PCI = append(c.out.PCI, d)
		conf := c.conf.HostPCI[n]
		c.legacyGD = c.legacyGD || flag(conf.LegacyIGD, false)
		if flag(conf.XVGA, false) {
			c.vga.hideKVM, c.vga.passedThrough = true, true
			if c.conf.VGA == nil {
				c.vga.kind = "none"
			}
		}
		c.passThrough(n, d, conf, c.pciPlace(n, conf))
	}
	return nil
}

// pciPlace is where the guest sees hostpciN. The root ports beyond the four on
// the board are added here.
func (c *composer) pciPlace(n int, conf qemu.HostPCI) []string {
	key := fmt.Sprintf("hostpci%d", n)
	switch {
	case !flag(conf.PCIe, false):
		if flag(conf.LegacyIGD, false) {
			key = "legacy-igd"
		}
		return c.at(key)
	case c.windows == 7:
		bus, addr := expressRootPlace(n)
		return []string{"bus", bus, "addr", addr}
	case n > 3:
		c.add("-device", rootPort(n+1, fmt.Sprintf("%d.%d", 10+(n-4)/8, (n-4)%8), true))
	}
	bus, addr, _ := expressPlace(key)
	return []string{"bus", bus, "addr", addr}
}

// passThrough adds the functions of a device. What is said of the device goes to
// the first.
func (c *composer) passThrough(n int, d PCIDevice, conf qemu.HostPCI, where []string) {
	ids := d.IDs
	if d.MDev != "" {
		ids = ids[:1]
	}
	several := len(ids) > 1
	for i, id := range ids {
		source := []string{"host", id}
		if d.MDev != "" {
			source = []string{"sysfsdev", "/sys/bus/mdev/devices/" + d.UUID}
		}
		function := ifSet(several, fmt.Sprintf(".%d", i))
		pairs := append(source, "enable-migration", ifSet(d.Migrate && c.host.QEMU.hasProperty("vfio-pci", "enable-migration"), "on"),
			"id", d.Option+function, where[0], where[1], where[2], where[3]+function)
		if i == 0 {
			rom := str(conf.ROMFile, "")
			pairs = append(pairs, "rombar", ifSet(!flag(conf.ROMBar, true), "0"),
				"x-vga", ifSet(flag(conf.XVGA, false) && str(c.conf.BIOS, "") != "ovmf", "on"),
				"multifunction", ifSet(several, "on"), "romfile", ifSet(rom != "", "/usr/share/kvm/"+rom),
				"bootindex", c.bootIndex(d.Option),
				"x-pci-vendor-id", str(conf.VendorID, ""), "x-pci-device-id", str(conf.DeviceID, ""),
				"x-pci-sub-vendor-id", str(conf.SubVendorID, ""), "x-pci-sub-device-id", str(conf.SubDeviceID, ""))
		}
		c.device("vfio-pci", pairs...)
	}
}
