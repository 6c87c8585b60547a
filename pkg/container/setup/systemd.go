package setup

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// HasSystemd tells whether systemd is installed.
func (t *Target) HasSystemd() bool {
	return t.IsExecutable("/lib/systemd/systemd") || t.IsExecutable("/usr/lib/systemd/systemd")
}

// BootsSystemd tells whether systemd is what the container boots.
func (t *Target) BootsSystemd() bool {
	to, err := t.Root.Readlink("/sbin/init")
	return err == nil && strings.HasSuffix(to, "/systemd")
}

// units is the folder of the units that packages bring.
func (t *Target) units() string {
	if t.IsExecutable("/lib/systemd/systemd") {
		return "/lib/systemd/system"
	}
	return "/usr/lib/systemd/system"
}

// Preset says which units are to be enabled (true) or not at the first boot, beside those of
// every container. Later boots do not ask for it.
func (t *Target) Preset(units map[string]bool) error {
	const folder = "/etc/systemd/system-preset"
	all := map[string]bool{
		"container-getty@.service": true,
		"getty@.service":           false,
		"sys-kernel-config.mount":  false,
		"sys-kernel-debug.mount":   false,
	}
	maps.Copy(all, units)
	var b strings.Builder
	b.WriteString("# For the first boot of this container.\n")
	for _, unit := range slices.Sorted(maps.Keys(all)) {
		word := "disable"
		if all[unit] {
			word = "enable"
		}
		b.WriteString(word + " " + unit + "\n")
	}
	if err := t.Mkdir(folder); err != nil {
		return err
	}
	return t.Write(folder+"/00-pve.preset", b.String())
}

// Enable makes the link by which a unit is started for another.
func (t *Target) Enable(unit, target string) error {
	folder := "/etc/systemd/system/" + target + ".wants"
	if err := t.Mkdir(folder); err != nil {
		return err
	}
	return t.Link(t.units()+"/"+unit, folder+"/"+unit)
}

// EnableNetworkd has systemd-networkd started.
func (t *Target) EnableNetworkd() error {
	if err := t.Enable("systemd-networkd.service", "multi-user.target"); err != nil {
		return err
	}
	return t.Enable("systemd-networkd.socket", "sockets.target")
}

// noQuestions keeps the first boot from asking for locale and keyboard on a console that nobody
// may ever look at, which holds everything else up.
func (t *Target) noQuestions() error {
	const name = "systemd-firstboot.service"
	if !t.Exists(t.units()+"/"+name) || !t.IsDir("/etc/systemd/system") {
		return nil
	}
	return t.Link("/dev/null", "/etc/systemd/system/"+name)
}

var gettyTTY = pattern.New(`pts/%I|lxc/tty%I`)

// Getty has a login on each tty of the container, and on no other.
func (t *Target) Getty() error {
	folder := t.units()
	instance, unit := "container-getty@", folder+"/container-getty@.service"
	if !t.Exists(unit) { // systemd before 209
		instance, unit = "getty@tty", folder+"/getty@.service"
		if !t.Exists(unit) {
			return nil
		}
	}
	tty := "tty%I"
	if !t.PlainTTY && !t.unprivileged() {
		tty = "lxc/" + tty
	}
	err := t.Edit(unit, func(text string) string { return gettyTTY.ReplaceAllString(text, tty) })
	if err != nil {
		return err
	}
	const wants = "/etc/systemd/system/getty.target.wants"
	if err := t.Mkdir(wants); err != nil {
		return err
	}
	for n := 1; n <= 6; n++ {
		ours := fmt.Sprintf("%s/%s%d.service", wants, instance, n)
		for _, name := range []string{fmt.Sprintf("%s/getty@tty%d.service", wants, n), fmt.Sprintf("%s/container-getty@%d.service", wants, n)} {
			if name == ours && n <= t.TTYs() {
				continue
			}
			if err := t.Remove(name); err != nil {
				return err
			}
		}
		if n <= t.TTYs() {
			if err := t.Link(unit, ours); err != nil {
				return err
			}
		}
	}
	// Where it is masked, there is no login at all.
	return t.Remove("/etc/systemd/system/getty.target")
}

var (
	onTTY0 = pattern.New(`(?m)^ConditionPathExists=/dev/tty0$`)
	onTTY  = pattern.New(`(?m)^ConditionPathExists=/dev/tty$`)
)

// OldGetty lets the getty of a systemd that knows no containers start without /dev/tty0, and
// undoes that once there is a newer one.
func (t *Target) OldGetty() error {
	from, to := onTTY0, "ConditionPathExists=/dev/tty"
	if t.Exists(t.units() + "/container-getty@.service") {
		from, to = onTTY, "ConditionPathExists=/dev/tty0"
	}
	return t.Edit(t.units()+"/getty@.service", func(text string) string { return from.ReplaceAllString(text, to) })
}
