// Package setup makes the files inside a container's root say what its configuration says:
// network, host name, name servers, time zone, consoles, root's password and keys. Which files
// those are is known to the packages below, one for each family of distributions.
//
// Only files are written, through package rootfs, so nothing of the container leads the set-up
// out of its root, and no program of the container is ever run. A file that has a file named
// .pve-ignore.NAME beside it is left alone. Of files that people edit too, only the part between
// "# --- BEGIN PVE ---" and "# --- END PVE ---" is ours. What is right already is not written, so
// doing it all again changes nothing.
package setup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Unmanaged is the type of a container whose files are left alone.
const Unmanaged = "unmanaged"

// Env is what the set-up needs of the world around the container.
type Env struct {
	Distributions []Distribution // those of setup/all
	Resolver      string         // the text of the host's resolv.conf
	Timezone      string         // zone of the host, Europe/Berlin
	Now           func() time.Time
	Random        func() float64 // from 0 up to but not including 1
	UUID          func() string
	Runner        run.Runner // for the host's ssh-keygen
	TempDir       string     // a folder of the host that only root can enter, for new keys
	Printf, Warnf func(format string, args ...any)
}

// A Distribution is a family of distributions that are set up alike.
type Distribution struct {
	Type     string   // the ostype
	IDs      []string // what else ID in os-release may be
	Files    []string // files that tell it where os-release does not; a folder ends in /
	PlainTTY bool     // it cannot cope with ttys in /dev/lxc
	Open     func(*Target) (System, error)
}

// System is one container of a distribution. A [Target] has most of it already.
type System interface {
	Fixup() error    // what a fresh template needs once
	Init() error     // consoles and services
	Network() error  // addresses and routes
	Hostname() error // host name, and its line in hosts
	DNS() error      // resolv.conf
	Timezone() error
}

// Setup is a container about to be set up.
type Setup struct {
	target *Target
	system System // nil when unmanaged
}

// Open finds out which distribution stands in root. The type that the configuration names is
// only compared, but for unmanaged. The error of a root that is none is ErrUnknown.
func Open(root *rootfs.Root, config *container.Config, env Env) (*Setup, error) {
	t := &Target{Root: root, Config: config, Env: env, OSType: Unmanaged}
	if config.OSType != nil && *config.OSType == Unmanaged {
		return &Setup{target: t}, nil
	}
	release, err := readRelease(root)
	if err != nil {
		return nil, err
	}
	t.Release = release
	found, err := detect(root, release, env.Distributions, env.Warnf)
	if err != nil {
		return nil, err
	}
	if found != nil {
		t.OSType = found.Type
		t.PlainTTY = found.PlainTTY
	}
	if want := config.OSType; want != nil && *want != t.OSType {
		if !t.IsDir("/etc") {
			env.Warnf("/etc not present in CT, is the rootfs mounted?")
		}
		env.Warnf("got unexpected ostype (%s != %s)", t.OSType, *want)
	}
	if found == nil {
		return &Setup{target: t}, nil
	}
	system, err := found.Open(t)
	if err != nil {
		return nil, err
	}
	return &Setup{target: t, system: system}, nil
}

// OSType returns what was found: the ostype that the configuration should have.
func (s *Setup) OSType() string { return s.target.OSType }

// TTYDir returns the folder below /dev that the consoles of the container are to be in: "lxc",
// or nothing for /dev itself. lxc.tty.dir has to say the same.
func (s *Setup) TTYDir() string {
	if s.system == nil || s.target.PlainTTY || s.target.unprivileged() {
		return ""
	}
	return "lxc"
}

// Account is how root of a new container may log in.
type Account struct {
	Hash    string // of the password, as in shadow(5); empty locks the password
	SSHKeys string // lines for authorized_keys
}

// PostCreate sets up a container that was just made from a template.
func (s *Setup) PostCreate(ctx context.Context, root Account) error {
	if s.system == nil {
		return nil
	}
	t := s.target
	err := do(
		step{"machine id", func() error { return t.clearMachineID(false) }},
		step{"template", s.system.Fixup},
		step{"first boot", t.noQuestions},
		step{"cron jobs", t.spreadCron},
		step{"password", func() error { return t.Password("root", root.Hash) }},
		step{"ssh keys", func() error { return t.authorize("root", root.SSHKeys) }},
	)
	if err != nil {
		return err
	}
	if err := do(s.always()...); err != nil {
		return err
	}
	return do(step{"ssh host keys", func() error { return t.hostKeys(ctx) }})
}

// PreStart sets up a container that is about to start. A root that is full or read-only does not
// keep it from starting with the files it has: one often has to get in to mend just that.
func (s *Setup) PreStart(ctx context.Context) error {
	if s.system == nil {
		return nil
	}
	steps := append([]step{{"quick boot", s.target.skipCheck}}, s.always()...)
	for _, st := range steps {
		err := ctx.Err()
		if err == nil {
			err = do(st)
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS) {
			s.target.Env.Warnf("%v", err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// always is what is done at each start as well as after creation.
func (s *Setup) always() []step {
	return []step{
		{"init", s.system.Init},
		{"network", s.system.Network},
		{"host name", s.system.Hostname},
		{"DNS", s.system.DNS},
		{"time zone", s.system.Timezone},
	}
}

// PostClone makes a copy of a container one that is not taken for the original.
func (s *Setup) PostClone() error {
	if s.system == nil {
		return nil
	}
	return do(step{"machine id", func() error { return s.target.clearMachineID(true) }})
}

// Network writes the network configuration alone, for a change while the container runs.
func (s *Setup) Network() error { return s.one("network", System.Network) }

// Hostname writes host name and hosts alone.
func (s *Setup) Hostname() error { return s.one("host name", System.Hostname) }

// DNS writes resolv.conf alone.
func (s *Setup) DNS() error { return s.one("DNS", System.DNS) }

// Timezone sets the time zone alone.
func (s *Setup) Timezone() error { return s.one("time zone", System.Timezone) }

// Password sets the password of a user to a hash as in shadow(5); an empty one locks it.
func (s *Setup) Password(user, hash string) error {
	return s.one("password", func(System) error { return s.target.Password(user, hash) })
}

func (s *Setup) one(name string, fn func(System) error) error {
	if s.system == nil {
		return nil
	}
	return do(step{name, func() error { return fn(s.system) }})
}

type step struct {
	name string
	do   func() error
}

func do(steps ...step) error {
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("set up %s: %w", s.name, err)
		}
	}
	return nil
}
