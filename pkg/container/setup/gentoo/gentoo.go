// Package gentoo sets up Gentoo: OpenRC with netifrc, or systemd with its networkd.
package gentoo

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "gentoo", Files: []string{"/etc/gentoo-release"}, PlainTTY: true, Open: open}
}

type system struct{ *setup.Target }

func open(t *setup.Target) (setup.System, error) {
	line, err := t.FirstLine("/etc/gentoo-release")
	if err != nil {
		return nil, err
	}
	if line == "" {
		return nil, fmt.Errorf("unable to read version info")
	}
	if !strings.HasPrefix(strings.ToLower(line), "gentoo ") {
		return nil, fmt.Errorf("unrecognized gentoo version: %s", line)
	}
	return &system{t}, nil
}

// Fixup has networkd started where systemd boots.
func (s *system) Fixup() error {
	if err := s.DropPlaceholder(); err != nil {
		return err
	}
	if s.BootsSystemd() {
		if err := s.EnableNetworkd(); err != nil {
			return err
		}
	}
	return s.Securetty()
}

var getty = pattern.New(`^\s*c?\d+:\d*:[^:]*:.*getty`)

// Init sets up the consoles.
func (s *system) Init() error {
	if s.BootsSystemd() {
		return s.Getty()
	}
	var add []string
	for n := 1; n <= s.TTYs(); n++ {
		add = append(add, fmt.Sprintf("%d::respawn:/sbin/agetty 38400 tty%d", n, n))
	}
	return s.Inittab(getty.Regexp(), add)
}

// Network writes the files of networkd, or that of netifrc with a service for each card.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	if s.BootsSystemd() {
		return s.Networkd(cards)
	}
	if len(cards) == 0 {
		return nil
	}
	// iproute2 is what there is today; the words for routes differ.
	iproute := s.IsExecutable("/sbin/ip") || s.IsExecutable("/bin/ip") || !s.IsExecutable("/bin/ifconfig") && !s.IsExecutable("/sbin/ifconfig")
	if err := s.Mkdir("/etc/conf.d"); err != nil {
		return err
	}
	if err := s.Managed("/etc/conf.d/net", netifrc(cards, iproute), setup.Replace); err != nil {
		return err
	}
	for _, c := range cards {
		if c.V4.Text != "" && !c.V4.Manual() || c.V6.Text != "" && !c.V6.Manual() {
			if err := s.service("net." + c.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// service makes the service of a card, which starts at boot unless it was there before and
// somebody decided otherwise.
func (s *system) service(name string) error {
	if _, err := s.Root.Lstat("/etc/init.d/" + name); err == nil || !s.IsDir("/etc/init.d") {
		return nil
	}
	if err := s.Link("net.lo", "/etc/init.d/"+name); err != nil {
		return err
	}
	if !s.IsDir("/etc/runlevels/default") {
		return nil
	}
	return s.Link("/etc/init.d/"+name, "/etc/runlevels/default/"+name)
}

// Hostname writes the file of the service hostname, or that of systemd.
func (s *system) Hostname() error {
	if s.BootsSystemd() {
		return s.Target.Hostname()
	}
	if err := s.Hosts(); err != nil {
		return err
	}
	return s.Write("/etc/conf.d/hostname", fmt.Sprintf("hostname=%q\n", s.ShortHostname()))
}
