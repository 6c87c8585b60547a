package cmdline

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// display is what a guest shows its picture on.
type display struct {
	kind      string // std, qxl, serial0, none, …
	memory    int    // MiB, 0 for the default
	heads     int    // of qxl, 0 for others
	clipboard bool   // shared through VNC

	passedThrough bool // a graphics card of the host is the display
	hideKVM       bool // because of it
}

// serial tells whether the display is a serial port.
func (d display) serial() bool { return strings.HasPrefix(d.kind, "serial") }

// shown tells whether there is a picture at all.
func (d display) shown() bool { return d.kind != "none" && !d.serial() }

// spice tells whether the picture goes over SPICE too.
func (d display) spice() bool { return d.heads > 0 || strings.HasPrefix(d.kind, "virtio") }

// withClipboard are the displays whose clipboard VNC can share.
var withClipboard = pattern.New(`^(std|cirrus|vmware|virtio|qxl)`)

// chooseDisplay finds out the display, that of the machine where none is
// configured.
func (c *composer) chooseDisplay() error {
	d := display{}
	if v := c.conf.VGA; v != nil {
		d.kind, d.memory, d.clipboard = str(v.Type, ""), num(v.Memory, 0), v.Clipboard != nil
	}
	if heads, ok := strings.CutPrefix(d.kind, "qxl"); ok {
		d.kind, d.heads = "qxl", max(1, number(heads))
	}
	switch {
	case d.kind != "":
	case c.arch == "aarch64":
		d.kind = "virtio"
	case c.windows >= 6, c.windows == 0 && c.machine.version.atLeast(2, 9):
		d.kind = "std"
	default:
		d.kind = "cirrus"
	}
	c.vga = d
	return nil
}

// tablet adds a pointer with absolute coordinates, which VNC needs, and on ARM,
// which has no PS/2, a keyboard.
func (c *composer) tablet() error {
	if !flag(c.conf.Tablet, c.vga.heads == 0 && !c.vga.serial()) {
		return nil
	}
	bus := "uhci.0"
	if c.machine.q35 || c.arch == "aarch64" {
		bus = "ehci.0"
	}
	c.device("usb-tablet", "id", "tablet", "bus", bus, "port", "1")
	if c.arch == "aarch64" {
		c.device("usb-kbd", "id", "keyboard", "bus", "ehci.0", "port", "2")
	}
	return nil
}

// display adds the graphics card and the VNC server.
func (c *composer) display() error {
	if !c.vga.shown() {
		if c.vga.kind == "none" {
			c.arg("-vga", "none")
		}
		c.arg("-nographic")
		return nil
	}
	device, err := c.graphics(0)
	if err != nil {
		return err
	}
	c.add("-device", device)
	if c.vga.kind == "virtio-gl" {
		c.arg("-display", "egl-headless,gl=core")
	}
	c.arg("-vnc", option("unix:"+escape(c.host.Paths.VNC), "password", "on"))
	c.out.VNC = true
	return nil
}

// graphics is the n-th graphics card; only qxl has several.
func (c *composer) graphics(n int) (string, error) {
	driver := map[string]string{
		"std": "VGA", "cirrus": "cirrus-vga", "vmware": "vmware-svga", "virtio": "virtio-vga", "virtio-gl": "virtio-vga-gl", "qxl": "qxl-vga",
	}[c.vga.kind]
	switch {
	case driver == "":
		return "", fmt.Errorf("no device-type for %s", c.vga.kind)
	case driver == "virtio-vga" && c.arch == "aarch64":
		driver = "virtio-gpu"
	case driver == "virtio-vga-gl" && c.host.GL != nil:
		if err := c.host.GL(); err != nil {
			return "", err
		}
	case driver == "qxl-vga" && n > 0:
		driver = "qxl"
	}
	if !c.host.QEMU.hasDevice(driver) {
		return "", fmt.Errorf("vga: display '%s' is not in QEMU '%s' on node '%s': its device '%s' is missing", c.vga.kind, c.host.QEMU.Version, c.host.Node, driver)
	}
	id := "vga"
	if n > 0 {
		id += itoa(n)
	}
	pairs := append([]string{"id", id}, c.graphicsMemory(n)...)
	if ostype := str(c.conf.OSType, "other"); c.vga.heads > 0 && (isLinux(ostype) || ostype == "other") && c.machine.version.atLeast(4, 1) {
		pairs = append(pairs, "max_outputs", "4") // Linux has all displays on one card
	}
	if bus, addr, ok := expressPlace(id); ok && c.machine.q35 {
		pairs = append(pairs, "bus", bus, "addr", addr)
	} else {
		pairs = append(pairs, c.at(id)...)
	}
	if driver == "VGA" && c.windows > 0 && str(c.conf.BIOS, "") != "ovmf" {
		pairs = append(pairs, "edid", "off") // Windows would take to the first resolution and stay there
	}
	return option(driver, pairs...), nil
}

// graphicsMemory are the options for the memory of the n-th card.
func (c *composer) graphicsMemory(n int) []string {
	size := c.vga.memory
	switch {
	case size == 0 && c.vga.heads > 0 && n > 0:
		return []string{"ram_size", "67108864", "vram_size", "33554432"}
	case size == 0:
		return nil
	case strings.HasPrefix(c.vga.kind, "virtio"):
		return []string{"max_hostmem", itoa(size << 20)}
	case c.vga.heads > 0:
		return []string{"vgamem_mb", itoa(size), "ram_size_mb", itoa(size * 4), "vram_size_mb", itoa(size * 2)}
	}
	return []string{"vgamem_mb", itoa(size)}
}
