package pct

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// rawCTs are containers with lines for LXC: ones that act, ones that are only handed on, and ones
// that are not.
func rawCTs() []keyCT { return []keyCT{rawLines(), rawProgram(), rawHanded()} }

// hookNames are the hooks of LXC that run in the life of a container.
const hookNames = "pre-start pre-mount mount autodev start stop post-stop"

func rawLines() keyCT {
	lines := []string{
		"ostype: unmanaged",
		"lxc.idmap: u 0 200000 65536", "lxc.id_map: g 0 200000 65536",
		"lxc.utsname: renamed", "lxc.tty: 3", "lxc.devttydir: keys", "lxc.pts: 50",
		"lxc.mount.entry: tmpfs mnt tmpfs size=64k 0 0", "lxc.mount: ROOT/fstab", "lxc.mount.auto: proc:rw",
		"lxc.environment: FROM=lxc", "lxc.include: ROOT/more.conf",
		"lxc.init_cmd: /sbin/init ", "lxc.cap.drop: sys_chroot net_raw",
		"lxc.prlimit.nofile: 77", "lxc.limit.nproc: 4321",
		"lxc.sysctl.kernel.shmmax: 123456", "lxc.sysctl.kernel.shmall: 2222", "lxc.sysctl.kernel.shmmni: 333", "lxc.sysctl.kernel.shm_rmid_forced: 1",
		"lxc.sysctl.kernel.msgmax: 4444", "lxc.sysctl.kernel.msgmnb: 5555", "lxc.sysctl.kernel.msgmni: 66", "lxc.sysctl.kernel.sem: 250 256000 100 777",
		"lxc.console.logfile: ROOT/console.log", "lxc.haltsignal: SIGUSR2", "lxc.rebootsignal: SIGTERM", "lxc.stopsignal: SIGKILL",
		"lxc.seccomp: ROOT/seccomp", "lxc.autodev: 1", "lxc.hook.version: 1", "lxc.aa_profile: unconfined",
		"lxc.start.auto: 1", "lxc.start.delay: 5", "lxc.start.order: 3", "lxc.group: keys",
		"lxc.cgroup.pids.max: 999", "lxc.cgroup2.pids.max: 999",
		"lxc.network.type: veth", "lxc.network.link: BRIDGE", "lxc.network.flags: up", "lxc.network.name: old0", "lxc.network.hwaddr: 02:00:00:00:00:07",
		"lxc.network.mtu: 1300", "lxc.network.ipv4: NET61/24", "lxc.network.ipv4.gateway: NET1", "lxc.network.ipv6: fd77::61/64", "lxc.network.ipv6.gateway: fd77::1",
		"lxc.network.script.up: ROOT/net.sh up", "lxc.network.script.down: ROOT/net.sh down",
		"lxc.net.5.type: veth", "lxc.net.5.link: BRIDGE", "lxc.net.5.name: raw5", "lxc.net.5.ipv4.address: NET62/24", "lxc.net.5.flags: up",
	}
	for name := range strings.FieldsSeq(hookNames) {
		line := "ROOT/hook.sh " + name
		if name == "start" {
			line = "/started.sh" // in the container, where LXC looks for it before it takes words apart
		}
		lines = append(lines, "lxc.hook."+name+": "+line)
	}
	told := func(key, want string) func(*testing.T, *keyLab) {
		return func(t *testing.T, l *keyLab) {
			t.Helper()
			fits(t, key, `(?m)^`+want+`$`, command(t, "lxc-info", "-P", l.path("var/lib/lxc"), "-n", strconv.Itoa(l.id), "-c", key))
		}
	}
	shm := "cd /proc/sys/kernel; cat shmmax shmall shmmni shm_rmid_forced msgmax msgmnb msgmni; cat sem | tr '\\t' ' '"
	return keyCT{
		name: "raw", shift: 200000, lines: lines,
		prepare: func(t *testing.T, l *keyLab) {
			l.bridge, l.network = testct.Bridge(t)
			script := l.fill("#!/bin/sh\necho $1 >>ROOT/hooks\n")
			for name, text := range map[string]string{
				"hook.sh": script, "net.sh": l.fill("#!/bin/sh\necho $1 >>ROOT/nets\n"), "hooks": "", "nets": "",
				"fstab": l.fill("ROOT/srv srv none bind,create=dir 0 0\n"), "srv/file": "by fstab\n", "more.conf": "lxc.environment = INCLUDED=1\n",
				"seccomp": "2\ndenylist\n[all]\nkeyctl errno 77\n",
			} {
				l.write(name, text)
			}
			for name, mode := range map[string]os.FileMode{"hooks": 0o666, "srv": 0o755} {
				if err := os.Chmod(l.path(name), mode); err != nil {
					t.Fatal(err)
				}
			}
			l.file("/started.sh", "#!/bin/sh\necho start >/started\n")
			l.file("/keyctl", syscallProgram(t, unix.SYS_KEYCTL, 0, -3, 0))
		},
		starts: func(t *testing.T, out string) {
			fits(t, "start", `this machine has control groups of another version: lines lxc\.cgroup2?\.\* are skipped`, out)
		},
		stopped: func(t *testing.T, l *keyLab) {
			text, _ := os.ReadFile(l.path("hooks"))
			for name := range strings.FieldsSeq("pre-start pre-mount mount autodev stop post-stop") {
				fits(t, "hooks", `(?m)^`+name+`$`, string(text))
			}
			nets, _ := os.ReadFile(l.path("nets"))
			fits(t, "scripts of the network", `^up\ndown\n$`, string(nets))
		},
		proofs: []keyProof{
			{keys: "lxc.idmap lxc.id_map", inside: "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; stat -c %u:%g /bin/busybox", want: ` 0 200000 65536\n 0 200000 65536\n0:0`},
			{keys: "lxc.idmap", show: user("200000")},
			{keys: "lxc.uts.name lxc.utsname", show: told("lxc.uts.name", "lxc.uts.name = renamed")},
			{keys: "lxc.tty lxc.tty.max lxc.devttydir", inside: "ls /dev | grep -c '^tty[0-9]'; ls /dev/keys | grep -c '^tty[0-9]'", want: `3\n3`},
			{keys: "lxc.pts lxc.pty.max", inside: "grep ' /dev/pts ' /proc/mounts | grep -o 'max=[0-9]*'", want: `max=5\d`},
			{keys: "lxc.mount lxc.mount.fstab lxc.mount.entry", inside: "cat /srv/file; grep ' /mnt tmpfs ' /proc/mounts | grep -o size=64k", want: `by fstab\nsize=64k`},
			{keys: "lxc.mount.auto", inside: "grep -c ' /proc/sys ' /proc/mounts", want: `0`}, // else it cannot be written to, and the next ones would fail
			{keys: "lxc.environment lxc.include", inside: "tr '\\0' '\\n' </proc/1/environ | grep -E 'FROM|INCLUDED' | sort", want: `FROM=lxc\nINCLUDED=1`},
			{keys: "lxc.init_cmd", show: told("lxc.init.cmd", "lxc.init.cmd = /sbin/init *")},
			{keys: "lxc.cap.drop", inside: "c=0x$(awk '/CapBnd/ { print $2 }' /proc/1/status); echo $((c >> 18 & 1)) $((c >> 13 & 1)) $((c >> 0 & 1))", want: `0 0 1`},
			{keys: "lxc.prlimit.* lxc.limit.*", inside: "awk '/open files/ { print $4 } /Max processes/ { print $3 }' /proc/1/limits | sort -n", want: `77\n4321`},
			{keys: "lxc.sysctl.kernel.shmmax lxc.sysctl.kernel.shmall lxc.sysctl.kernel.shmmni lxc.sysctl.kernel.shm_rmid_forced lxc.sysctl.kernel.msgmax lxc.sysctl.kernel.msgmnb lxc.sysctl.kernel.msgmni lxc.sysctl.kernel.sem",
				inside: shm, want: `123456\n2222\n333\n1\n4444\n5555\n66\n250 256000 100 777`},
			{keys: "lxc.console.logfile", show: func(t *testing.T, l *keyLab) { await(t, l.path("console.log"), testct.Ready) }},
			{keys: "lxc.signal.halt lxc.haltsignal", show: told("lxc.signal.halt", "lxc.signal.halt = (SIGUSR2|12)")},
			{keys: "lxc.signal.reboot lxc.rebootsignal", show: told("lxc.signal.reboot", "lxc.signal.reboot = (SIGTERM|15)")},
			{keys: "lxc.signal.stop lxc.stopsignal", show: told("lxc.signal.stop", "lxc.signal.stop = (SIGKILL|9)")},
			{keys: "lxc.seccomp lxc.seccomp.profile", inside: keyctl, want: `77`},
			{keys: "lxc.autodev", inside: "grep -c ' /dev tmpfs ' /proc/mounts", want: `1`},
			{keys: "lxc.aa_profile lxc.apparmor.profile", show: told("lxc.apparmor.profile", "lxc.apparmor.profile = unconfined")},
			{keys: "lxc.start.auto lxc.start.delay lxc.start.order lxc.group", show: shows(told("lxc.start.auto", ".*1"), told("lxc.start.delay", ".*5"), told("lxc.start.order", ".*3"), told("lxc.group", "keys|lxc.group = keys"))},
			{keys: "lxc.cgroup.* lxc.cgroup2.*", show: group("pids/lxc/%d/pids.max", "pids.max", "999")},
			{keys: "lxc.hook.version lxc.hook.pre-start lxc.hook.pre-mount lxc.hook.mount lxc.hook.autodev", show: func(t *testing.T, l *keyLab) {
				await(t, l.path("hooks"), `(?s)pre-start\n.*pre-mount\n.*mount\n.*autodev\n`)
			}},
			{keys: "lxc.hook.start lxc.hook.stop lxc.hook.post-stop", inside: "cat /started", want: `start`}, // the others once it has stopped
			{
				keys:   "lxc.network.type lxc.network.link lxc.network.flags lxc.network.name lxc.network.hwaddr lxc.network.mtu lxc.network.ipv4 lxc.network.ipv4.gateway lxc.network.ipv6 lxc.network.ipv6.gateway",
				inside: "cd /sys/class/net/old0; cat address mtu; ip -4 -o addr show old0 | grep -o 'inet [0-9./]*'; ip -6 -o addr show old0 | grep -o 'fd77::61/64'; ip route | grep -o 'default via [0-9.]*'; ip -6 route | grep -o 'default via fd77::1'",
				want:   `02:00:00:00:00:07\n1300\ninet 10\.\d+\.\d+\.61/24\nfd77::61/64\ndefault via 10\.\d+\.\d+\.1\ndefault via fd77::1`,
			},
			{keys: "lxc.network.script.up lxc.network.script.down", show: func(t *testing.T, l *keyLab) { await(t, l.path("nets"), `^up\n`) }},
			{keys: "lxc.net.*", inside: "ip -4 -o addr show raw5 | grep -o 'inet [0-9./]*'", want: `inet 10\.\d+\.\d+\.62/24`},
		},
	}
}

