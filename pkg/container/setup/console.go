package setup

import (
	"regexp"
	"slices"
)

// Securetty lets root log in on the consoles of the container. Without the file it may anywhere.
// With no devices given, they are the console and the first four ttys, where the container has
// them.
func (t *Target) Securetty(devices ...string) error {
	if len(devices) == 0 {
		devices = []string{"console", "tty1", "tty2", "tty3", "tty4"}
		if !t.PlainTTY && !t.unprivileged() {
			for i := range devices {
				devices[i] = "lxc/" + devices[i]
			}
		}
	}
	return t.Edit("/etc/securetty", func(text string) string {
		lines := split(text)
		for _, d := range devices {
			if !slices.Contains(lines, d) {
				lines = append(lines, d)
			}
		}
		return join(lines)
	})
}

// Inittab takes the lines that match drop out of inittab and adds others, in that order, at its
// end.
func (t *Target) Inittab(drop *regexp.Regexp, add []string) error {
	return t.Edit("/etc/inittab", func(text string) string {
		lines := slices.DeleteFunc(split(text), drop.MatchString)
		return join(append(split(join(lines)), add...))
	})
}

// skipCheck has old init scripts boot without a check of the file system, which is no business
// of the container.
func (t *Target) skipCheck() error {
	if t.HasSystemd() || !t.IsDir("/etc/init.d") {
		return nil
	}
	return t.Write("/fastboot", "")
}
