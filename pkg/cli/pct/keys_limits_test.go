package pct

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// limitCTs are containers that show what they may use of the machine: one with all that can be
// given, one with nothing, one that is privileged, and one that runs a program instead of an init.
func limitCTs() []keyCT { return []keyCT{given(), plain(), privileged(), programCT()} }

// keyctl is the system call, asking for the key ring of the session.
const keyctl = "/keyctl; echo $?"

// mknod makes the node of /dev/null.
const mknod = "mknod /run/node c 1 3 && echo x >/run/node && echo made"

func given() keyCT {
	const script = "#!/bin/sh\necho $2 >>ROOT/hooks\n"
	return keyCT{
		name: "given",
		lines: []string{
			"cores: 1", "cpulimit: 0.5", "cpuunits: 512", "memory: 48", "swap: 16", "tty: 4", "debug: 1", "hookscript: local:snippets/hook.sh",
			"features: force_rw_sys=1,fuse=1,keyctl=1,mknod=1,mount=ext4;nfs,nesting=1",
			"hostname: given.keys.example", "nameserver: 192.0.2.1 192.0.2.2", "searchdomain: one.example two.example", "timezone: Europe/Berlin",
			"dev0: path=/dev/zero,mode=0604,uid=12,gid=34", "dev1: /dev/loop-control,deny-write=1,mode=0666", "dev2: /dev/loop7,mode=0666",
		},
		prepare: func(t *testing.T, l *keyLab) {
			l.write("var/lib/vz/snippets/hook.sh", strings.ReplaceAll(script, "ROOT", l.root))
			l.file("/usr/share/zoneinfo/Europe/Berlin", zone("KEYS"))
			l.file("/keyctl", syscallProgram(t, unix.SYS_KEYCTL, 0, -3, 0))
		},
		starts: func(t *testing.T, out string) {
			fits(t, "start", `features:mknod needs the daemon lxc-syscalld, which does not run: the container cannot make device nodes`, out)
		},
		proofs: []keyProof{
			{keys: "cores", inside: "nproc; grep -o '^Cpus_allowed_list.*[0-9]' /proc/1/status | grep -c '[-,]'", want: `1\n0`},
			{keys: "memory", inside: `awk 'BEGIN { s = "x"; while (length(s) < 1e8) s = s s }' || echo no`, want: `(?s).*no`},
			{keys: "memory", show: group("memory/lxc/%d/memory.limit_in_bytes", "memory.max", "50331648")},
			{keys: "swap", show: group("memory/lxc/%d/memory.memsw.limit_in_bytes", "memory.swap.max", "67108864|16777216")},
			{keys: "cpulimit", inside: "timeout 0.5 sh -c 'while :; do :; done'", want: `(Terminated)?`},
			{keys: "cpulimit", show: shows(group("cpu/lxc/%d/cpu.cfs_quota_us", "cpu.max", "50000( 100000)?"), group("cpu/lxc/%d/cpu.stat", "cpu.stat", `(?s).*nr_periods [1-9].*`))},
			{keys: "cpuunits", show: group("cpu/lxc/%d/cpu.shares", "cpu.weight", "512")},
			{keys: "features features.nesting", inside: "cat /proc/self/uid_map | tr -s ' '; unshare -Um --map-root-user -p -f sh -c 'mount -t proc proc /mnt && echo $$'", want: ` 0 100000 65536\n1`},
			{keys: "features.keyctl", inside: keyctl, want: `0`},
			{keys: "features.fuse", inside: "stat -c '%F %t:%T' /dev/fuse; exec 3<>/dev/fuse && echo open", want: `character special file a:e5\nopen`},
			{keys: "features.mknod", inside: mknod, want: `mknod: .*Operation not permitted`},
			{keys: "features.mount", show: func(t *testing.T, l *keyLab) {
				if strings.Contains(l.said, "this kernel has no AppArmor") {
					return
				}
				lxcLines("lxc.apparmor.raw = mount fstype=ext4,", "lxc.apparmor.raw = mount fstype=nfs,")(t, l)
			}},
			{keys: "features.force_rw_sys", inside: "grep -E ' /sys sysfs ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1", want: `rw`},
			{keys: "dev[n] dev[n].path dev[n].mode dev[n].uid dev[n].gid", inside: "stat -c '%a %u %g %t:%T' /dev/zero; head -c 2 /dev/zero | wc -c", want: `604 12 34 1:5\n2`},
			{keys: "dev[n].deny-write", inside: "(exec 3</dev/loop-control) && echo reads; (exec 3>/dev/loop-control) || (exec 3<>/dev/loop-control) || echo no", want: `reads\n.*Operation not permitted\n.*Operation not permitted\nno`},
			{keys: "dev[n].path", inside: "stat -c '%F %a %t:%T' /dev/loop7", want: `block special file 666 7:7`},
			{keys: "tty", inside: "ls /dev | grep -c '^tty[0-9]'; grep -c '^tty[0-9]*::respawn:/sbin/getty' /etc/inittab", want: `4\n4`},
			{keys: "console", inside: "test -c /dev/console && echo x >/dev/console && echo written", want: `written`},
			{keys: "debug", show: func(t *testing.T, l *keyLab) { await(t, l.log(), ` TRACE `) }},
			{keys: "hostname", inside: "hostname; cat /etc/hostname; grep given /etc/hosts", want: `given\.?\S*\ngiven\S*\n.*\bgiven\.keys\.example given\b.*`},
			{keys: "nameserver searchdomain", inside: "cat /etc/resolv.conf", want: `# --- BEGIN PVE ---\nsearch one\.example two\.example\nnameserver 192\.0\.2\.1\nnameserver 192\.0\.2\.2\n# --- END PVE ---`},
			{keys: "timezone", inside: "readlink /etc/localtime; date +%Z", want: `/usr/share/zoneinfo/Europe/Berlin\nKEYS`},
			{keys: "hookscript", show: func(t *testing.T, l *keyLab) { await(t, l.path("hooks"), `^pre-start\npost-start\n$`) }},
			{keys: "unprivileged", show: user("100000")},
			{keys: "arch", inside: "uname -m", want: machine()},
		},
		stopped: func(t *testing.T, l *keyLab) {
			await(t, l.path("hooks"), `^pre-start\npost-start\npre-stop\npost-stop\n$`)
		},
	}
}

