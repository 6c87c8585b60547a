package pct

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// netCTs are containers that show their network cards, and what keeps one from having them.
func netCTs() []keyCT { return []keyCT{cards(), noCards()} }

// leaseScript is what the DHCP client of busybox calls.
const leaseScript = `#!/bin/sh
case "$1" in
bound | renew) ip addr add $ip/$mask dev $interface ;;
esac
`

func cards() keyCT {
	return keyCT{
		name: "cards",
		lines: []string{
			"net0: name=eth0,bridge=BRIDGE,firewall=1,gw=NET1,gw6=fd78::1,hwaddr=BC:24:11:0A:0B:0C,ip=NET10/24,ip6=fd78::10/64,mtu=1400,rate=1,type=veth",
			"net1: name=wan-1.x,bridge=BRIDGE,ip=dhcp,ip6=dhcp,type=veth",
			"net2: name=eth2,bridge=BRIDGE,ip=manual,ip6=manual,link_down=1,type=veth",
			"net3: name=eth3,bridge=BRIDGE,ip6=auto,type=veth",
			"net31: name=eth4,type=veth",
		},
		prepare: func(t *testing.T, l *keyLab) {
			l.bridge, l.network = testct.Bridge(t)
			if out, err := exec.CommandContext(t.Context(), "ip", "addr", "add", "fd78::1/64", "dev", l.bridge, "nodad").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			l.file("/etc/udhcpc/default.script", leaseScript)
			l.file("/usr/share/udhcpc/default.script", leaseScript)
			l.leases(t)
		},
		proofs: []keyProof{
			{keys: "net[n] net[n].name net[n].type", inside: "ls /sys/class/net | grep -v sit0 | sort | tr '\\n' ' '", want: `eth0 eth2 eth3 eth4 lo wan-1\.x `},
			{keys: "net[n].hwaddr net[n].mtu", inside: "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu /sys/class/net/eth2/mtu", want: `bc:24:11:0a:0b:0c\n1400\n1500`},
			{keys: "net[n].bridge", inside: "ping -c 1 -w 20 $(ip route | awk '/default/ { print $3 }') >/dev/null && echo answers", want: `answers`},
			{keys: "net[n].ip net[n].gw", inside: "ip -4 -o addr show eth0 | grep -o 'inet [0-9./]*'; ip route | grep default", want: `inet 10\.\d+\.\d+\.10/24\ndefault via 10\.\d+\.\d+\.1 dev eth0.*`},
			{keys: "net[n].ip6 net[n].gw6", inside: "ip -6 -o addr show eth0 scope global | grep -o 'fd78::10/64'; ip -6 route | grep -o 'default via fd78::1 dev eth0'", want: `fd78::10/64\ndefault via fd78::1 dev eth0`},
			{keys: "net[n].ip", inside: "ip -4 -o addr show wan-1.x | grep -o 'inet [0-9./]*'", want: `inet 10\.\d+\.\d+\.200/24`},
			{keys: "net[n].ip net[n].ip6 net[n].gw net[n].gw6", inside: "cat /etc/network/interfaces", want: interfaces},
			{keys: "net[n].link_down", inside: "ip link set eth2 up; cat /sys/class/net/eth2/carrier /sys/class/net/eth3/carrier; ip -4 -o addr show eth2", want: `0\n1`},
			{keys: "net[n].link_down net[n].bridge", show: func(t *testing.T, l *keyLab) {
				fits(t, "net2", `state DOWN`, ip(t, "link", "show", l.fill("vethIDi2")))
				fits(t, "net1", `master `+l.bridge+` .*state UP`, ip(t, "link", "show", l.fill("vethIDi1")))
			}},
			{keys: "net[n].firewall", show: func(t *testing.T, l *keyLab) {
				fits(t, "card", l.fill(`master fwbrIDi0`), ip(t, "link", "show", l.fill("vethIDi0")))
				fits(t, "inner", l.fill(`master fwbrIDi0`), ip(t, "link", "show", l.fill("fwlnIDi0")))
				fits(t, "outer", `master `+l.bridge, ip(t, "link", "show", l.fill("fwprIDp0")))
			}},
			{keys: "net[n].rate", show: func(t *testing.T, l *keyLab) {
				out := command(t, "tc", "qdisc", "show", "dev", l.fill("vethIDi0"))
				fits(t, "tc", `qdisc tbf .*rate 838[89]Kbit`, out)
				fits(t, "tc", `qdisc ingress`, out)
			}},
			{keys: "net[n].ip6", show: autoconfigured},
		},
	}
}

