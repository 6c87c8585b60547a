package lxc

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

func TestItemOf(t *testing.T) {
	got := itemOf(lxc.Interface{
		Name: "eth0", MAC: net.HardwareAddr{0xbc, 0x24, 0x11, 0, 0, 1},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24"), netip.MustParsePrefix("192.0.2.6/24"), netip.MustParsePrefix("2001:db8::5/64")},
	})
	address := func(text, kind string, bits int) interfaceAddress {
		return interfaceAddress{Address: &text, Type: &kind, Prefix: &bits}
	}
	want := interfaceItem{
		Name: "eth0", HWAddr: "bc:24:11:00:00:01", HardwareAddress: "bc:24:11:00:00:01", Inet: new("192.0.2.5/24"), Inet6: new("2001:db8::5/64"),
		Addresses: []interfaceAddress{address("192.0.2.5", "inet", 24), address("192.0.2.6", "inet", 24), address("2001:db8::5", "inet6", 64)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if lo := itemOf(lxc.Interface{Name: "lo"}); lo.HWAddr != "00:00:00:00:00:00" || len(lo.Addresses) != 0 {
		t.Errorf("%+v", lo)
	}
}
