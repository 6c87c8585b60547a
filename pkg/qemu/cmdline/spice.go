package cmdline

import (
	"fmt"
)

// spice adds the channels of SPICE: agent, more displays, shared folders. The
// agent also serves the clipboard of VNC.
func (c *composer) spice() error {
	d := c.vga
	if d.clipboard && !withClipboard.MatchString(d.kind) {
		return fmt.Errorf("vga type %s is not compatible with VNC clipboard", d.kind)
	}
	if !d.spice() && !d.clipboard {
		return nil
	}
	if d.spice() && c.host.Spice == nil {
		if d.heads > 0 {
			return fmt.Errorf("vga: display '%s' needs SPICE, which QEMU '%s' on node '%s' was built without", d.kind, c.host.QEMU.Version, c.host.Node)
		}
		return nil // a virtio display has VNC too
	}
	if err := c.moreDisplays(); err != nil {
		return err
	}
	c.device("virtio-serial", append([]string{"id", "spice"}, c.at("spice")...)...)
	if d.clipboard {
		c.add("-chardev", "qemu-vdagent,id=vdagent,name=vdagent,clipboard=on")
	} else {
		c.add("-chardev", "spicevmc,id=vdagent,name=vdagent")
	}
	c.device("virtserialport", "chardev", "vdagent", "name", "com.redhat.spice.0")
	if !d.spice() {
		return nil
	}
	return c.spiceServer()
}

// moreDisplays gives qxl its further heads: Windows needs a card for each, others
// more memory for the one.
func (c *composer) moreDisplays() error {
	if c.vga.heads < 2 {
		return nil
	}
	if c.windows > 0 {
		for n := 1; n < c.vga.heads; n++ {
			device, err := c.graphics(n)
			if err != nil {
				return err
			}
			c.add("-device", device)
		}
		return nil
	}
	ram, vram := 134217728, 67108864
	if size := c.vga.memory; size > 0 {
		ram, vram = c.vga.heads*4*size<<20, c.vga.heads*2*size<<20
	}
	c.arg("-global", fmt.Sprintf("qxl-vga.ram_size=%d", ram), "-global", fmt.Sprintf("qxl-vga.vram_size=%d", vram))
	return nil
}

func (c *composer) spiceServer() error {
	streaming := ""
	if s := c.conf.SpiceEnhancements; s != nil {
		if flag(s.FolderSharing, false) {
			c.add("-chardev", "spiceport,id=foldershare,name=org.spice-space.webdav.0")
			c.device("virtserialport", "chardev", "foldershare", "name", "org.spice-space.webdav.0")
		}
		streaming = str(s.VideoStreaming, "")
	}
	server, err := c.host.Spice()
	if err != nil {
		return err
	}
	if server.Cert == "" && c.host.Paths.Spice != "" {
		c.add("-spice", option("", "unix", "on", "addr", c.host.Paths.Spice, "seamless-migration", "on", "streaming-video", streaming))
		return nil
	}
	c.out.SpicePort = server.Port
	c.add("-spice", option("", "tls-port", itoa(server.Port), "addr", server.Address, "tls-ciphers", "HIGH", "seamless-migration", "on",
		"x509-key-file", server.KeyFile, "x509-cert-file", server.Cert, "x509-cacert-file", server.CACert, "streaming-video", streaming))
	return nil
}
