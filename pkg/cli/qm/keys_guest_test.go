package qm

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// keyStorage has what hook scripts and snippets need, and a second storage for states; ROOT stands
// for the world's folder.
const keyStorage = `dir: local
	path ROOT/var/lib/vz
	content images,iso,snippets,import

dir: second
	path ROOT/var/lib/second
	content images
`

// The hook script notes what it is told.
const keyHook = "#!/bin/sh\necho \"$1 $2\" >>\"$(dirname \"$0\")/told\"\n"

const keySSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtleXRlc3RrZXl0ZXN0a2V5dGVzdGtleXRlc3RrZXk1 me@there"

// bootedVMs are VMs whose guest is asked what it sees.
func bootedVMs() []keyVM { return []keyVM{guestVM(), uefiVM()} }

// pciCard says that the guest has a card.
func pciCard(vendor, device string) func(*testing.T, *keyLab) {
	return guestLike("cd /sys/bus/pci/devices; for d in *; do echo $(cat $d/vendor):$(cat $d/device); done", "0x"+vendor+":0x"+device)
}

func guestVM() keyVM {
	var port *wire
	return keyVM{
		name: "guest", state: booted, storage: keyStorage,
		prepare: func(t *testing.T, l *keyLab) {
			port = newPTY(t)
			l.write(t, "var/lib/vz/snippets/hook", keyHook)
			l.write(t, "var/lib/vz/snippets/vendor", "#cloud-config\n# of the vendor\n")
			l.write(t, "shared/file", "from the host")
			l.write(t, "etc/pve/mapping/directory.cfg", "share\n\tmap node=pve1,path="+l.root+"/shared\n")
			l.write(t, "key.pub", keySSH+"\n")
		},
		options: func(t *testing.T, l *keyLab) []any {
			return []any{"--sshkeys", filepath.Join(l.root, "key.pub"), "--serial1", port.name}
		},
		create: []string{
			"--name", "keys", "--ostype", "l26", "--memory", "352", "--balloon", "300", "--cores", "2", "--numa", "1", "--numa0", "cpus=0,memory=192",
			"--numa1", "cpus=1,memory=160,hostnodes=0,policy=bind", "--cpu", "qemu64,flags=+aes", "--affinity", "0", "--cpulimit", "1.5", "--cpuunits", "300",
			"--serial0", "socket", "--vga", "std", "--net0", "virtio=BC:24:11:00:00:07", "--net1", "e1000=BC:24:11:00:00:08,link_down=1", "--ide2", "local:cloudinit",
			"--ipconfig0", "ip=10.0.2.77/24,gw=10.0.2.2,ip6=fd00::77/64,gw6=fd00::1", "--ciuser", "anna", "--cipassword", "geheim", "--nameserver", "10.0.2.3", "--searchdomain", "lan.test",
			"--ciupgrade", "0", "--citype", "nocloud", "--cicustom", "vendor=local:snippets/vendor", "--rng0", "/dev/urandom", "--audio0", "device=AC97,driver=none",
			"--watchdog", "i6300esb,action=reset", "--smbios1", "uuid=12345678-1234-1234-1234-123456789012,manufacturer=Me,product=Pr,version=Ve,serial=Se,sku=Sk,family=Fa",
			"--startdate", "2006-06-17T16:01:21", "--hookscript", "local:snippets/hook", "--tags", "blue;red", "--description", "first\nsecond", "--vmgenid", "11111111-2222-3333-4444-555555555555",
			"--virtiofs0", "share,cache=never,direct-io=1,expose-xattr=1,expose-acl=1", "--ivshmem", "size=1,name=keys-guest", "--scsihw", "virtio-scsi-pci", "--reboot", "0",
			"--scsi1", "local:1,serial=SER1,wwn=0x5000000000000001,vendor=Acme,product=Rocket,ssd=1,discard=on", "--scsi2", "local:1,ro=1", "--virtio0", "local:1,serial=SER2,mbps_rd=2",
		},
		proofs: []keyProof{
			{"agent agent.enabled", inGuest("cat /sys/class/virtio-ports/*/name | sort | tail -1", "org.qemu.guest_agent.0")},
			{"name", all(human("info name", "keys"), guestLike("hostname", "keys"))},
			{"cores", inGuest("nproc", "2")},
			{"cpu", guestLike("cat /proc/cpuinfo", `flags.* aes `)},
			{"numa[n] numa[n].cpus numa[n].memory", all(inGuest("cat /sys/devices/system/node/node1/cpulist", "1"), human("info numa", "node 0 size: 192 MB", "node 1 size: 160 MB"))},
			{"numa[n].hostnodes numa[n].policy", query("query-memdev", `"policy": ?"bind"`, `"host-nodes": ?\[0\]`)},
			{"affinity", onHost("/proc/PID/status", `Cpus_allowed_list:\s0\n`)},
			{"cpulimit", cpuGroup("cpu.cfs_quota_us", "150000")},
			{"cpuunits", cpuGroup("cpu.shares", "300")},
			{"balloon", ballooned(300)},
			{"ostype", all(arg(`virtio-net-pci`), line([]string{"--ostype", "win10", "--delete", "virtiofs0"}, `driftfix=slew`, `hpet=off`, `edid=off`, `type=pc-i440fx-5\.1`))},
			{"smbios1 smbios1.*", inGuest("cd /sys/class/dmi/id; cat product_uuid sys_vendor product_name product_version product_serial product_sku product_family | tr '\\n' ' '",
				"12345678-1234-1234-1234-123456789012 Me Pr Ve Se Sk Fa")},
			{"startdate", guestLike("date -u", `Jun 17 16:0\d.*2006`)},
			{"acpi vmgenid", guestLike("ls /sys/bus/acpi/devices", `QEMUVGID`)},
			{"rng0", guestLike("cat /sys/class/misc/hw_random/rng_available", `virtio_rng`)},
			{"audio0", pciCard("8086", "2415")},
			{"watchdog", pciCard("8086", "25ab")},
			{"vga", pciCard("1234", "1111")},
			{"ivshmem", all(pciCard("1af4", "1110"), removeShared("keys-guest"))},
			{"scsihw", inGuest("ls /sys/bus/virtio/drivers/virtio_scsi | grep -c virtio", "1")},
			{"scsi[n]", guestLike("for d in /sys/block/sd*; do cat $d/device/vendor $d/device/model; done", `Acme\s+Rocket`)},
			{"scsi[n].wwn", guestLike("cat /sys/block/sd*/device/wwid 2>/dev/null; true", `naa\.5000000000000001`)},
			{"scsi[n].serial", guestLike("cat /sys/block/sd*/device/vpd_pg80 2>/dev/null; true", `SER1`)},
			{"scsi[n].ssd scsi[n].discard", guestLike("for d in /sys/block/sd*; do echo $(cat $d/device/vendor $d/queue/rotational) $([ $(cat $d/queue/discard_max_bytes) -gt 0 ] && echo discards); done", `Acme 0 discards`)},
			{"scsi[n].discard", discards},
			{"disk.mbps_rd", throttled},
			{"scsi[n].ro", guestLike("cat /sys/block/sd*/ro | sort | uniq -c | tr -s ' '", `1 1`)},
			{"virtio[n] virtio[n].serial", inGuest("cat /sys/block/vda/serial", "SER2")},
			{"net[n] net[n].virtio net[n].macaddr", inGuest("cat /sys/class/net/eth0/address", "bc:24:11:00:00:07")},
			{"net[n].bridge", natReaches},
			{"net[n].link_down", linkDown},
			{"serial[n]", all(console, inGuest("cat /sys/class/tty/ttyS1/port", "0x2F8"), func(t *testing.T, l *keyLab) { port.hears(t, l) })},
			{"ipconfig[n] ipconfig[n].ip ipconfig[n].gw", guestLike("ip -4 addr show eth0; ip route", `(?s)10\.0\.2\.77/24.*default via 10\.0\.2\.2`)},
			{"ipconfig[n].ip6 ipconfig[n].gw6", seedHas("network-config", `fd00::77/64`, `fd00::1`)},
			{"nameserver searchdomain", seedHas("network-config", `10\.0\.2\.3`, `lan\.test`)},
			{"ciuser cipassword sshkeys", seedHas("user-data", `user: anna`, `password: \$5\$`, `ssh-ed25519 AAAA`)},
			{"ciupgrade", func(t *testing.T, l *keyLab) {
				if text, _ := l.guestOf(t, 100, "cat /mnt/c/user-data"); strings.Contains(text, "package_upgrade: true") {
					t.Error(text)
				}
			}},
			{"cicustom cicustom.vendor", seedHas("vendor-data", `# of the vendor`)},
			{"citype", inGuest("dd if=/dev/sr0 bs=1 skip=32808 count=6 2>/dev/null", "cidata")},
			{"virtiofs[n] virtiofs[n].dirid", inGuest("modprobe virtiofs; mkdir -p /mnt/s; mount -t virtiofs share /mnt/s && cat /mnt/s/file", "from the host")},
			{"virtiofs[n].cache virtiofs[n].direct-io virtiofs[n].expose-xattr virtiofs[n].expose-acl", folderServer},
			{"tags", stored(`tags: blue;red`)}, // for people and filters: the web UI shows them
			{"description", stored(`(#first\n#second|description: first%0Asecond)`)},
			{"template", func(t *testing.T, l *keyLab) { l.fails(t, "running", "template", "100") }},
			{"reboot hookscript", endsWithReboot},
		},
	}
}