// interfaces is the file of ifupdown for the cards, with the netmasks that busybox wants.
const interfaces = `(?s)auto lo\niface lo inet loopback\n.*` +
	`auto eth0\niface eth0 inet static\n\taddress 10\.\d+\.\d+\.10\n\tnetmask 255\.255\.255\.0\n\tgateway 10\.\d+\.\d+\.1\n\n` +
	`iface eth0 inet6 static\n\taddress fd78::10\n\tnetmask 64\n\tgateway fd78::1\n\n` +
	`auto eth2\niface eth2 inet manual\n\niface eth2 inet6 manual\n\n` +
	`auto eth3\niface eth3 inet6 manual\n\tup ip link set eth3 up\n\n` +
	`auto wan-1\.x\niface wan-1\.x inet dhcp\n\niface wan-1\.x inet6 manual`

// noCards is a container off that asks for what is not there.
func noCards() keyCT {
	return keyCT{
		name: "no cards", off: true,
		prepare: func(t *testing.T, l *keyLab) { l.bridge, l.network = testct.Bridge(t) },
		proofs: []keyProof{
			{keys: "net[n].bridge", show: refused("bridge 'vmbr99' does not exist", "net0: name=eth0,bridge=vmbr99,type=veth")},
			{keys: "net[n].mtu", show: refused(`net0: MTU '1600' is bigger than that of bridge '\w+', 1500`, "net0: name=eth0,bridge=BRIDGE,mtu=1600,type=veth")},
			{keys: "net[n].tag", show: refused(`no physical interface on bridge '\w+'`, "net0: name=eth0,bridge=BRIDGE,tag=5,type=veth")},
			{keys: "net[n].trunks", show: refused(`vlan aware feature need to be enabled to use trunks on bridge '\w+'`, "net0: name=eth0,bridge=BRIDGE,trunks=5;7,type=veth")},
			{keys: "net[n].tag net[n].trunks", show: vlans},
			{keys: "net[n].host-managed", show: line([]string{"net0: name=eth0,bridge=BRIDGE,host-managed=1,ip=NET9/24,gw=NET1,type=veth"},
				"lxc.net.0.flags = up", "lxc.net.0.ipv4.address = NET9/24", "lxc.net.0.ipv4.gateway = NET1")},
		},
	}
}

// vlans shows VLANs on a bridge that knows of them, where the kernel can make one.
func vlans(t *testing.T, l *keyLab) {
	name := l.bridge + "v"
	if out, err := exec.CommandContext(t.Context(), "ip", "link", "add", name, "type", "bridge", "vlan_filtering", "1").CombinedOutput(); err != nil {
		t.Logf("no bridges that know VLANs: %s", out)
		return
	}
	defer ip(t, "link", "del", name)
	ip(t, "link", "set", name, "up")
	lines := []string{"net0: name=eth0,bridge=" + name + ",tag=5,trunks=7;9,type=veth", "net1: name=eth1,bridge=" + name + ",firewall=1,tag=6,type=veth"}
	l.with(t, lines, func() {
		l.run("start")
		defer l.run("stop")
		out := command(t, "bridge", "vlan", "show", "dev", l.fill("vethIDi0"))
		fits(t, "bridge vlan", `5 PVID Egress Untagged`, out)
		fits(t, "bridge vlan", `(?s)\b7\s.*\b9\s`, out)
		fits(t, "bridge vlan", `6 PVID Egress Untagged`, command(t, "bridge", "vlan", "show", "dev", l.fill("fwprIDp1")))
	})
}

// leases serves addresses by DHCP on the bridge.
func (l *keyLab) leases(t *testing.T) {
	t.Helper()
	conf := l.fill("start NET200\nend NET200\ninterface BRIDGE\nlease_file ROOT/leases\npidfile ROOT/udhcpd.pid\nopt subnet 255.255.255.0\n")
	l.write("udhcpd.conf", conf)
	l.write("leases", "")
	server := exec.Command("busybox", "udhcpd", "-f", l.path("udhcpd.conf"))
	if err := server.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
}

// autoconfigured shows that a card takes an address that a router announces.
func autoconfigured(t *testing.T, l *keyLab) {
	card, err := net.InterfaceByName(l.bridge)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		t.Fatal(err)
	}
	// A router for half an hour, then a prefix for addresses of one's own making.
	say := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0}
	say = binary.BigEndian.AppendUint32(say, 3600)
	say = binary.BigEndian.AppendUint64(say, 3600<<32)
	say = append(say, append([]byte{0xfd, 0x79}, make([]byte, 14)...)...)
	all := &unix.SockaddrInet6{ZoneId: uint32(card.Index), Addr: [16]byte{0: 0xff, 1: 2, 15: 1}}
	var out string
	for range 60 {
		// Its own address may not be ready yet.
		_ = unix.Sendto(fd, say, 0, all)
		time.Sleep(100 * time.Millisecond)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/if_inet6", l.initPid()))
		if err != nil {
			t.Fatal(err)
		}
		if out = string(text); strings.Contains(out, "fd79") && strings.Contains(out, " eth3\n") {
			break
		}
	}
	fits(t, "addresses", `(?m)^fd79\w+ \w+ 40 00 \w+ +eth3$`, out)
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, append([]string{"ip"}, args...)...)
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}
