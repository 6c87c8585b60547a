// Package fedora sets up Fedora: systemd-networkd since 25, the network service before.
package fedora

import (
	"fmt"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
)

const oldest = 22

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "fedora", Files: []string{"/etc/fedora-release"}, Open: open}
}

type system struct {
	*setup.Target
	release int
}

func open(t *setup.Target) (setup.System, error) {
	version := t.Release["VERSION_ID"]
	release, err := strconv.Atoi(version)
	if err != nil || release < oldest {
		return nil, fmt.Errorf("unsupported Fedora release '%s'", version)
	}
	return &system{t, release}, nil
}

// Fixup makes a template that is no container yet one.
func (s *system) Fixup() error {
	if err := s.Securetty(); err != nil {
		return err
	}
	if err := s.DropPlaceholder(); err != nil {
		return err
	}
	return s.Remove("/etc/systemd/system/getty@.service")
}

// Init sets up consoles and, for the first boot, services: since 37 the preset of Fedora leaves
// networkd out.
func (s *system) Init() error {
	if err := s.Getty(); err != nil || s.release < 37 {
		return err
	}
	return s.Preset(map[string]bool{"systemd-networkd.service": true})
}

// Network writes the files of networkd, and up to 27 those of the network service where that is
// in use.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	if s.release <= 24 || s.release <= 27 && s.Exists("/etc/sysconfig/network") {
		if err := s.NetworkScripts(cards); err != nil {
			return err
		}
	}
	if s.release <= 24 {
		return nil
	}
	return s.Networkd(cards)
}

// Hostname writes the whole name, as Red Hat's kin has it.
func (s *system) Hostname() error { return s.RedHatHostname() }
