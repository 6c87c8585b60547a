// Package nixos sets up NixOS: networkd, and nothing that its own configuration says.
package nixos

import "github.com/virtsmith/virtsmith/pkg/container/setup"

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "nixos", Files: []string{"/nix/store/"}, Open: open}
}

type system struct{ *setup.Target }

func open(t *setup.Target) (setup.System, error) { return &system{t}, nil }

// Init does nothing: services are what the configuration of NixOS says.
func (s *system) Init() error { return nil }

// Timezone does nothing, for the same reason.
func (s *system) Timezone() error { return nil }

// Network writes the files of networkd.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	return s.Networkd(cards)
}
