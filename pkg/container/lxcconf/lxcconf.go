// Package lxcconf makes the configuration that LXC reads of a container's own.
//
// It is a pure function: what it needs to know of the machine is given to it, and nothing is
// looked at or written.
package lxcconf

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Machine is what containers run on.
type Machine struct {
	LXC    lxc.Version
	Kernel lxc.Kernel
	// SwapLimit tells that control groups of version 1 can limit swap.
	SwapLimit bool
	// Includes are files with configuration that the administrator has put there for all
	// containers.
	Includes []string
	// LXCFS is the hook that mounts what lxcfs shows over files of proc and sys, so that a
	// container sees its own limits there; empty where lxcfs does not run.
	LXCFS string
	// SyscallProxy is the socket of the daemon that makes device nodes for containers;
	// empty where none runs.
	SyscallProxy string
}

// A Container is what is to be run, with what has been found out for it.
type Container struct {
	VMID   id.VM
	Config *container.Config
	Raw    []container.RawLine
	IDs    idmap.Map
	// Dir is the folder that LXC has for the container: its root is mounted below it.
	Dir string
	// Hook is the command line that LXC's hooks call, to which it adds the name of the
	// container and the phase.
	Hook []string
	// CPUs are those that the container may run on; nil for all.
	CPUs []int
	// Nodes are the devices of the options devN, by N.
	Nodes map[int]mount.Node
	// MTU are those of the bridges of the options netN, by N.
	MTU map[int]int
}

// A Result is what Make has made.
type Result struct {
	Lines lxc.Config
	// Seccomp is the text of the file SeccompFile names; empty where there is none.
	Seccomp string
	// Warnings are for the user, in upstream's words where it has them.
	Warnings []string
	// Notes say in which way the container is confined less than its configuration has it.
	Notes []string
}

// SeccompFile is the file with the filter of system calls.
func SeccompFile(dir string) string { return filepath.Join(dir, "rules.seccomp") }

// Passthrough is the folder below that of a container, with the nodes that it gets.
const Passthrough = "passthrough"

// QuotaMounts is the file with such entries for the devices of file systems with quotas. Which
// those are is known when they are mounted, after LXC has read its configuration.
func QuotaMounts(dir string) string { return filepath.Join(dir, "quota.fstab") }

// maker makes one configuration.
type maker struct {
	Machine
	Container
	Result
	features container.Features
}

// Make makes the configuration of a container.
func Make(m Machine, c Container) (*Result, error) {
	if c.Config.RootFS == nil {
		return nil, errors.New("missing 'rootfs' configuration")
	}
	b := &maker{Machine: m, Container: c}
	if c.Config.Features != nil {
		b.features = *c.Config.Features
	}
	b.groups()
	b.system()
	b.terminals()
	b.start()
	b.mounts()
	b.seccomp()
	b.apparmor()
	b.capabilities()
	b.limits()
	b.devices()
	b.nets()
	b.hooks()
	for _, file := range m.Includes {
		b.add("lxc.include", file)
	}
	b.raw()
	return &b.Result, nil
}

// unprivileged tells whether root of the container is somebody else on the host.
func (b *maker) unprivileged() bool { return !b.IDs.Privileged() }

func (b *maker) add(key, value string) { b.Lines.Add(key, value) }

func (b *maker) addf(key, format string, args ...any) { b.Lines.Addf(key, format, args...) }

// rawHas tells whether the configuration has a line of its own for one of the keys.
func (b *maker) rawHas(keys ...string) bool {
	return slices.ContainsFunc(b.Raw, func(l container.RawLine) bool {
		return slices.Contains(keys, container.CurrentKey(l.Key))
	})
}

// groups places the control groups where upstream has them. The container sees the group
// inner as its topmost, so it cannot reach the one that limits it.
func (b *maker) groups() {
	name := b.VMID.String()
	b.add("lxc.cgroup.relative", "0")
	b.add("lxc.cgroup.dir.monitor", lxc.MonitorGroup(name))
	b.add("lxc.cgroup.dir.container", lxc.PayloadGroup(name))
	b.add("lxc.cgroup.dir.container.inner", "ns")
}

