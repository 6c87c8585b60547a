package cmdline

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

const (
	usbDevices    = 14
	oldUSBDevices = 5 // of guests without the fast controller
)

var (
	usbID   = regexp.MustCompile(`^(?:0x)?([0-9A-Fa-f]{4}):(?:0x)?([0-9A-Fa-f]{4})$`)
	usbPort = regexp.MustCompile(`^(\d+)-(\d+(?:\.\d+)*)$`)
)

// fastUSB tells whether all USB devices are on one controller for all speeds.
func (c *composer) fastUSB() bool {
	return c.machine.version.atLeast(7, 1) && (str(c.conf.OSType, "") == "l26" || c.windows > 7)
}

// usbControllers adds the controllers that the USB devices of the guest need.
func (c *composer) usbControllers() error {
	if c.arch == "aarch64" {
		c.device("usb-ehci", append([]string{"id", "ehci"}, c.at("ehci")...)...)
	} else if !c.machine.q35 {
		where := c.at("piix3")
		where[3] += ".0x2" // one of the functions of the south bridge
		c.device("piix3-usb-uhci", append([]string{"id", "uhci"}, where...)...)
	}
	var any, usb2s, usb3 bool
	for n := range usbDevices {
		usb, ok := c.conf.USB[n]
		if !ok {
			continue
		}
		if n >= oldUSBDevices && !c.fastUSB() {
			return fmt.Errorf("using usb%d is only possible with machine type >= 7.1 and ostype l26 or windows > 7", n)
		}
		any = true
		if flag(usb.USB3, false) {
			usb3 = true
		} else {
			usb2s = true
		}
	}
	if !c.fastUSB() && !c.machine.q35 && usb2s && c.arch != "aarch64" {
		for _, device := range usb2(false) {
			c.add("-device", device)
		}
	}
	switch {
	case c.fastUSB() && any:
		c.device("qemu-xhci", append([]string{"p2", "15", "p3", "15", "id", "xhci"}, c.at("xhci")...)...)
	case usb3:
		c.device("nec-usb-xhci", append([]string{"id", "xhci"}, c.at("xhci")...)...)
	default:
		c.bridges[1] = true // always there, for what is plugged later
	}
	return nil
}

// usbDevices adds the USB devices of the host, and those that come over SPICE.
func (c *composer) usbDevices() error {
	for n := range usbDevices {
		usb, ok := c.conf.USB[n]
		if !ok {
			continue
		}
		if err := c.usb(n, usb, ifSet(c.fastUSB(), itoa(n+1))); err != nil {
			return err
		}
	}
	return nil
}

// usb adds USB device n, at a port of the fast controller where one is given.
func (c *composer) usb(n int, usb qemu.USB, port string) error {
	if !strings.EqualFold(str(usb.Host, ""), "spice") {
		device, err := c.usbDevice(n, usb, port)
		c.add("-device", device)
		return err
	}
	bus := "ehci"
	if port != "" || flag(usb.USB3, false) && c.machine.version.atLeast(4, 0) {
		bus = "xhci"
	}
	chardev := fmt.Sprintf("usbredirchardev%d", n)
	c.add("-chardev", option("spicevmc", "id", chardev, "name", "usbredir"))
	c.device("usb-redir", "chardev", chardev, "id", fmt.Sprintf("usbredirdev%d", n), "bus", bus+".0", "port", port)
	if c.order[fmt.Sprintf("usb%d", n)] != 0 {
		c.warn("warning: spice usb port set as bootdevice, ignoring")
	}
	return nil
}

func (c *composer) usbDevice(n int, usb qemu.USB, port string) (string, error) {
	id := fmt.Sprintf("usb%d", n)
	device := str(usb.Host, "")
	if usb.Mapping != nil {
		if c.host.USBMapping == nil {
			return "", fmt.Errorf("USB device mapping not found for '%s'", *usb.Mapping)
		}
		var err error
		if device, err = c.host.USBMapping(*usb.Mapping); err != nil {
			return "", err
		}
	}
	var pairs []string
	if flag(usb.USB3, false) || port != "" {
		pairs = append(pairs, "bus", "xhci.0", "port", port)
	}
	if m := usbID.FindStringSubmatch(device); m != nil {
		pairs = append(pairs, "vendorid", "0x"+m[1], "productid", "0x"+m[2])
	} else if m := usbPort.FindStringSubmatch(device); m != nil {
		pairs = append(pairs, "hostbus", m[1], "hostport", m[2])
	} else {
		return "", errors.New("no usb id or path given")
	}
	return option("usb-host", append(pairs, "id", id, "bootindex", c.bootIndex(id))...), nil
}

// bootIndex is the place of a device in the boot order, empty where it has none.
func (c *composer) bootIndex(device string) string {
	if n := c.order[device]; n != 0 {
		return itoa(n)
	}
	return ""
}
