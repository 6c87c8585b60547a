package pct

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// card is a network card of a container with an address that its host gives it.
func card(id, n int, name, bridge, address, more string) string {
	return fmt.Sprintf("net%d: name=%s,bridge=%s,host-managed=1,hwaddr=BC:24:11:%02X:%02X:%02X,ip=%s/24,type=veth%s", n, name, bridge, n, id>>8, id&255, address, more)
}

// netCT is a container with one card.
func (n *testNode) netCT(bridge, address, more string) *testCT {
	n.t.Helper()
	c := n.container("", "")
	n.write(fmt.Sprintf("etc/pve/nodes/%s/lxc/%d.conf", testct.Node, c.id), n.config(c.id)+card(c.id, 0, "eth0", bridge, address, more)+"\nlxc.apparmor.profile: unconfined\n")
	c.run("start")
	return c
}

// reaches tells whether a container reaches an address.
func (c *testCT) reaches(address string, want bool) {
	c.t.Helper()
	var out string
	var err error
	for range 3 { // ports of a bridge take a moment to learn
		out, err = c.try("exec", fmt.Sprint(c.id), "--", "ping", "-c", "1", "-W", "2", address)
		if (err == nil) == want {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Errorf("CT %d reaches %s: %v, want %v\n%s", c.id, address, err == nil, want, out)
}

// halt stops containers that are on a bridge together.
func halt(list ...*testCT) {
	for _, c := range list {
		c.run("stop")
	}
	for _, c := range list {
		c.nothing()
	}
}

// TestNodeVLAN: tags on a bridge that knows VLANs, with trunks and the bridges of a firewall.
func TestNodeVLAN(t *testing.T) {
	full(t)
	n := kernelNode(t)
	bridge, network := testct.Bridge(t)
	shell(t, "ip link set "+bridge+" type bridge vlan_filtering 1 vlan_default_pvid 1")
	one := n.netCT(bridge, network+"11", ",tag=7,mtu=1400,rate=1")
	two := n.netCT(bridge, network+"12", ",tag=7,firewall=1")
	three := n.netCT(bridge, network+"13", ",tag=8")
	one.reaches(network+"12", true)
	one.reaches(network+"13", false)
	three.reaches(network+"1", false) // the host has no tag
	if got := one.sh("cat /sys/class/net/eth0/mtu"); got != "1400\n" {
		t.Errorf("MTU %q", got)
	}
	if got := shell(t, fmt.Sprintf("cat /sys/class/net/veth%di0/mtu; tc qdisc show dev veth%[1]di0; tc filter show dev veth%[1]di0 ingress; tc qdisc show dev ifb%[1]di0 2>/dev/null || true", one.id)); !strings.Contains(got, "rate 8388Kbit") || !strings.Contains(got, "filter") {
		t.Errorf("rate: %s", got)
	}
	if got := shell(t, fmt.Sprintf("bridge vlan show dev veth%di0", one.id)); !strings.Contains(got, "7 PVID Egress Untagged") {
		t.Errorf("VLANs: %s", got)
	}
	if got := shell(t, "ls /sys/class/net"); !strings.Contains(got, fmt.Sprintf("fwbr%di0", two.id)) || !strings.Contains(got, fmt.Sprintf("fwpr%dp0", two.id)) {
		t.Errorf("no bridge of a firewall: %s", got)
	}
	// Live: to the other VLAN.
	three.run("set", "--net0", strings.TrimPrefix(card(three.id, 0, "eth0", bridge, network+"13", ",tag=7"), "net0: "))
	three.reaches(network+"11", true)
	three.reaches(network+"12", true)
	halt(one, two, three)

	t.Run("trunks", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		a := n.netCT(bridge, network+"21", ",trunks=7;30;31")
		b := n.netCT(bridge, network+"22", ",tag=31")
		a.sh("ip link add link eth0 name v31 type vlan id 31; ip link set v31 up; ip address add 10.99.31.1/24 dev v31; ip link add link eth0 name v9 type vlan id 9; ip link set v9 up; ip address add 10.99.9.1/24 dev v9")
		b.sh("ip address add 10.99.31.2/24 dev eth0; ip address add 10.99.9.2/24 dev eth0")
		b.reaches("10.99.31.1", true)
		b.reaches("10.99.9.1", false)
		b.run("set", "--net0", strings.TrimPrefix(card(b.id, 0, "eth0", bridge, network+"22", ",tag=9"), "net0: "))
		b.reaches("10.99.9.1", false) // not of the trunk
		halt(a, b)
	})
	t.Run("plain bridge", func(t *testing.T) {
		n := &testNode{t, n.root, n.pct}
		bridge, network := testct.Bridge(t)
		// Tags go out of the port that the bridge has in the world.
		shell(t, "ip link add eth77 type veth peer name eth78; ip link set eth77 master "+bridge+" up; ip link set eth78 up")
		t.Cleanup(func() { shell(t, "ip link del eth78") })
		a := n.netCT(bridge, network+"11", ",tag=7")
		b := n.netCT(bridge, network+"12", ",tag=7,firewall=1")
		c := n.netCT(bridge, network+"13", "")
		a.reaches(network+"12", true)
		a.reaches(network+"13", false)
		shell(t, "ip link add link eth78 name eth78.7 type vlan id 7; ip link set eth78.7 up; ip address add "+network+"99/24 dev eth78.7")
		if got := shell(t, "ip -d link show eth77.7"); !strings.Contains(got, "master "+bridge+"v7") {
			t.Errorf("VLAN 7 of the uplink: %s", got)
		}
		t.Cleanup(func() { shell(t, "ip link del "+bridge+"v7") })
		c.reaches(network+"1", true)
		halt(a, b, c)
	})
}