func uefiVM() keyVM {
	return keyVM{
		name: "uefi", state: booted,
		create: []string{
			"--memory", "256", "--machine", "q35", "--bios", "ovmf", "--efidisk0", "local:1,efitype=4m,format=qcow2", "--tpmstate0", "local:1,version=v2.0", "--serial0", "socket",
			"--ostype", "l26", "--vga", "none", "--scsihw", "virtio-scsi-pci", "--sata0", "local:1,ssd=1",
		},
		proofs: []keyProof{
			{"bios", inGuest("[ -d /sys/firmware/efi ] && echo yes", "yes")},
			{"efidisk0 efidisk0.file efidisk0.volume efidisk0.efitype efidisk0.size efidisk0.format", all(stored(`efidisk0: local:100/vm-100-disk-\d\.qcow2,efitype=4m,size=528K`), query("query-named-block-nodes", `"drive-efidisk0"`))},
			{"tpmstate0 tpmstate0.*", all(guestLike("ls /sys/firmware/acpi/tables", `TPM2`), stored(`tpmstate0: local:100/vm-100-disk-\d\.raw,size=4M,version=v2\.0`), query("query-tpm", `emulator`))},
			{"machine", pciCard("8086", "29c0")},
			{"sata[n]", pciCard("8086", "2922")},
		},
	}
}

