// Package archlinux sets up Arch Linux: systemd with its networkd.
package archlinux

import "github.com/virtsmith/virtsmith/pkg/container/setup"

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "archlinux", IDs: []string{"arch", "archarm"}, Files: []string{"/etc/arch-release"}, Open: open}
}

type system struct{ *setup.Target }

func open(t *setup.Target) (setup.System, error) { return &system{t}, nil }

// Fixup has networkd started, which Arch Linux does not do by itself.
func (s *system) Fixup() error {
	if err := s.EnableNetworkd(); err != nil {
		return err
	}
	return s.Securetty("console", "tty1", "tty2", "tty3", "tty4")
}

// Init sets up consoles and, for the first boot, services.
func (s *system) Init() error {
	if err := s.Preset(map[string]bool{"systemd-networkd.service": true}); err != nil {
		return err
	}
	return s.Getty()
}

// Network writes the files of networkd.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	return s.Networkd(cards)
}