// plain is a container that has nothing of all that.
func plain() keyCT {
	return keyCT{
		name:  "plain",
		lines: []string{"console: 0", "tty: 0", "ostype: unmanaged", "nameserver: 192.0.2.1", "arch: i386"},
		prepare: func(t *testing.T, l *keyLab) {
			l.file("/keyctl", syscallProgram(t, unix.SYS_KEYCTL, 0, -3, 0))
		},
		proofs: []keyProof{
			{keys: "cores", inside: "nproc", want: strconv.Itoa(runtime.NumCPU())},
			{keys: "cpulimit", show: group("cpu/lxc/%d/cpu.cfs_quota_us", "cpu.max", `-1|max 100000`)},
			{keys: "cpuunits", show: group("cpu/lxc/%d/cpu.shares", "cpu.weight", "1024|100")},
			{keys: "features.nesting", inside: "unshare -Um --map-root-user -p -f mount -t proc proc /mnt && echo mounted", want: `.*([Pp]ermi(tted|ssion denied)).*`},
			{keys: "features.keyctl", inside: keyctl, want: `38`},
			{keys: "features.fuse", inside: "test -e /dev/fuse || echo none", want: `none`},
			{keys: "features.force_rw_sys", inside: "grep -E ' /sys sysfs ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1", want: `ro`},
			{keys: "console", inside: "test -c /dev/console || echo none", want: `none`},
			{keys: "tty", inside: "ls /dev | grep -c '^tty[0-9]'", want: `0`},
			{keys: "ostype", inside: "cat /etc/hostname; test -e /etc/resolv.conf || echo none", want: `testct\nnone`},
			{keys: "arch", inside: "uname -m", want: `i686`},
			{keys: "debug", show: func(t *testing.T, l *keyLab) {
				if text, _ := os.ReadFile(l.log()); bytes.Contains(text, []byte(" TRACE ")) {
					t.Error("all details are in the log, unasked")
				}
			}},
		},
	}
}

func privileged() keyCT {
	return keyCT{
		name: "privileged", shift: -1,
		lines: []string{
			"unprivileged: 0", "features: fuse=1", "dev0: /dev/loop-control,deny-write=1,mode=0600,uid=12", "dev1: /dev/fuse,deny-write=1",
			"memory: 48",
		},
		prepare: func(t *testing.T, l *keyLab) {
			l.file("/keyctl", syscallProgram(t, unix.SYS_KEYCTL, 0, -3, 0))
			l.file("/handle", syscallProgram(t, unix.SYS_OPEN_BY_HANDLE_AT, -1, 0, 0))
		},
		proofs: []keyProof{
			{keys: "unprivileged", inside: "cat /proc/self/uid_map | tr -s ' '; /handle; echo $?", want: ` 0 0 4294967295\n1`},
			{keys: "unprivileged", show: user("0")},
			{keys: "unprivileged", inside: mknod + "; mknod /run/kmem c 1 2; cat /run/kmem", want: `made\ncat: can't open '/run/kmem': Operation not permitted`},
			{keys: "features.keyctl", inside: keyctl, want: `0`}, // the filter is for others only
			{keys: "dev[n].deny-write dev[n].mode dev[n].uid", inside: "stat -c '%a %u %g' /dev/loop-control; (exec 3</dev/loop-control) && echo reads; (exec 3>/dev/loop-control) || echo no",
				want: `600 12 0\nreads\n.*Operation not permitted\nno`},
			{keys: "dev[n].deny-write", inside: "(exec 3</dev/fuse) && echo reads; (exec 3>/dev/fuse) || echo no", want: `reads\n.*Operation not permitted\nno`},
		},
	}
}

