// Package ubuntu sets up Ubuntu: systemd-networkd since 17.10, ifupdown before.
package ubuntu

import (
	"fmt"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// newest is the last version that we have seen; newer ones get a warning.
const newest = 2604

// Distribution returns what is known of it.
func Distribution() setup.Distribution {
	return setup.Distribution{Type: "ubuntu", PlainTTY: true, Open: open}
}

type system struct {
	*setup.Target
	version int // 2404 is 24.04
}

var (
	lsbVersion = pattern.New(`(?mi)^DISTRIB_RELEASE="?(\d+\.\d+)"?`)
	dotted     = pattern.New(`^(\d+)\.(\d+)`)
)

func open(t *setup.Target) (setup.System, error) {
	lsb, _, err := t.Read("/etc/lsb-release")
	if err != nil {
		return nil, err
	}
	text := t.Release["VERSION_ID"]
	if m := lsbVersion.FindStringSubmatch(lsb); m != nil {
		text = m[1]
	}
	m := dotted.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("unable to read version info")
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	s := &system{t, 100*major + minor}
	if s.version < 1204 {
		return nil, fmt.Errorf("unsupported ancient Ubuntu version '%s'", text)
	}
	if s.version > newest {
		t.Env.Warnf("Ubuntu %s is newer than the newest version known here: it will probably work.", text)
	}
	return s, nil
}

// Fixup has the services started that the set-up relies on.
func (s *system) Fixup() error {
	if err := s.DropPlaceholder(); err != nil {
		return err
	}
	if s.version >= 1710 {
		if s.version < 2304 { // later ones do so by the preset
			if err := s.EnableNetworkd(); err != nil {
				return err
			}
		}
		// It asks for DHCP on eth0, whatever is configured.
		return s.Remove("/etc/netplan/10-lxc.yaml")
	}
	if s.version >= 1504 && s.version <= 1604 {
		return s.Securetty("pts/0")
	}
	return nil
}

// Init sets up consoles and, for the first boot, services.
func (s *system) Init() error {
	if s.version >= 2304 {
		if err := s.Preset(map[string]bool{"systemd-networkd.service": true}); err != nil {
			return err
		}
	}
	if s.version >= 1504 {
		return s.Getty()
	}
	return s.upstart()
}

// upstart has a getty on each tty of the container with the init of 12.04 and 14.04.
func (s *system) upstart() error {
	for n := 1; n <= 6; n++ {
		name := fmt.Sprintf("/etc/init/tty%d.conf", n)
		err := error(nil)
		if n > s.TTYs() {
			err = s.Remove(name)
		} else {
			err = s.Write(name, fmt.Sprintf(ttyJob, n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const ttyJob = `# A login on tty%[1]d.

start on stopped rc RUNLEVEL=[2345] and (
            not-container or
            container CONTAINER=lxc or
            container CONTAINER=lxc-libvirt)

stop on runlevel [!2345]

respawn
exec /sbin/getty -8 38400 tty%[1]d
`

// Network writes the files of systemd-networkd, or that of ifupdown.
func (s *system) Network() error {
	cards, err := s.Cards()
	if err != nil {
		return err
	}
	if s.version >= 1710 {
		return s.Networkd(cards)
	}
	return s.Ifupdown(cards, false)
}