// rawProgram is a container whose program is started as lines for LXC have it.
func rawProgram() keyCT {
	return keyCT{
		name: "raw program", ready: "sleep 0.2",
		lines: []string{
			"entrypoint: /bin/sleep 1", "lxc.init.cmd: /bin/sleep 1000", "lxc.init.cwd: /www", "lxc.init.uid: 1000", "lxc.init.gid: 1001", "lxc.init.groups: 7,8",
			"lxc.console: none", "lxc.net.0.type: empty",
		},
		prepare: func(t *testing.T, l *keyLab) {
			out, err := exec.CommandContext(t.Context(), "lxc-start", "--version").Output()
			if err != nil || strings.HasPrefix(string(out), "4.") {
				t.Skip("lxc.init.groups needs LXC 5")
			}
		},
		proofs: []keyProof{
			{keys: "lxc.init.cmd lxc.init.cwd", inside: "tr '\\0' ' ' </proc/1/cmdline", want: `/bin/sleep 1000 `, show: func(t *testing.T, l *keyLab) {
				at, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", l.initPid()))
				if err != nil {
					t.Fatal(err)
				}
				fits(t, "working folder", `/www$`, at)
			}},
			{keys: "lxc.init.uid lxc.init.gid", inside: "awk '/^(Uid|Gid)/ { print $1, $2, $3 }' /proc/1/status", want: `Uid: 1000 1000\nGid: 1001 1001`},
			{keys: "lxc.init.groups", show: lxcLines("lxc.init.groups = 7,8")},
			{keys: "lxc.console lxc.console.path", inside: "test -c /dev/console || echo none", want: `none`},
		},
	}
}

