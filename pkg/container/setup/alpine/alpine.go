// Package alpine sets up Alpine Linux: OpenRC, the init of busybox, and its ifupdown or
// ifupdown-ng.
package alpine

import (
	"fmt"
	"path"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "alpine", Files: []string{"/etc/alpine-release"}, PlainTTY: true, Open: open}
}

type system struct{ *setup.Target }

func open(t *setup.Target) (setup.System, error) { return &system{t}, nil }

// Fixup has the services started and stopped that a container needs.
func (s *system) Fixup() error {
	for level, services := range map[string][]string{
		"boot":     {"networking", "bootmisc", "hostname"},
		"shutdown": {"killprocs", "savecache"},
	} {
		folder := "/etc/runlevels/" + level
		for _, name := range services {
			if !s.IsDir(folder) || !s.Exists("/etc/init.d/"+name) {
				continue
			}
			if err := s.Link("/etc/init.d/"+name, folder+"/"+name); err != nil {
				return err
			}
		}
	}
	if err := s.Securetty(); err != nil {
		return err
	}
	return s.DropPlaceholder()
}

var getty = pattern.New(`^\s*tty\d+:\d*:[^:]*:.*getty`)

// Init has a getty on each tty.
func (s *system) Init() error {
	var add []string
	for n := 1; n <= s.TTYs(); n++ {
		add = append(add, fmt.Sprintf("tty%d::respawn:/sbin/getty 38400 tty%d", n, n))
	}
	return s.Inittab(getty.Regexp(), add)
}

// Network writes the file of ifupdown, with netmasks: the ifup of busybox wants them, and
// ifupdown-ng takes them. The DHCP client of busybox does not do IPv6, so without
// another one that is left for the administrator to see. Nor does that ifup know addresses that
// routers announce, and it would leave all cards down for the word alone; but the kernel takes
// them by itself on a card that is up.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	client := s.IsExecutable("/sbin/dhcpcd") || s.IsExecutable("/usr/sbin/dhcpcd") || s.IsExecutable("/usr/sbin/dhclient")
	for i := range cards {
		six := &cards[i].V6
		switch {
		case six.Text == "dhcp" && !client:
			six.Text = "manual"
		case six.Text == "auto" && s.busyboxIfup():
			six.Text, six.Extra = "manual", []string{"up ip link set " + cards[i].Name + " up"}
		}
	}
	return s.Ifupdown(cards, false)
}

// busyboxIfup tells whether ifup is that of busybox, and not ifupdown-ng.
func (s *system) busyboxIfup() bool {
	for _, name := range []string{"/sbin/ifup", "/bin/ifup"} {
		if to, err := s.Root.Readlink(name); err == nil {
			return path.Base(to) == "busybox"
		}
	}
	return false
}
