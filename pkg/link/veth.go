package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OpenIn connects to the kernel in another network namespace, such as /proc/PID/ns/net of a
// container that runs. All that the Host does it does there.
func OpenIn(namespace *os.File) (*Host, error) {
	type answer struct {
		host *Host
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- answer{err: err}
			return
		}
		defer own.Close()
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			done <- answer{err: fmt.Errorf("enter %s: %w", namespace.Name(), err)}
			return
		}
		h, err := Open() // a socket stays in the namespace that it was made in
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with us
		}
		done <- answer{h, err}
	}()
	a := <-done
	return a.host, a.err
}

// Veth says how the pair of devices of a container's network card is made.
type Veth struct {
	Name string           // the end on the host, such as veth100i0
	Card string           // the end in the container, such as eth0
	MAC  net.HardwareAddr // of the card; nil: the kernel's choice
	MTU  int              // of the card; 0: the kernel's choice
}

// CreateVeth makes a pair of devices, both down. The card is made in the namespace where it
// belongs, under its own name, so that there is no moment with half of it done. A nil
// namespace is that of the Host.
func (h *Host) CreateVeth(v Veth, namespace *os.File) error {
	if err := errors.Join(checkName(v.Name), checkName(v.Card)); err != nil {
		return err
	}
	a := netlink.NewLinkAttrs()
	a.Name, a.HardwareAddr = v.Name, hostEnd(v.MAC)
	pair := netlink.NewVeth(a)
	pair.PeerName, pair.PeerHardwareAddr, pair.PeerMTU = v.Card, v.MAC, uint32(v.MTU)
	if namespace != nil {
		pair.PeerNamespace = netlink.NsFd(namespace.Fd())
	}
	return wrap(h.netlink.LinkAdd(pair), "create %s and %s", v.Name, v.Card)
}

// hostEnd makes the address of the host's end from that of the card. A bridge takes on the
// lowest address of its ports, so this one is high: the bridge keeps its own as guests come
// and go.
func hostEnd(card net.HardwareAddr) net.HardwareAddr {
	if len(card) == 0 {
		return nil
	}
	end := append(net.HardwareAddr(nil), card...)
	end[0] = 0xfe
	if end.String() == card.String() {
		end[1] ^= 0xff
	}
	return end
}

// AddAddress gives a device an address. added is false where it had it already.
func (h *Host) AddAddress(device string, address netip.Prefix) (added bool, err error) {
	l, err := h.find(device)
	if err != nil {
		return false, err
	}
	err = h.netlink.AddrAdd(l, &netlink.Addr{IPNet: network(address)})
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, wrap(err, "add address %s to %s", address, device)
}

// DeleteAddress takes an address from a device; one that is not there is no error.
func (h *Host) DeleteAddress(device string, address netip.Prefix) error {
	l, err := h.find(device)
	if err != nil {
		return err
	}
	err = h.netlink.AddrDel(l, &netlink.Addr{IPNet: network(address)})
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return wrap(err, "delete address %s of %s", address, device)
}

// SetGateway makes the default route of the gateway's family lead to it through the device.
// direct makes a route to the gateway itself first, for one outside the device's networks.
func (h *Host) SetGateway(device string, gateway netip.Addr, direct bool) error {
	l, err := h.find(device)
	if err != nil {
		return err
	}
	if direct {
		if err := h.netlink.RouteReplace(directRoute(l, gateway)); err != nil {
			return wrap(err, "add route to %s through %s", gateway, device)
		}
	}
	return wrap(h.netlink.RouteReplace(defaultRoute(l, gateway)), "make %s the gateway of %s", gateway, device)
}

// DeleteGateway removes the default route to a gateway through the device, and the route to
// the gateway itself if it has one. What is not there is no error.
func (h *Host) DeleteGateway(device string, gateway netip.Addr, direct bool) error {
	l, err := h.find(device)
	if err != nil {
		return err
	}
	routes := []*netlink.Route{defaultRoute(l, gateway)}
	if direct {
		routes = append(routes, directRoute(l, gateway))
	}
	for _, r := range routes {
		if err := h.netlink.RouteDel(r); err != nil && !errors.Is(err, unix.ESRCH) {
			return wrap(err, "delete route to %s through %s", gateway, device)
		}
	}
	return nil
}

func defaultRoute(l netlink.Link, gateway netip.Addr) *netlink.Route {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gateway.Is6() {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return &netlink.Route{LinkIndex: l.Attrs().Index, Dst: network(all), Gw: gateway.AsSlice()}
}

func directRoute(l netlink.Link, gateway netip.Addr) *netlink.Route {
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: network(netip.PrefixFrom(gateway, gateway.BitLen()))}
	if gateway.Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}

// network writes an address with its length in the older form.
func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
