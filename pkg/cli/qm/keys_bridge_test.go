package qm

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Two VMs on a bridge, in a network of their own.
func TestKeysBridge(t *testing.T) {
	if testing.Short() {
		t.Skip("boots guests")
	}
	network := inNetwork(t)
	ip(t, "link", "add", "vmbr0", "mtu", "1400", "type", "bridge")
	ip(t, "link", "set", "vmbr0", "up")
	l := newKeyLab(t)
	const one = "virtio=BC:24:11:00:00:01,bridge=vmbr0,"
	guest := func(vm, card, address string, more ...string) {
		l.do(t, append([]string{
			"create", vm, "--memory", "256", "--ostype", "l26", "--serial0", "socket", "--vga", "none", "--cpu", "qemu64", "--agent", "1", "--scsihw", "virtio-scsi-pci",
			"--scsi0", l.bootDisk(), "--boot", "order=scsi0", "--ide2", "local:cloudinit", "--net0", card, "--ipconfig0", "ip=" + address + "/24",
		}, more...)...)
		l.do(t, "start", vm)
	}
	guest("100", one+"firewall=1,rate=2,queues=2", "10.9.0.1")
	guest("101", "virtio=BC:24:11:00:00:02,bridge=vmbr0,mtu=1300", "10.9.0.2", "--net1", "virtio=BC:24:11:00:00:03,bridge=vmbr0,link_down=1")
	for _, vm := range []id.VM{100, 101} {
		l.answers(t, vm)
	}
	for _, p := range bridgeProofs() {
		name, _, _ := strings.Cut(p.keys, " ")
		t.Run(name, func(t *testing.T) {
			enter(t, network)
			p.show(t, l)
		})
	}
	l.do(t, "stop", "100")
	if out := ip(t, "link"); strings.Contains(out, "i0:") && strings.Contains(out, "100i") || strings.Contains(out, "fw") {
		t.Errorf("left after stop: %s", out)
	}
	if out := ip(t, "link"); !strings.Contains(out, "tap101i0") || !strings.Contains(out, "tap101i1") {
		t.Errorf("the other VM has lost its devices: %s", out)
	}
	l.end(t, 101) // kill -9
	if out := ip(t, "link"); strings.Contains(out, "tap") {
		t.Errorf("left after kill -9: %s", out)
	}
}

