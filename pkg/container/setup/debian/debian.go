// Package debian sets up Debian: ifupdown, and systemd or the init of before.
package debian

import (
	"fmt"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

const (
	oldest = 4
	newest = 14 // that we have seen; newer ones get a warning
)

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{
		Type: "debian", IDs: []string{"kali", "raspbian"}, Files: []string{"/etc/debian_version"},
		PlainTTY: true, Open: open,
	}
}

type system struct {
	*setup.Target
	release int
}

var number = pattern.New(`^(\d+)(?:\.\d+)*`)

func open(t *setup.Target) (setup.System, error) {
	version, err := t.FirstLine("/etc/debian_version")
	if err != nil {
		return nil, err
	}
	if version == "" {
		return nil, fmt.Errorf("unable to read version info")
	}
	release := map[string]int{
		"stretch/sid": 9, "buster/sid": 10, "bullseye/sid": 11, "bookworm/sid": 12, "trixie/sid": 13,
		"forky/sid": 14, "duke/sid": 15, "kali-rolling": 12,
	}[version]
	if release == 0 {
		m := number.FindStringSubmatch(version)
		if m == nil {
			return nil, fmt.Errorf("unable to parse version info '%s'", version)
		}
		release, _ = strconv.Atoi(m[1])
	}
	if release < oldest {
		return nil, fmt.Errorf("container Debian version '%d' is too old", release)
	}
	if release > newest {
		t.Env.Warnf("Debian %d is newer than the newest version known here, %d: it will probably work.", release, newest)
	}
	return &system{t, release}, nil
}

// Fixup makes a template that is no container yet one.
func (s *system) Fixup() error {
	if err := s.DropPlaceholder(); err != nil {
		return err
	}
	return s.snakeoil()
}

// Init sets up consoles and, for the first boot, services.
func (s *system) Init() error {
	if s.BootsSystemd() {
		if err := s.Getty(); err != nil {
			return err
		}
		if s.release >= 12 { // ifupdown is what we write the files of
			if err := s.Preset(map[string]bool{"systemd-networkd.service": false}); err != nil {
				return err
			}
		}
	}
	if s.release < 7 {
		return s.SysvInittab("-L 38400")
	}
	return s.SysvInittab("--noclear 38400")
}

// Network writes the file of ifupdown.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	return s.Ifupdown(cards, s.release >= 10)
}

// renew makes the certificate anew at the first boot.
const renew = `[Unit]
Description=Make a snakeoil certificate of this container's own
ConditionPathExists=/etc/ssl/certs/ssl-cert-snakeoil.pem
ConditionFirstBoot=yes
Wants=first-boot-complete.target
Before=first-boot-complete.target

[Service]
Type=oneshot
ExecStart=make-ssl-cert generate-default-snakeoil --force-overwrite
`

// snakeoil takes away the private key of a certificate that the package ssl-cert made when the
// template was built: everybody who has the template knows it.
func (s *system) snakeoil() error {
	const (
		key  = "/etc/ssl/private/ssl-cert-snakeoil.key"
		name = "proxmox-regenerate-snakeoil.service"
		unit = "/etc/systemd/system/" + name
		want = "/etc/systemd/system/first-boot-complete.target.wants"
	)
	if !s.Exists(key) {
		return nil
	}
	if !s.BootsSystemd() {
		s.Env.Warnf("the snakeoil key of the template was removed: run 'make-ssl-cert generate-default-snakeoil --force-overwrite' in the container")
		return s.Remove(key)
	}
	s.Env.Printf("Setting up '%s' to regenerate snakeoil certificate..", name)
	if err := s.Mkdir(want); err != nil {
		return err
	}
	if err := s.Write(unit, renew); err != nil {
		return err
	}
	if err := s.Link(unit, want+"/"+name); err != nil {
		return err
	}
	return s.Remove(key)
}
