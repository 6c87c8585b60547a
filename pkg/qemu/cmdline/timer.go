package cmdline

// timers sets the clocks of the guest. Windows keeps local time, and falls behind
// where lost ticks are given to it later.
func (c *composer) timers() error {
	local, drift := c.conf.LocalTime, c.conf.TDF
	if c.windows >= 5 {
		if local == nil {
			local = new(true)
		}
		if drift == nil && flag(c.conf.ACPI, true) {
			drift = new(true)
		}
	}
	modernLinux := isLinux(str(c.conf.OSType, "")) && c.machine.version.atLeast(10, 1)
	if c.windows >= 6 {
		c.arg("-global", "kvm-pit.lost_tick_policy=discard")
	}
	if (c.windows >= 6 || modernLinux) && !c.machine.virt {
		c.flags = append(c.flags, "hpet=off")
	}
	if flag(drift, false) {
		c.rtc = append(c.rtc, "driftfix=slew")
	}
	switch date := str(c.conf.StartDate, "now"); {
	case date != "now":
		c.rtc = append(c.rtc, "base="+date)
	case flag(local, false):
		c.rtc = append(c.rtc, "base=localtime")
	}
	return nil
}