// bridgeProofs are about VMs 100 and 101, which run on the bridge vmbr0.
func bridgeProofs() []keyProof {
	const card = "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,queues=2"
	return []keyProof{
		{"net[n].bridge", func(t *testing.T, l *keyLab) {
			if text, ok := l.guestOf(t, 100, "ping -c 1 -W 10 10.9.0.2"); !ok {
				t.Error(text)
			}
			fits(t, "tap101i0", `master vmbr0`, ip(t, "link", "show", "tap101i0"))
		}},
		{"net[n].firewall", func(t *testing.T, l *keyLab) {
			fits(t, "tap100i0", `master fwbr100i0`, ip(t, "link", "show", "tap100i0"))
			fits(t, "fwln100i0", `master fwbr100i0`, ip(t, "link", "show", "fwln100i0"))
			fits(t, "fwpr100p0", `master vmbr0`, ip(t, "link", "show", "fwpr100p0"))
		}},
		{"net[n].mtu", func(t *testing.T, l *keyLab) {
			inGuest("cat /sys/class/net/eth0/mtu", "1400")(t, l)
			fits(t, "tap101i0", `mtu 1400`, ip(t, "link", "show", "tap101i0")) // else the whole bridge had the 1300 of its guest
			fits(t, "tap100i0", `mtu 1400`, ip(t, "link", "show", "tap100i0"))
			if got, _ := l.guestOf(t, 101, "cat /sys/class/net/eth0/mtu"); got != "1300" {
				t.Errorf("MTU %s in the second guest", got)
			}
			l.fails(t, "is bigger than the bridge MTU '1400'", "set", "100", "--net0", card+",mtu=1500")
			l.do(t, "set", "100", "--revert", "net0")
			device("net0", "mq", true)(t, l) // the card it had is still there
		}},
		{"net[n].queues", func(t *testing.T, l *keyLab) {
			device("net0", "mq", true)(t, l)
			fits(t, "tap100i0", `multi_queue numqueues [12] `, ip(t, "-d", "link", "show", "tap100i0"))
		}},
		{"net[n].rate", func(t *testing.T, l *keyLab) {
			fits(t, "tc", `qdisc tbf .*rate 1677[67]Kbit`, tc(t, "qdisc", "show", "dev", "tap100i0"))
			fits(t, "tc", `qdisc ingress`, tc(t, "qdisc", "show", "dev", "tap100i0"))
			l.do(t, "set", "100", "--net0", card)
			if out := tc(t, "qdisc", "show", "dev", "tap100i0"); strings.Contains(out, "tbf") {
				t.Errorf("still limited: %s", out)
			}
		}},
		{"net[n].link_down", func(t *testing.T, l *keyLab) {
			if got, _ := l.guestOf(t, 101, "ip link set eth1 up; cat /sys/class/net/eth1/carrier"); got != "0" {
				t.Errorf("carrier %s of a card that is unplugged", got)
			}
			l.do(t, "set", "100", "--net0", card+",link_down=1")
			if text, ok := l.guestOf(t, 101, "ping -c 1 -W 1 10.9.0.1"); ok {
				t.Error(text)
			}
			l.do(t, "set", "100", "--net0", card)
			if text, ok := l.guestOf(t, 101, "for i in 1 2 3 4 5; do ping -c 1 -W 2 10.9.0.1 && exit 0; done; exit 1"); !ok {
				t.Error(text)
			}
		}},
		{"net[n].tag net[n].trunks", func(t *testing.T, l *keyLab) {
			l.do(t, "create", "102", "--memory", "64", "--freeze", "1", "--net0", "virtio,bridge=vmbr0,tag=5")
			l.fails(t, "no physical interface on bridge 'vmbr0'", "start", "102")
			l.do(t, "set", "102", "--net0", "virtio,bridge=vmbr0,trunks=2;4-6")
			l.fails(t, "trunks on bridge 'vmbr0'", "start", "102")
			aware(t, l)
			if out := ip(t, "link"); strings.Contains(out, "tap102") {
				t.Errorf("left: %s", out)
			}
		}},
		{"net[n].bridge", func(t *testing.T, l *keyLab) {
			l.do(t, "set", "102", "--net0", "e1000,bridge=vmbr99")
			l.fails(t, "bridge 'vmbr99' does not exist", "start", "102")
			left, err := l.dir.Leftovers(102)
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		}},
		{"running-nets-host-mtu", func(t *testing.T, l *keyLab) {
			l.do(t, "create", "103", "--memory", "64", "--freeze", "1", "--vga", "none", "--net0", "virtio,bridge=vmbr0")
			l.do(t, "start", "103")
			l.do(t, "suspend", "103", "--todisk", "1")
			fits(t, "config", `running-nets-host-mtu: net0=1400`, l.do(t, "config", "103"))
			ip(t, "link", "set", "vmbr0", "mtu", "1420")
			l.do(t, "start", "103") // as it was, whatever the bridge is now
			l.do(t, "stop", "103")
			ip(t, "link", "set", "vmbr0", "mtu", "1400")
		}},
	}
}

// aware shows VLANs on a bridge that knows of them, where the kernel can make one.
func aware(t *testing.T, l *keyLab) {
	if out, err := exec.Command("ip", "link", "add", "vmbr1", "type", "bridge", "vlan_filtering", "1").CombinedOutput(); err != nil {
		t.Logf("no bridges that know VLANs: %s", out)
		return
	}
	defer ip(t, "link", "del", "vmbr1")
	ip(t, "link", "set", "vmbr1", "up")
	l.do(t, "set", "102", "--net0", "virtio,bridge=vmbr1,tag=5,trunks=7;9-10")
	l.do(t, "start", "102")
	out, err := exec.Command("bridge", "vlan", "show", "dev", "tap102i0").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fits(t, "bridge vlan", `5 PVID Egress Untagged`, string(out))
	fits(t, "bridge vlan", `(?s)7\s.*9`, string(out))
	l.do(t, "stop", "102")
}

// answers waits for the agent of a guest.
func (l *keyLab) answers(t *testing.T, vm id.VM) {
	t.Helper()
	for range 60 {
		if out, err := l.cmd(t, "agent", fmt.Sprint(vm), "ping").CombinedOutput(); err == nil {
			return
		} else if !strings.Contains(string(out), "not running") {
			t.Fatalf("%s", out)
		}
	}
	t.Fatalf("the guest of VM %d does not answer", vm)
}

// inNetwork gives the test, and what it starts, a network of its own, and returns it for
// the parts of the test, see [enter].
func inNetwork(t *testing.T) *os.File {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a network of one's own needs root")
	}
	runtime.LockOSThread() // and never unlock: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network of our own: %v", err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// enter brings a part of a test into the network of the whole.
func enter(t *testing.T, network *os.File) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, append([]string{"ip"}, args...)...)
}

func tc(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, append([]string{"tc"}, args...)...)
}
