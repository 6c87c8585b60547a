// Package centos sets up CentOS and what is built like it: Rocky Linux, AlmaLinux, RHEL, Oracle
// Linux.
package centos

import (
	"fmt"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

const oldest = 5

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{
		Type:  "centos",
		IDs:   []string{"rhel", "rocky", "almalinux", "ol", "eurolinux", "cloudlinux", "virtuozzo", "miraclelinux", "scientific"},
		Files: []string{"/etc/centos-release", "/etc/redhat-release"},
		Open:  open,
	}
}

type system struct {
	*setup.Target
	release int
}

var number = pattern.New(`release\s+(\d+)`)

func open(t *setup.Target) (setup.System, error) {
	line, err := t.FirstLine("/etc/redhat-release")
	if err != nil {
		return nil, err
	}
	if line == "" {
		return nil, fmt.Errorf("unable to read version info")
	}
	s := &system{Target: t}
	if m := number.FindStringSubmatch(line); m != nil {
		s.release, _ = strconv.Atoi(m[1])
	}
	if s.release < oldest {
		return nil, fmt.Errorf("unsupported centos release '%s'", line)
	}
	return s, nil
}

// Fixup makes a template that is no container yet one.
func (s *system) Fixup() error {
	if s.release < 7 {
		if err := s.upstart(); err != nil {
			return err
		}
	}
	// Without it systemd-firstboot asks for one on a console that nobody sees.
	if s.release >= 8 && !s.Exists("/etc/locale.conf") {
		if err := s.Write("/etc/locale.conf", "LANG=C.utf8\n"); err != nil {
			return err
		}
	}
	if err := s.Securetty(); err != nil {
		return err
	}
	return s.DropPlaceholder()
}

// Init sets up consoles and, for the first boot, services.
func (s *system) Init() error {
	if err := s.OldGetty(); err != nil {
		return err
	}
	if s.release >= 7 {
		if err := s.Getty(); err != nil {
			return err
		}
	}
	if s.release < 8 { // those know presets that end otherwise
		return nil
	}
	return s.Preset(map[string]bool{"systemd-networkd.service": false})
}

// Network writes the files of the network service, or since release 10 those of NetworkManager.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	if s.release >= 10 {
		return s.KeyFiles(cards)
	}
	return s.NetworkScripts(cards)
}

// Hostname writes the whole name, as these distributions have it.
func (s *system) Hostname() error { return s.RedHatHostname() }