// rawHanded is a container off whose lines are handed to LXC, which need not know them.
func rawHanded() keyCT {
	handed := map[string]string{
		"lxc.aa_allow_incomplete": "1", "lxc.apparmor.allow_incomplete": "1", "lxc.apparmor.allow_nesting": "1", "lxc.apparmor.raw": "mount,",
		"lxc.arch": "i686", "lxc.devtty.dir": "x", "lxc.environment.hooks": "A=1", "lxc.environment.runtime": "B=2",
		"lxc.hook.clone": "/bin/true", "lxc.hook.destroy": "/bin/true", "lxc.kmsg": "0",
		"lxc.log.file": "/tmp/x", "lxc.logfile": "/tmp/x", "lxc.log.level": "1", "lxc.loglevel": "1",
		"lxc.se_context": "a:b:c", "lxc.selinux.context": "a:b:c", "lxc.seccomp.notify.cookie": "x", "lxc.seccomp.notify.proxy": "unix:/x",
		"lxc.sysctl.fs.mqueue": "1", "lxc.rootfs.mount": "/usr/lib/lxc/rootfs",
	}
	renamed := map[string]string{
		"lxc.aa_allow_incomplete": "lxc.apparmor.allow_incomplete", "lxc.logfile": "lxc.log.file", "lxc.loglevel": "lxc.log.level", "lxc.se_context": "lxc.selinux.context",
		// LXC before version 7 knows one environment only.
		"lxc.environment.runtime": "lxc.environment", "lxc.environment.hooks": "lxc.environment",
	}
	var keys, lines, want []string
	for key, value := range handed {
		keys, lines = append(keys, key), append(lines, key+": "+value)
		if name := renamed[key]; name != "" {
			key = name
		}
		want = append(want, key+" = "+value)
	}
	return keyCT{
		name: "raw handed", off: true,
		proofs: []keyProof{
			{keys: strings.Join(keys, " "), show: line(lines, want...)},
			{keys: "lxc.rootfs.path lxc.rootfs.options", show: func(t *testing.T, l *keyLab) {
				l.with(t, []string{"lxc.rootfs.path: /", "lxc.rootfs.options: bind", "lxc.unheard: 1", "lxc.utsname: old"}, func() {
					out := l.run("config")
					for _, text := range []string{
						"lxc.rootfs.path is auto generated from rootfs", "lxc.rootfs.options is not supported, please use mount point options in the 'rootfs' key",
						"lxc.utsname: is deprecated and was renamed to lxc.uts.name",
					} {
						fits(t, "config", regexp.QuoteMeta(text), out)
					}
					line([]string{"lxc.rootfs.path: /", "lxc.rootfs.options: bind", "lxc.unheard: 1"}, "lxc.rootfs.path = dir:ROOT/var/lib/lxc/ID/rootfs")(t, l)
					if made := l.made(); strings.Contains(made, "lxc.unheard") || strings.Contains(made, "lxc.rootfs.options") || strings.Contains(made, fmt.Sprintln("lxc.rootfs.path = /")) {
						t.Errorf("LXC is told: %s", made)
					}
				})
			}},
		},
	}
}