// removeShared shows that a file of shared memory is there, and removes it: it would stay
// for other guests.
func removeShared(name string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		if err := os.Remove("/dev/shm/pve-shm-" + name); err != nil {
			t.Error(err)
		}
	}
}

// onHost says what a file of the host has; PID stands for QEMU's process.
func onHost(path, pattern string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		text, err := os.ReadFile(strings.ReplaceAll(path, "PID", fmt.Sprint(l.pid(t))))
		if err != nil {
			t.Fatal(err)
		}
		fits(t, path, pattern, string(text))
	}
}

// cpuGroup says what a file of the control group for CPU time has.
func cpuGroup(name, want string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", l.pid(t)))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(parts) != 3 || parts[1] != "cpu" && parts[1] != "cpu,cpuacct" {
				continue
			}
			text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", parts[1], parts[2], name))
			if got := strings.TrimSpace(string(text)); err != nil || got != want {
				t.Errorf("%s: %q, %v; want %s", name, got, err, want)
			}
			return
		}
		t.Skip("the machine has no cpu controller of cgroup v1")
	}
}

// ballooned says that the guest has given memory back.
func ballooned(mebibytes int) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		l.await(t, "the guest gives memory back", func() bool {
			var got struct{ Actual int64 }
			l.call(t, "query-balloon", nil, &got)
			return got.Actual == int64(mebibytes)<<20
		})
	}
}

// natReaches shows that a guest without a bridge reaches its host.
func natReaches(t *testing.T, l *keyLab) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
	go server.Serve(listener) //nolint:errcheck // ends with the test
	defer server.Close()
	inGuest(fmt.Sprintf("wget -q -O - http://10.0.2.2:%d/", listener.Addr().(*net.TCPAddr).Port), "hello")(t, l)
}

