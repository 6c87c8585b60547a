package cmdline

import (
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// slot is a place on a PCI bus.
type slot struct{ bus, addr int }

// slots is a family of devices in neighbouring slots.
type slots struct {
	family      string
	first, last int
	at          slot
}

// fixedSlots are the places that single devices have, families those of numbered
// ones. They are a contract: a guest knows its devices by them. Bus 0 is that of
// the machine, 1 to 4 are bridges.
func fixedSlots() map[string]slot {
	return map[string]slot{
		"piix3": {0, 1}, "ehci": {0, 1}, "vga": {0, 2}, "legacy-igd": {0, 2}, "balloon0": {0, 3}, "watchdog": {0, 4},
		"pci.3": {0, 5}, "ahci0": {0, 7}, "qga0": {0, 8}, "spice": {0, 9}, "pci.1": {0, 30}, "pci.2": {0, 31},
		"xhci": {1, 27}, "pci.4": {1, 28}, "rng0": {1, 29}, "pci.2-igd": {1, 30}, "ivshmem": {2, 11}, "audio0": {2, 12},
	}
}

func families() []slots {
	return []slots{
		{"scsihw", 0, 1, slot{0, 5}}, {"virtio", 0, 5, slot{0, 10}}, {"hostpci", 0, 1, slot{0, 16}}, {"net", 0, 5, slot{0, 18}},
		{"vga", 1, 3, slot{0, 24}}, {"hostpci", 2, 3, slot{0, 27}}, // 29 is that of the USB 2 controllers
		{"net", 6, 31, slot{1, 1}},
		{"virtio", 6, 15, slot{2, 1}}, {"hostpci", 4, 15, slot{2, 13}},
		{"virtioscsi", 0, 30, slot{3, 1}},
		{"scsihw", 2, 4, slot{4, 1}},
	}
}

// place returns where a device is on the PCI buses.
func place(device string) (slot, bool) {
	if s, ok := fixedSlots()[device]; ok {
		return s, true
	}
	family, n, ok := schema.Member(device)
	if !ok {
		return slot{}, false
	}
	for _, f := range families() {
		if f.family == family && f.first <= n && n <= f.last {
			return slot{f.at.bus, f.at.addr + n - f.first}, true
		}
	}
	return slot{}, false
}

// expressPlace returns where a device is on the buses of a q35 machine that the
// other machines do not have.
func expressPlace(device string) (bus, addr string, ok bool) {
	family, n, numbered := schema.Member(device)
	switch {
	case device == "vga":
		return "pcie.0", "0x1", true
	case device == "ivshmem":
		return "pcie.0", "0x14", true
	case numbered && family == "hostpci":
		return fmt.Sprintf("ich9-pcie-port-%d", n+1), "0x0", true
	}
	return "", "", false
}

// expressRootPlace returns where Windows 7 wants a passed-through device: on the
// root bus itself.
func expressRootPlace(n int) (bus, addr string) {
	numbers := [16]int{16, 17, 18, 19, 9, 10, 11, 12, 13, 14, 15, 21, 22, 23, 24, 25}
	return "pcie.0", hex(numbers[n])
}

func hex(n int) string { return fmt.Sprintf("%#x", n) }

// at returns the options that put a device in its place, and notes that the
// bridge to it is needed.
func (c *composer) at(device string) []string {
	s, ok := place(device)
	if !ok {
		return nil
	}
	c.bridges[s.bus] = true
	return c.onBus(s)
}

func (c *composer) onBus(s slot) []string {
	bus := fmt.Sprintf("pci.%d", s.bus)
	if s.bus == 0 && c.machine.virt {
		bus = "pcie.0"
	}
	return []string{"bus", bus, "addr", hex(s.addr)}
}

// pciBridges adds the bridges in front of all other devices.
func (c *composer) pciBridges() error {
	if c.bridges[4] {
		c.bridges[1] = true
	}
	if !c.machine.q35 {
		if c.machine.version.atLeast(2, 3) {
			c.bridges[1], c.bridges[2] = true, true
		}
		if str(c.conf.SCSIHW, "lsi") == "virtio-scsi-single" {
			c.bridges[3] = true
		}
	}
	numbers := slices.Sorted(maps.Keys(c.bridges))
	slices.Reverse(numbers)
	for _, n := range numbers {
		if n == 0 || c.machine.q35 && n < 4 { // the chipset of q35 has these
			continue
		}
		name := fmt.Sprintf("pci.%d", n)
		if n == 2 && c.legacyGD {
			name += "-igd"
		}
		s, ok := place(name)
		if !ok {
			continue
		}
		bridge := option("pci-bridge", append([]string{"id", fmt.Sprintf("pci.%d", n), "chassis_nr", itoa(n)}, c.onBus(s)...)...)
		where := 0
		if c.machine.q35 {
			where = 2 * len(chipset(c.machine.version)) // bridges of bridges come after them
		}
		c.devices = slices.Insert(c.devices, where, "-device", bridge)
	}
	return nil
}