// programCT is a container of an application: a program takes the place of the init.
func programCT() keyCT {
	return keyCT{
		name: "program",
		lines: []string{
			`entrypoint: /entry.sh "first word" second`, "lxc.environment.runtime: GREETING=hello there", "lxc.environment.runtime: OTHER=x", "lxc.cap.keep: sys_time net_raw",
			"net0: name=eth0,bridge=BRIDGE,ip=NET77/24,gw=NET1,ip6=fd77::77/64,gw6=fd77::1,host-managed=1,type=veth",
		},
		ready: "for i in $(seq 600); do [ -s /args ] && break; sleep 0.1; done",
		prepare: func(t *testing.T, l *keyLab) {
			l.bridge, l.network = testct.Bridge(t)
			l.file("/entry.sh", "#!/bin/sh\nexport PATH=/bin:/sbin\ntrap 'exit 0' TERM\necho \"$#:$1:$2:$GREETING:$OTHER:$$\" >/args\nwhile :; do sleep 0.1; done\n")
		},
		proofs: []keyProof{
			{keys: "entrypoint env", inside: "cat /args; tr '\\0' '|' </proc/1/cmdline", want: `2:first word:second:hello there:x:1\n/bin/sh\|/entry\.sh\|first word\|second\|`},
			{keys: "lxc.cap.keep", inside: "awk '/CapBnd/ { print $2 }' /proc/1/status", want: `0000000002002000`},
			{keys: "entrypoint", show: lxcLines("lxc.signal.halt = SIGTERM")},
			{keys: "env", show: func(t *testing.T, l *keyLab) {
				fits(t, "config", `(?m)^env: GREETING=hello there\x00OTHER=x$`, l.run("config"))
			}},
			{keys: "net[n].host-managed", inside: "ip -4 -o addr show eth0 | grep -o 'inet [0-9./]*'; ip -6 -o addr show eth0 scope global | grep -o 'fd77::77/64'; ip route | grep default; ip -6 route | grep -o 'default via fd77::1'",
				want: `inet 10\.\d+\.\d+\.77/24\nfd77::77/64\ndefault via 10\.\d+\.\d+\.1 dev eth0 *\ndefault via fd77::1`},
			{keys: "net[n].host-managed", inside: "cat /etc/network/interfaces", want: `(?s).*iface eth0 inet manual.*`},
		},
	}
}

// group says what is in a file of the control group, of version 1 or 2.
func group(v1, v2, want string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		path := "/sys/fs/cgroup/" + fmt.Sprintf(v1, l.id)
		if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
			path = fmt.Sprintf("/sys/fs/cgroup/lxc/%d/%s", l.id, v2)
		} else if _, err := os.Stat(strings.Replace(path, fmt.Sprintf("lxc/%d/", l.id), "", 1)); err != nil && !strings.Contains(path, "cpu") {
			t.Skip(err) // this kernel does not count swap
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fits(t, path, `^(`+want+`)$`, strings.TrimSpace(string(text)))
	}
}

// user says who the init of the container is on the host.
func user(want string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.initPid()))
		if err != nil {
			t.Fatal(err)
		}
		fits(t, "init", `(?m)^Uid:\t`+want+`\t`, string(text))
	}
}

// log is where LXC's log is.
func (l *keyLab) log() string { return l.path(fmt.Sprintf("var/log/lxc/%d.log", l.id)) }

func machine() string {
	out, _ := exec.Command("uname", "-m").Output()
	return strings.TrimSpace(string(out))
}

// zone is a time zone of the given name, in the form of zoneinfo.
func zone(name string) string {
	b := &bytes.Buffer{}
	b.WriteString("TZif\x00" + strings.Repeat("\x00", 15))
	for _, count := range []uint32{0, 0, 0, 0, 1, uint32(len(name)) + 1} {
		_ = binary.Write(b, binary.BigEndian, count)
	}
	b.WriteString("\x00\x00\x0e\x10\x00\x00" + name + "\x00")
	return b.String()
}

// syscallProgram is a program that makes one system call and exits with its error.
func syscallProgram(t *testing.T, number int, args ...int64) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("makes programs for amd64 only")
	}
	code := &bytes.Buffer{}
	load := func(register string, value int64) {
		code.WriteString(register)
		_ = binary.Write(code, binary.LittleEndian, value)
	}
	load("\x48\xb8", int64(number))                                         // rax
	for i, register := range []string{"\x48\xbf", "\x48\xbe", "\x48\xba"} { // rdi, rsi, rdx
		load(register, args[i])
	}
	code.WriteString("\x0f\x05" + // syscall
		"\x48\x31\xff\x48\x85\xc0\x79\x06" + // rdi = 0; if rax < 0
		"\x48\x89\xc7\x48\xf7\xdf" + // rdi = -rax
		"\xb8\x3c\x00\x00\x00\x0f\x05") // exit
	const base, size = 0x400000, 64 + 56
	b := &bytes.Buffer{}
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	whole := uint64(size + code.Len())
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(base + size), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), whole, whole, uint64(4096),
	} {
		_ = binary.Write(b, binary.LittleEndian, v)
	}
	return b.String() + code.String()
}