func (b *maker) system() {
	if b.Config.Arch != nil {
		b.add("lxc.arch", *b.Config.Arch)
	}
	name := "CT" + b.VMID.String()
	if h := b.Config.Hostname; h != nil && *h != "" {
		name = *h
	}
	b.add("lxc.uts.name", name)
	if !b.rawHas("lxc.idmap") {
		for _, e := range b.IDs {
			b.add("lxc.idmap", e.String())
		}
	}
	b.add("lxc.autodev", "1")
	b.add("lxc.rootfs.path", "dir:"+filepath.Join(b.Dir, "rootfs"))
	// What our hook mounts is seen by LXC alone, and goes with it however it ends.
	b.add("lxc.monitor.unshare", "1")
}

// DefaultTTYs is how many ttys a container has that says nothing of them.
const DefaultTTYs = 2

func (b *maker) terminals() {
	ttys := DefaultTTYs
	if b.Config.TTY != nil {
		ttys = *b.Config.TTY
	}
	b.addf("lxc.tty.max", "%d", ttys)
	b.add("lxc.tty.dir", b.ttyDir())
	b.add("lxc.pty.max", "1024")
	if c := b.Config.Console; c != nil && !*c {
		b.add("lxc.console.path", "none")
	}
}

// ttyDir is the folder below /dev for the ttys: mounts on nodes in /dev itself can be moved
// away. In a user namespace, and where the distribution looks for /dev/tty1 only, they have
// to be there all the same.
func (b *maker) ttyDir() string {
	if b.unprivileged() {
		return ""
	}
	switch b.ostype() {
	case "debian", "devuan", "ubuntu", "gentoo", "alpine", "unmanaged":
		return ""
	}
	return "lxc"
}

func (b *maker) ostype() string {
	if b.Config.OSType == nil {
		return "unmanaged"
	}
	return *b.Config.OSType
}

// defaultInit is what containers run that name no other.
const defaultInit = "/sbin/init"

// start says what runs first, in which environment, and by which signals it is told to end.
func (b *maker) start() {
	// Set-up scripts of some distributions expect a terminal of that kind.
	b.add("lxc.environment", "TERM=linux")
	key := "lxc.environment"
	if b.LXC.AtLeast(7, 0) {
		key = "lxc.environment.runtime" // of the container alone, not of its hooks
	}
	if b.Config.Env != nil {
		for pair := range strings.SplitSeq(*b.Config.Env, "\x00") {
			if pair != "" {
				b.add(key, pair)
			}
		}
	}
	if e := b.Config.Entrypoint; e != nil && *e != "" && *e != defaultInit {
		b.add("lxc.init.cmd", *e)
		// A plain program knows nothing of the signals of an init.
		b.add("lxc.signal.halt", "SIGTERM")
		return
	}
	if b.ostype() == "alpine" {
		// The init of busybox.
		b.add("lxc.signal.halt", "SIGUSR2")
		b.add("lxc.signal.reboot", "SIGTERM")
	}
}

func (b *maker) mounts() {
	sys := "sys:mixed"
	if b.unprivileged() && is(b.features.ForceRWSys) {
		sys = "sys:rw"
	}
	b.add("lxc.mount.auto", "cgroup:mixed proc:mixed "+sys)
	b.add("lxc.mount.entry", "/sys/fs/fuse/connections sys/fs/fuse/connections none bind,optional 0 0")
	if is(b.features.Nesting) {
		// The kernel lets a user namespace mount proc and sys only where it sees all of
		// one already.
		b.add("lxc.mount.entry", "proc dev/.lxc/proc proc create=dir,optional 0 0")
		b.add("lxc.mount.entry", "sys dev/.lxc/sys sysfs create=dir,optional 0 0")
	}
	if slices.ContainsFunc(b.Config.Points(), func(p container.Point) bool { return is(p.Quota) }) && !b.rawHas("lxc.mount.fstab") {
		b.add("lxc.mount.fstab", QuotaMounts(b.Dir))
	}
	if is(b.features.FUSE) {
		b.add("lxc.mount.entry", "/dev/fuse dev/fuse none bind,create=file 0 0")
	}
}

func (b *maker) hooks() {
	if b.LXCFS != "" {
		b.add("lxc.hook.mount", b.LXCFS)
	}
	if len(b.Hook) == 0 {
		return
	}
	phases := []string{"pre-start", "start-host", "post-stop"}
	if len(b.Config.Net) == 0 {
		phases = []string{"pre-start", "post-stop"} // there is nothing to join
	}
	for _, phase := range phases {
		b.add("lxc.hook."+phase, run.Quote(append(slices.Clone(b.Hook), phase)...))
	}
}

func is(option *bool) bool { return option != nil && *option }
