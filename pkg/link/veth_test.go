package link_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/link"
)

// another makes a second network namespace and returns it with access to it.
func another(t *testing.T) (namespace *os.File, in *link.Host) {
	t.Helper()
	child := exec.Command("sleep", "1000")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	must(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", child.Process.Pid))
	must(t, err)
	t.Cleanup(func() { namespace.Close() })
	in, err = link.OpenIn(namespace)
	must(t, err)
	t.Cleanup(in.Close)
	return namespace, in
}

func TestVeth(t *testing.T) {
	h := inside(t)
	namespace, in := another(t)
	mac, err := net.ParseMAC("bc:24:11:00:00:07")
	must(t, err)
	must(t, h.CreateBridge("vmbr0", 1400))
	must(t, h.CreateVeth(link.Veth{Name: "veth100i0", Card: "eth0", MAC: mac, MTU: 1300}, namespace))
	if _, err := h.Join("veth100i0", link.Join{Bridge: "vmbr0", Firewall: true}); err != nil {
		t.Fatal(err)
	}
	card, err := in.Device("eth0")
	must(t, err)
	if card.MAC.String() != mac.String() || card.MTU != 1300 || card.Up || card.Type != "veth" {
		t.Errorf("card %+v", card)
	}
	end, err := h.Device("veth100i0")
	must(t, err)
	if end.MAC.String() != "fe:24:11:00:00:07" || end.MTU != 1400 || !end.Up || end.Master != "fwbr100i0" {
		t.Errorf("end %+v", end)
	}
	if ok, err := h.Exists("eth0"); ok || err != nil {
		t.Errorf("the card is here too: %v", err)
	}
	for name, v := range map[string]link.Veth{
		"end is there":  {Name: "veth100i0", Card: "eth1"},
		"card is there": {Name: "veth100i1", Card: "eth0"},
		"long name":     {Name: "veth100i1", Card: "a-name-that-is-long"},
		"no name":       {Name: "veth100i1"},
	} {
		if err := h.CreateVeth(v, namespace); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := devices(t); !slices.Equal(got, []string{"fwbr100i0", "fwln100i0", "fwpr100p0", "veth100i0", "vmbr0"}) {
		t.Errorf("devices %v", got)
	}
	must(t, h.Leave("veth100i0"))
	must(t, h.Delete("veth100i0"))
	if ok, err := in.Exists("eth0"); ok || err != nil {
		t.Errorf("the card stayed: %v", err)
	}
}

func TestAddress(t *testing.T) {
	h := inside(t)
	must(t, h.CreateVeth(link.Veth{Name: "veth100i0", Card: "eth0"}, nil))
	must(t, h.SetUp("veth100i0", true))
	must(t, h.SetUp("eth0", true))
	for _, tt := range []struct{ family, address, gateway, far string }{
		{"-4", "10.9.0.2/24", "10.9.0.1", "192.0.2.1"},
		{"-6", "fd00:9::2/64", "fd00:9::1", "fd00:5::1"},
	} {
		if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil && tt.family == "-6" {
			t.Logf("this kernel has no IPv6")
			continue
		}
		// Not in a subtest: it would run on another thread, in another namespace.
		address, gateway := netip.MustParsePrefix(tt.address), netip.MustParseAddr(tt.gateway)
		if added, err := h.AddAddress("eth0", address); err != nil || !added {
			t.Fatalf("%v, %v", added, err)
		}
		if added, err := h.AddAddress("eth0", address); err != nil || added {
			t.Errorf("again: %v, %v", added, err)
		}
		must(t, h.SetGateway("eth0", gateway, false))
		must(t, h.SetGateway("eth0", gateway, false))
		if got := tool(t, "ip", tt.family, "route", "show", "default"); !strings.HasPrefix(got, "default via "+tt.gateway+" dev eth0") {
			t.Errorf("route %q", got)
		}
		must(t, h.DeleteGateway("eth0", gateway, false))
		must(t, h.DeleteGateway("eth0", gateway, false))
		far := netip.MustParseAddr(tt.far)
		if err := h.SetGateway("eth0", far, false); err == nil {
			t.Error("a gateway out of reach was set")
		}
		must(t, h.SetGateway("eth0", far, true))
		must(t, h.DeleteGateway("eth0", far, true))
		if got := tool(t, "ip", tt.family, "route", "show", far.String()); got != "" {
			t.Errorf("route %q stayed", got)
		}
		must(t, h.DeleteAddress("eth0", address))
		must(t, h.DeleteAddress("eth0", address))
	}
	if _, err := h.AddAddress("eth9", netip.MustParsePrefix("10.0.0.1/8")); err == nil || err.Error() != "interface 'eth9' does not exist" {
		t.Errorf("%v", err)
	}
}