// discards shows that what the guest gives up becomes a hole in the image.
func discards(t *testing.T, l *keyLab) {
	const disk = "d=$(grep -l Acme /sys/block/sd*/device/vendor | cut -d/ -f4); "
	used := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(l.root, "var/lib/vz/images/100/vm-100-disk-1.raw"), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	inGuest(disk+"dd if=/dev/urandom of=/dev/$d bs=1M count=8 oflag=direct 2>/dev/null && echo done", "done")(t, l)
	if n := used(); n < 8<<20 {
		t.Errorf("%d bytes after 8 MiB were written", n)
	}
	inGuest(disk+"blkdiscard /dev/$d && echo done", "done")(t, l)
	if n := used(); n > 1<<20 {
		t.Errorf("%d bytes after all was discarded", n)
	}
}

// throttled shows that a limit of 2 MiB a second slows the guest.
func throttled(t *testing.T, l *keyLab) {
	begun := time.Now()
	inGuest("dd if=/dev/vda of=/dev/null bs=1M count=6 iflag=direct 2>/dev/null && echo done", "done")(t, l)
	if took := time.Since(begun); took < 1500*time.Millisecond {
		t.Errorf("6 MiB in %v", took)
	}
}

// console shows that a serial port that is a socket leads to the guest's shell.
func console(t *testing.T, l *keyLab) {
	conn, err := net.Dial("unix", l.dir.Serial(100, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "\necho $((40+2))-hello\n"); err != nil {
		t.Fatal(err)
	}
	var heard strings.Builder
	for buffer := make([]byte, 256); !strings.Contains(heard.String(), "42-hello"); {
		n, err := conn.Read(buffer)
		heard.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v after %q", err, heard.String())
		}
	}
}

// linkDown shows that a card can be unplugged, and plugged in again while the VM runs.
func linkDown(t *testing.T, l *keyLab) {
	carrier := func(want string) {
		t.Helper()
		l.await(t, "carrier "+want, func() bool {
			got, _ := l.guestOf(t, 100, "cat /sys/class/net/eth0/carrier")
			return got == want
		})
	}
	carrier("1")
	const card = "virtio=BC:24:11:00:00:07"
	l.do(t, "set", "100", "--net0", card+",link_down=1")
	carrier("0")
	l.do(t, "set", "100", "--net0", card)
	carrier("1")
}

// seedHas says what a file of the cloud-init disc has, as the guest reads it.
func seedHas(name string, patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		text, _ := l.guestOf(t, 100, "mkdir -p /mnt/c; mount -t iso9660 /dev/sr0 /mnt/c 2>/dev/null; cat /mnt/c/"+name)
		for _, pattern := range patterns {
			fits(t, name, pattern, text)
		}
	}
}

// folderServer shows how the server of a shared folder was called.
func folderServer(t *testing.T, l *keyLab) {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		raw, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(raw, []byte("virtiofsd")) || !bytes.Contains(raw, []byte(l.root)) {
			continue
		}
		line := string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '}))
		fits(t, "virtiofsd", `cache[= ](never|none)`, line)
		fits(t, "virtiofsd", `allow[-_]direct[-_]io`, line)
		fits(t, "virtiofsd", `xattr`, line)
		fits(t, "virtiofsd", `posix[-_]acl`, line)
		return
	}
	t.Error("no virtiofsd")
}

// endsWithReboot shows that a guest that reboots ends a VM that must not, and what the
// hook script is told.
func endsWithReboot(t *testing.T, l *keyLab) {
	l.guestOf(t, 100, "(sleep 0.3; reboot -f) >/dev/null 2>&1 &")
	l.await(t, "the VM ends", func() bool { return strings.Contains(l.do(t, "status", "100"), "stopped") })
	want := "100 pre-start\n100 post-start\n100 post-stop\n"
	path := filepath.Join(l.root, "var/lib/vz/snippets/told")
	l.await(t, "the hook script is told", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && string(text) == want
	})
}

// wire is a terminal of the host that a serial port of the guest is wired to.
type wire struct {
	name string
	end  *os.File
}

func newPTY(t *testing.T) *wire {
	t.Helper()
	near, far, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return &wire{name: far.Name(), end: near}
}

// hears shows that what the guest writes to its second port comes out at the terminal.
func (p *wire) hears(t *testing.T, l *keyLab) {
	if err := p.end.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if text, ok := l.guestOf(t, 100, "echo over the wire > /dev/ttyS1"); !ok {
		t.Fatal(text)
	}
	buffer := make([]byte, 13)
	if _, err := io.ReadFull(p.end, buffer); err != nil || string(buffer) != "over the wire" {
		t.Errorf("heard %q, %v", buffer, err)
	}
}
