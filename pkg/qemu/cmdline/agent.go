package cmdline

// agent adds the port of the guest agent, and before it what concerns the start
// of the guest and its keyboard.
func (c *composer) agent() error {
	if flag(c.conf.Freeze, false) || c.vm.Paused {
		c.arg("-S")
	}
	if layout := str(c.conf.Keyboard, ""); layout != "" {
		c.arg("-k", layout)
	}
	a := c.conf.Agent
	if a == nil || !a.Enabled {
		return nil
	}
	c.add("-chardev", option("socket", "path", c.host.Paths.Agent, "server", "on", "wait", "off", "id", "qga0"))
	if str(a.Type, "virtio") == "isa" {
		c.device("isa-serial", "chardev", "qga0")
		return nil
	}
	c.device("virtio-serial", append([]string{"id", "qga0"}, c.at("qga0")...)...)
	c.device("virtserialport", "chardev", "qga0", "name", "org.qemu.guest_agent.0")
	return nil
}
