// Package opensuse sets up openSUSE and SLES: wicked, or NetworkManager where there is no wicked.
package opensuse

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{
		Type: "opensuse",
		IDs:  []string{"opensuse-leap", "opensuse-tumbleweed", "opensuse-slowroll", "sles", "sled", "suse"},
		// The latter two are in releases before os-release.
		Files: []string{"/etc/SuSE-brand", "/etc/SuSE-release"}, Open: open,
	}
}

type system struct{ *setup.Target }

var (
	point   = pattern.New(`^(\d+)(?:\.(\d+))?$`)
	date    = pattern.New(`^20\d{6}$`)
	oldFile = pattern.New(`(?m)^\s*VERSION\s*=\s*(\S+)\s*$`)
)

func open(t *setup.Target) (setup.System, error) {
	version := t.Release["VERSION_ID"]
	for _, name := range []string{"/etc/SuSE-release", "/etc/SuSE-brand"} {
		if version != "" {
			break
		}
		text, _, err := t.Read(name)
		if err != nil {
			return nil, err
		}
		if m := oldFile.FindStringSubmatch(text); m != nil {
			version = m[1]
		}
	}
	if date.MatchString(version) { // a rolling release
		return &system{t}, nil
	}
	m := point.FindStringSubmatch(version)
	if m == nil {
		return nil, fmt.Errorf("unrecognized suse release '%s'", version)
	}
	if major, _ := strconv.Atoi(m[1]); major < 12 {
		return nil, fmt.Errorf("unsupported suse release '%s'", version)
	}
	return &system{t}, nil
}

// Fixup lets root log in on the consoles.
func (s *system) Fixup() error {
	if err := s.DropPlaceholder(); err != nil {
		return err
	}
	return s.Securetty()
}

// Init sets up the consoles.
func (s *system) Init() error {
	if err := s.OldGetty(); err != nil {
		return err
	}
	return s.Getty()
}

// Network writes the files of wicked, and those of NetworkManager where that rules.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	if s.IsExecutable("/usr/sbin/NetworkManager") && !s.IsExecutable("/usr/sbin/wicked") {
		return s.KeyFiles(cards)
	}
	const folder = "/etc/sysconfig/network"
	if err := s.Mkdir(folder); err != nil {
		return err
	}
	for _, c := range cards {
		text, routes := files(c)
		if err := s.Write(folder+"/ifcfg-"+c.Name, text); err != nil {
			return err
		}
		if err := s.Managed(folder+"/ifroute-"+c.Name, routes, setup.Prepend); err != nil {
			return err
		}
	}
	return nil
}

// files returns what is in the file of a card and in that of its routes.
func files(c setup.Card) (text, routes string) {
	start, proto := "manual", "static"
	var addresses []string
	for _, side := range []struct {
		setup.Address
		dhcp, direct, any string
	}{
		{c.V4, "dhcp4", " 0.0.0.0 255.255.255.255 ", " 0.0.0.0 "},
		{c.V6, "dhcp6", "/128 - - ", " - "},
	} {
		if side.Text == "" || side.Manual() {
			continue
		}
		start = "onboot"
		if side.Text == "dhcp" {
			if proto != "static" {
				side.dhcp = "dhcp" // both families
			}
			proto = side.dhcp
		}
		if !side.Static() {
			continue
		}
		addresses = append(addresses, side.Text)
		if side.NeedsRoute() {
			routes += side.Gateway + side.direct + c.Name + "\n"
		}
		if side.Gateway != "" {
			routes += "default " + side.Gateway + side.any + c.Name + "\n"
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "STARTMODE=%s\nBOOTPROTO=%s\n", start, proto)
	for i, a := range addresses {
		if len(addresses) == 1 {
			fmt.Fprintf(&b, "IPADDR=%s\n", a)
		} else {
			fmt.Fprintf(&b, "IPADDR_%d=%s\n", i+1, a)
		}
	}
	return b.String(), routes
}
