package centos

import "github.com/virtsmith/virtsmith/pkg/pattern"

// The jobs of upstart that templates of release 6 come without.
const (
	ttyJob = `# A login on one tty.
stop on runlevel [S016]

respawn
instance $TTY
exec /sbin/mingetty --nohangup $TTY
usage 'tty TTY=/dev/ttyX  - where X is console id'
`
	startTTYsJob = `# A login on each tty.
start on stopped rc RUNLEVEL=[2345]

env ACTIVE_CONSOLES=/dev/tty[1-6]
env X_TTY=/dev/tty1
task
script
        . /etc/sysconfig/init
        for tty in $(echo $ACTIVE_CONSOLES) ; do
                [ "$RUNLEVEL" = "5" -a "$tty" = "$X_TTY" ] && continue
                initctl start tty TTY=$tty
        done
end script
`
	// LXC says SIGPWR when the container is to shut down. The blanks are as scripts expect them.
	powerJob = "# Shut down on SIGPWR.\nstart on power-status-changed\n    \nexec /sbin/shutdown -h now \"SIGPWR received\"\n"
)

var (
	hangup = pattern.New(`(?m)^(exec /sbin/mingetty) (\$TTY.*)$`)
	udev   = pattern.New(`(?m)^(/sbin/start_udev.*)$`)
)

func (s *system) upstart() error {
	if err := s.Mkdir("/etc/init"); err != nil {
		return err
	}
	for name, job := range map[string]string{
		"/etc/init/tty.conf": ttyJob, "/etc/init/start-ttys.conf": startTTYsJob, "/etc/init/power-status-changed.conf": powerJob,
	} {
		if s.Exists(name) {
			continue
		}
		if err := s.Write(name, job); err != nil {
			return err
		}
	}
	err := s.Edit("/etc/init/tty.conf", func(text string) string { return hangup.ReplaceAllString(text, "$1 --nohangup $2") })
	if err != nil {
		return err
	}
	// The devices are made by LXC.
	return s.Edit("/etc/rc.d/rc.sysinit", func(text string) string { return udev.ReplaceAllString(text, "#$1") })
}
