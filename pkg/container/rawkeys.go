package container

import (
	"strings"
)

// RawKey tells whether a configuration may have a line for LXC with the given key, and
// what is to be said of it. Lists and words are upstream's.
func RawKey(key string) (kept bool, remark string) {
	switch key {
	case "lxc.rootfs.path":
		return false, "lxc.rootfs.path is auto generated from rootfs"
	case "lxc.rootfs.options":
		return false, "lxc.rootfs.options is not supported, please use mount point options in the 'rootfs' key"
	}
	if name, ok := renamedKey(key); ok {
		return true, "is deprecated and was renamed to " + name
	}
	if strings.HasPrefix(key, "lxc.limit.") {
		return true, "lxc.limit.* was renamed to lxc.prlimit.*"
	}
	for _, prefix := range []string{"lxc.cgroup.", "lxc.cgroup2.", "lxc.prlimit.", "lxc.net."} {
		if strings.HasPrefix(key, prefix) {
			return isRawName(key), ""
		}
	}
	return isRawKey(key), ""
}

// CurrentKey returns what LXC calls a key now that had another name once.
func CurrentKey(key string) string {
	if rest, ok := strings.CutPrefix(key, "lxc.limit."); ok {
		return "lxc.prlimit." + rest
	}
	if name, ok := renamedKey(key); ok {
		return name
	}
	return key
}

// isRawName tells whether a key has only the characters that keys may have.
func isRawName(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// isRawKey tells whether LXC knows a key that containers may have.
func isRawKey(key string) bool {
	switch key {
	case "lxc.apparmor.allow_incomplete", "lxc.apparmor.allow_nesting", "lxc.apparmor.profile", "lxc.apparmor.raw", "lxc.arch", "lxc.autodev", "lxc.cap.drop", "lxc.cap.keep",
		"lxc.console.logfile", "lxc.console.path", "lxc.devtty.dir", "lxc.environment", "lxc.environment.hooks", "lxc.environment.runtime", "lxc.group",
		"lxc.hook.autodev", "lxc.hook.clone", "lxc.hook.destroy", "lxc.hook.mount", "lxc.hook.post-stop", "lxc.hook.pre-mount", "lxc.hook.pre-start", "lxc.hook.start", "lxc.hook.stop", "lxc.hook.version",
		"lxc.idmap", "lxc.include", "lxc.init.cmd", "lxc.init.cwd", "lxc.init.gid", "lxc.init.groups", "lxc.init.uid", "lxc.kmsg", "lxc.log.file", "lxc.log.level",
		"lxc.mount.auto", "lxc.mount.entry", "lxc.mount.fstab", "lxc.pty.max", "lxc.rootfs.mount", "lxc.seccomp.notify.cookie", "lxc.seccomp.notify.proxy", "lxc.seccomp.profile",
		"lxc.selinux.context", "lxc.signal.halt", "lxc.signal.reboot", "lxc.signal.stop", "lxc.start.auto", "lxc.start.delay", "lxc.start.order",
		"lxc.sysctl.fs.mqueue", "lxc.sysctl.kernel.msgmax", "lxc.sysctl.kernel.msgmnb", "lxc.sysctl.kernel.msgmni", "lxc.sysctl.kernel.sem", "lxc.sysctl.kernel.shm_rmid_forced",
		"lxc.sysctl.kernel.shmall", "lxc.sysctl.kernel.shmmax", "lxc.sysctl.kernel.shmmni", "lxc.tty.max", "lxc.uts.name":
		return true
	}
	return false
}

// renamedKey returns the name that a key of LXC before 2.1 has since.
func renamedKey(key string) (string, bool) {
	if rest, ok := strings.CutPrefix(key, "lxc.network."); ok {
		switch rest {
		case "ipv4", "ipv6":
			return "lxc.net.INDEX." + rest + ".address", true
		case "type", "flags", "link", "mtu", "name", "hwaddr", "ipv4.gateway", "ipv6.gateway", "script.up", "script.down":
			return "lxc.net.INDEX." + rest, true
		}
		return "", false
	}
	for _, pair := range [][2]string{
		{"lxc.aa_allow_incomplete", "lxc.apparmor.allow_incomplete"},
		{"lxc.aa_profile", "lxc.apparmor.profile"},
		{"lxc.console", "lxc.console.path"},
		{"lxc.devttydir", "lxc.tty.dir"},
		{"lxc.haltsignal", "lxc.signal.halt"},
		{"lxc.id_map", "lxc.idmap"},
		{"lxc.init_cmd", "lxc.init.cmd"},
		{"lxc.logfile", "lxc.log.file"},
		{"lxc.loglevel", "lxc.log.level"},
		{"lxc.mount", "lxc.mount.fstab"},
		{"lxc.pts", "lxc.pty.max"},
		{"lxc.rebootsignal", "lxc.signal.reboot"},
		{"lxc.se_context", "lxc.selinux.context"},
		{"lxc.seccomp", "lxc.seccomp.profile"},
		{"lxc.stopsignal", "lxc.signal.stop"},
		{"lxc.tty", "lxc.tty.max"},
		{"lxc.utsname", "lxc.uts.name"},
	} {
		if pair[0] == key {
			return pair[1], true
		}
	}
	return "", false
}
