package cmdline

import "fmt"

// chipset lists the devices that every q35 guest has: two sets of USB 2
// controllers, a sound controller, four root ports and four bridges to plain PCI.
// Upstream reads them from a file of its own; the guest sees the same.
func chipset(v version) []string {
	list := append(usb2(true), sound())
	for n := 1; n <= 4; n++ {
		list = append(list, rootPort(n, fmt.Sprintf("1c.%d", n-1), v.atLeast(4, 0)))
	}
	list = append(list, option("i82801b11-bridge", "id", "pcidmi", "bus", "pcie.0", "addr", "1e.0"))
	bridges := 3
	if v.atLeast(4, 0) {
		bridges = 4
	}
	for n := range bridges {
		list = append(list, option("pci-bridge", "id", fmt.Sprintf("pci.%d", n), "bus", "pcidmi", "addr", fmt.Sprintf("%d.0", n+1), "chassis_nr", itoa(n+1)))
	}
	return list
}

func sound() string { return option("ich9-intel-hda", "id", "audio0", "bus", "pcie.0", "addr", "1b.0") }

// rootPort is the n-th PCIe port at an address. Ports of today are fast enough
// for graphics cards.
func rootPort(n int, addr string, fast bool) string {
	id := fmt.Sprintf("ich9-pcie-port-%d", n)
	if !fast {
		return option("ioh3420", "id", id, "multifunction", "on", "bus", "pcie.0", "addr", addr, "port", itoa(n), "chassis", itoa(n))
	}
	return option("pcie-root-port", "id", id, "x-speed", "16", "x-width", "32", "multifunction", "on", "bus", "pcie.0", "addr", addr, "port", itoa(n), "chassis", itoa(n))
}

// usb2 lists the USB 2 controllers: the six ports of the first set, and those of
// the second where both are wanted. Machines without PCIe have one root bus, which
// needs no name.
func usb2(both bool) []string {
	bus := ifSet(both, "pcie.0")
	list := []string{option("ich9-usb-ehci1", "id", "ehci", "multifunction", "on", "bus", bus, "addr", "1d.7")}
	for n := 1; n <= 3; n++ {
		list = append(list, companion(n, bus, fmt.Sprintf("1d.%d", n-1), "ehci.0", 2*(n-1)))
	}
	if !both {
		return list
	}
	list = append(list, option("ich9-usb-ehci2", "id", "ehci-2", "multifunction", "on", "bus", bus, "addr", "1a.7"))
	for n := 4; n <= 6; n++ {
		list = append(list, companion(n, bus, fmt.Sprintf("1a.%d", n-4), "ehci-2.0", 2*(n-4)))
	}
	return list
}

// companion is the USB 1 controller for two ports of a USB 2 one.
func companion(n int, bus, addr, master string, port int) string {
	return option(fmt.Sprintf("ich9-usb-uhci%d", n), "id", fmt.Sprintf("uhci-%d", n), "multifunction", "on", "bus", bus, "addr", addr,
		"masterbus", master, "firstport", itoa(port))
}

// chipset adds the devices that are on the board of a q35 machine.
func (c *composer) chipset() error {
	if !c.machine.q35 {
		return nil
	}
	for _, device := range chipset(c.machine.version) {
		c.add("-device", device)
	}
	return nil
}
