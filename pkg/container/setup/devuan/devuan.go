// Package devuan sets up Devuan: ifupdown, and inits other than systemd.
package devuan

import (
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
)

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "devuan", Files: []string{"/etc/devuan_version"}, PlainTTY: true, Open: open}
}

type system struct{ *setup.Target }

func open(t *setup.Target) (setup.System, error) {
	version, err := t.FirstLine("/etc/devuan_version")
	if err != nil {
		return nil, err
	}
	if version == "" {
		return nil, fmt.Errorf("unable to read version info")
	}
	return &system{t}, nil
}

// Fixup drops the name of a template out of hosts.
func (s *system) Fixup() error { return s.DropPlaceholder() }

// Init sets up the consoles.
func (s *system) Init() error { return s.SysvInittab("--noclear 38400") }

// Network writes the file of ifupdown.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	return s.Ifupdown(cards, false)
}
