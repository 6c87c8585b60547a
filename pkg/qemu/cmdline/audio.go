package cmdline

// audio adds a sound card.
func (c *composer) audio() error {
	a := c.conf.Audio
	if a == nil || !c.machine.version.atLeast(4, 0) {
		return nil
	}
	const id = "audiodev0"
	driver := str(a.Driver, "spice")
	if driver == "spice" && c.host.Spice == nil {
		driver = "none"
		c.note("audio0: no sound, as QEMU '%s' was built without SPICE", c.host.QEMU.Version)
	}
	backend := driver + "-backend0"
	if driver == "spice" && !c.vga.spice() { // QEMU ends where it has no SPICE to give the sound to
		driver = "none"
		c.note("audio0: no sound, as the display '%s' has no SPICE", c.vga.kind)
	}
	used := ifSet(c.machine.version.atLeast(4, 2), backend)
	if a.Device == "AC97" {
		c.device("AC97", append(append([]string{"id", id}, c.at("audio0")...), "audiodev", used)...)
	} else {
		c.device(a.Device, append([]string{"id", id}, c.at("audio0")...)...)
		c.device("hda-micro", "id", id+"-codec0", "bus", id+".0", "cad", "0", "audiodev", used)
		c.device("hda-duplex", "id", id+"-codec1", "bus", id+".0", "cad", "1", "audiodev", used)
	}
	c.add("-audiodev", option(driver, "id", backend))
	return nil
}
