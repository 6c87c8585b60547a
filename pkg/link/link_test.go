package link_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/link"
)

// inside puts the calling test into a network namespace of its own and returns
// access to it. The thread is never given back, so nothing of it remains.
func inside(t *testing.T) *link.Host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	h, err := link.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tap(t *testing.T, h *link.Host, name string) {
	t.Helper()
	err := h.CreateTap(link.Tap{Name: name})
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the kernel has no tap devices")
	}
	must(t, err)
}

// tool runs a program in the namespace of the test and returns what it prints.
func tool(t *testing.T, argv ...string) string {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("%s is not installed", argv[0])
	}
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

func devices(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	must(t, err)
	var names []string
	for _, i := range all {
		if i.Name != "lo" && !strings.HasPrefix(i.Name, "tunl") && !strings.HasPrefix(i.Name, "sit") && !strings.HasPrefix(i.Name, "ip6tnl") {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestBridge(t *testing.T) {
	h := inside(t)
	must(t, h.CreateBridge("vmbr0", 1400))
	d, err := h.BridgeNamed("vmbr0")
	must(t, err)
	if !d.Bridge() || d.MTU != 1400 || !d.Up || d.VLANAware {
		t.Errorf("%+v", d)
	}
	if names, err := h.Bridges(); err != nil || !slices.Equal(names, []string{"vmbr0"}) {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := h.BridgeNamed("vmbr9"); !errors.Is(err, link.ErrNotFound) || err.Error() != "bridge 'vmbr9' does not exist" {
		t.Errorf("%v", err)
	}
	if _, err := h.BridgeNamed("lo"); !errors.Is(err, link.ErrNotBridge) {
		t.Errorf("%v", err)
	}
	if err := h.CreateBridge("a-name-that-is-long", 0); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("%v", err)
	}
	if err := h.CreateBridge("vmbr0", 0); !errors.Is(err, unix.EEXIST) {
		t.Errorf("%v", err)
	}
	must(t, h.Delete("vmbr0"))
	must(t, h.Delete("vmbr0"))
	if ok, err := h.Exists("vmbr0"); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestTap(t *testing.T) {
	h := inside(t)
	must(t, h.CreateTap(link.Tap{Name: "tap100i0", Owner: new(12), MultiQueue: true}))
	if err := h.CreateTap(link.Tap{Name: "tap100i0"}); !errors.Is(err, unix.EEXIST) {
		t.Errorf("twice: %v", err)
	}
	out := tool(t, "ip", "-d", "link", "show", "tap100i0")
	for _, want := range []string{"multi_queue", "vnet_hdr on", "persist on", "user "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	must(t, h.DeleteTap("tap100i0"))
	must(t, h.DeleteTap("tap100i0"))

	files, err := h.OpenTap(link.Tap{Name: "tap100i1"}, 3)
	must(t, err)
	if len(files) != 3 {
		t.Errorf("%d queues", len(files))
	}
	if _, err := h.OpenTap(link.Tap{Name: "tap100i1"}, 1); err == nil {
		t.Error("a tap in use was opened")
	}
	for _, f := range files {
		must(t, f.Close())
	}
	if got := devices(t); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestJoin(t *testing.T) {
	h := inside(t)
	must(t, h.CreateBridge("vmbr0", 1450))
	tap(t, h, "tap100i0")
	j, err := h.Join("tap100i0", link.Join{Bridge: "vmbr0"})
	must(t, err)
	if diff := cmp.Diff(link.Joined{Bridge: "vmbr0", Port: "tap100i0"}, j); diff != "" {
		t.Error(diff)
	}
	d, err := h.Device("tap100i0")
	must(t, err)
	if d.Master != "vmbr0" || d.MTU != 1450 || !d.Up || d.Type != "tuntap" {
		t.Errorf("%+v", d)
	}
	// moving it to another
	must(t, h.CreateBridge("vmbr1", 0))
	mac, _ := net.ParseMAC("bc:24:11:00:00:01")
	_, err = h.Join("tap100i0", link.Join{Bridge: "vmbr1", MTU: 1300, MAC: mac, Isolated: true})
	must(t, err)
	must(t, h.SetHairpin("tap100i0", true))
	out := tool(t, "bridge", "-d", "link", "show", "dev", "tap100i0")
	for _, want := range []string{"master vmbr1", "mtu 1300", "learning off", "flood off", "isolated on", "hairpin on"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if fdb := tool(t, "bridge", "fdb", "show", "dev", "tap100i0"); !strings.Contains(fdb, mac.String()+" master vmbr1") {
		t.Errorf("fdb: %s", fdb)
	}
	must(t, h.Leave("tap100i0"))
	must(t, h.Leave("tap100i0"))
	if d, err := h.Device("tap100i0"); err != nil || d.Master != "" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestFirewall(t *testing.T) {
	h := inside(t)
	must(t, h.CreateBridge("vmbr0", 1400))
	tap(t, h, "tap100i0")
	j, err := h.Join("tap100i0", link.Join{Bridge: "vmbr0", Firewall: true})
	must(t, err)
	if diff := cmp.Diff(link.Joined{Bridge: "vmbr0", Port: "fwpr100p0"}, j); diff != "" {
		t.Error(diff)
	}
	for device, bridge := range map[string]string{"tap100i0": "fwbr100i0", "fwln100i0": "fwbr100i0", "fwpr100p0": "vmbr0"} {
		if d, err := h.Device(device); err != nil || d.Master != bridge || !d.Up || d.MTU != 1400 {
			t.Errorf("%s: %+v, %v", device, d, err)
		}
	}
	// joining again starts from nothing, as after a crash
	_, err = h.Join("tap100i0", link.Join{Bridge: "vmbr0", Firewall: true})
	must(t, err)
	// the tap may be gone before its bridge is
	must(t, h.Delete("tap100i0"))
	must(t, h.Leave("tap100i0"))
	if diff := cmp.Diff([]string{"vmbr0"}, devices(t)); diff != "" {
		t.Error(diff)
	}
}

func TestJoinFails(t *testing.T) {
	h := inside(t)
	must(t, h.CreateBridge("vmbr0", 1500))
	tap(t, h, "tap100i0")
	tap(t, h, "odd")
	tests := []struct {
		name, device string
		join         link.Join
		want         string
	}{
		{"no bridge", "tap100i0", link.Join{Bridge: "vmbr7"}, "bridge 'vmbr7' does not exist"},
		{"no device", "tap100i9", link.Join{Bridge: "vmbr0"}, "join tap100i9 to bridge 'vmbr0': interface 'tap100i9' does not exist"},
		{"large MTU", "tap100i0", link.Join{Bridge: "vmbr0", MTU: 9000}, "MTU 9000 of tap100i0 is larger than that of bridge 'vmbr0' (1500)"},
		{"bad tag", "tap100i0", link.Join{Bridge: "vmbr0", Tag: 4095}, "VLAN tag 4095 is not between 1 and 4094"},
		{"bad trunk", "tap100i0", link.Join{Bridge: "vmbr0", Trunks: []link.Range{{9, 5}}}, "VLAN range 9-5 is not between 1 and 4094"},
		{"trunks", "tap100i0", link.Join{Bridge: "vmbr0", Trunks: []link.Range{{5, 9}}}, "join tap100i0 to bridge 'vmbr0': vlan aware feature need to be enabled to use trunks on bridge 'vmbr0'"},
		{"no uplink", "tap100i0", link.Join{Bridge: "vmbr0", Tag: 5}, "join tap100i0 to bridge 'vmbr0': no physical interface on bridge 'vmbr0'"},
		{"firewall", "odd", link.Join{Bridge: "vmbr0", Firewall: true}, "join odd to bridge 'vmbr0': 'odd' is not the name of a guest's device: no firewall can be put before it"},
	}
	before := devices(t)
	for _, tt := range tests {
		_, err := h.Join(tt.device, tt.join)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(before, devices(t)); diff != "" {
			t.Errorf("%s: left behind: %s", tt.name, diff)
		}
		if d, err := h.Device("tap100i0"); err != nil || d.Master != "" {
			t.Errorf("%s: %+v, %v", tt.name, d, err)
		}
	}
}

func TestVLANAware(t *testing.T) {
	h := inside(t)
	must(t, h.CreateBridge("vmbr0", 1500))
	if out, err := exec.Command("ip", "link", "set", "vmbr0", "type", "bridge", "vlan_filtering", "1").CombinedOutput(); err != nil {
		t.Skipf("no VLAN-aware bridges here: %s", out)
	}
	tap(t, h, "tap100i0")
	_, err := h.Join("tap100i0", link.Join{Bridge: "vmbr0", Tag: 5, Trunks: []link.Range{{10, 12}}})
	must(t, err)
	out := tool(t, "bridge", "-compressvlans", "vlan", "show", "dev", "tap100i0")
	if !strings.Contains(out, "5 PVID Egress Untagged") || !strings.Contains(out, "10-12") {
		t.Errorf("%s", out)
	}
	_, err = h.Join("tap100i0", link.Join{Bridge: "vmbr0"})
	must(t, err)
	out = tool(t, "bridge", "-compressvlans", "vlan", "show", "dev", "tap100i0")
	if !strings.Contains(out, "1 PVID Egress Untagged") || !strings.Contains(out, "2-4094") {
		t.Errorf("%s", out)
	}
}

// A bridge that does not filter VLANs has one more bridge for each VLAN.
func TestVLANBridge(t *testing.T) {
	h := inside(t)
	must(t, h.CreateBridge("vmbr0", 1500))
	tool(t, "ip", "link", "add", "eno1", "type", "veth", "peer", "name", "switch")
	tool(t, "ip", "link", "set", "eno1", "master", "vmbr0", "up")
	tap(t, h, "tap100i0")
	before := devices(t)
	j, err := h.Join("tap100i0", link.Join{Bridge: "vmbr0", Tag: 5, Firewall: true})
	if errors.Is(err, link.ErrUnsupported) {
		if want := "join tap100i0 to bridge 'vmbr0': create VLAN device eno1.5: not supported by this kernel"; err.Error() != want {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff(before, devices(t)); diff != "" {
			t.Errorf("left behind: %s", diff)
		}
		t.Skipf("the rest needs VLAN devices: %v", err)
	}
	must(t, err)
	if diff := cmp.Diff(link.Joined{Bridge: "vmbr0v5", Port: "fwpr100p0"}, j); diff != "" {
		t.Error(diff)
	}
	tap(t, h, "tap101i0")
	_, err = h.Join("tap101i0", link.Join{Bridge: "vmbr0", Tag: 5})
	must(t, err)
	ports, err := h.Ports("vmbr0v5")
	must(t, err)
	slices.Sort(ports)
	if diff := cmp.Diff([]string{"eno1.5", "fwpr100p0", "tap101i0"}, ports); diff != "" {
		t.Error(diff)
	}
}

func TestLimit(t *testing.T) {
	h := inside(t)
	tap(t, h, "tap100i0")
	must(t, h.SetUp("tap100i0", true))
	for _, rate := range []uint64{1 << 20, 10 << 30, 1000} {
		if err := h.Limit("tap100i0", rate); err != nil {
			t.Errorf("%d: %v", rate, err)
		}
	}
	must(t, h.Limit("tap100i0", 5<<20))
	out := tool(t, "tc", "qdisc", "show", "dev", "tap100i0")
	if !strings.Contains(out, "tbf") || !strings.Contains(out, "rate 41943Kbit") || !strings.Contains(out, "ingress") {
		t.Errorf("%s", out)
	}
	filter := tool(t, "tc", "filter", "show", "dev", "tap100i0", "parent", "ffff:")
	if !strings.Contains(filter, "police") && !strings.Contains(filter, "Redirect to device ifb100i0") {
		t.Errorf("%s", filter)
	}
	must(t, h.Limit("tap100i0", 0))
	if out := tool(t, "tc", "qdisc", "show", "dev", "tap100i0"); strings.Contains(out, "tbf") || strings.Contains(out, "ingress") {
		t.Errorf("left: %s", out)
	}
	if diff := cmp.Diff([]string{"tap100i0"}, devices(t)); diff != "" {
		t.Error(diff)
	}
	if err := h.Limit("tap7i7", 1); !errors.Is(err, link.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestFirewallNames(t *testing.T) {
	tests := []struct {
		device string
		want   [3]string
		ok     bool
	}{
		{"tap100i0", [3]string{"fwbr100i0", "fwln100i0", "fwpr100p0"}, true},
		{"veth2001i31", [3]string{"fwbr2001i31", "fwln2001i31", "fwpr2001p31"}, true},
		{"eth0", [3]string{}, false},
		{"tap100i", [3]string{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.device, func(t *testing.T) {
			a, b, c, ok := link.FirewallNames(tt.device)
			if got := [3]string{a, b, c}; ok != tt.ok || got != tt.want {
				t.Errorf("%v, %v", got, ok)
			}
		})
	}
}

// QEMU opens taps by name or gets them open; the latter go when it goes.
func TestTapsInQEMU(t *testing.T) {
	h := inside(t)
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("qemu-system-x86_64 is not installed")
	}
	must(t, h.CreateTap(link.Tap{Name: "tap100i0"}))
	must(t, h.CreateTap(link.Tap{Name: "tap100i1", MultiQueue: true}))
	files, err := h.OpenTap(link.Tap{Name: "tap100i2"}, 2)
	must(t, err)
	cmd := exec.Command("qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio",
		"-netdev", "tap,id=n0,ifname=tap100i0,script=no,downscript=no",
		"-netdev", "tap,id=n1,ifname=tap100i1,script=no,downscript=no,queues=3",
		"-netdev", "tap,id=n2,fds=3:4")
	cmd.Stdin, cmd.ExtraFiles = strings.NewReader("quit\n"), files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, f := range files {
		must(t, f.Close())
	}
	if diff := cmp.Diff([]string{"tap100i0", "tap100i1"}, devices(t)); diff != "" {
		t.Error(diff)
	}
}
