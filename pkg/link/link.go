// Package link makes and joins the network devices of guests: taps, their place
// on a bridge, VLANs, rate limits, and the small bridge in between that a
// firewall filters on. It knows devices by name and nothing of guests beyond
// the names themselves, which are upstream's, so that other tools find them:
//
//	tap100i0           net0 of VM 100 (veth100i0 for a container)
//	fwbr100i0          its firewall bridge: tap100i0 and fwln100i0 are on it
//	fwln100i0          the firewall bridge's end of the pair to the guest's bridge
//	fwpr100p0          the other end, on vmbr0
//	vmbr0v5, eno1.5    VLAN 5 of a bridge that does not filter VLANs, and of its uplink
//	ifb100i0           the limit on what the guest sends, where the kernel has no policer
package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	// ErrNotFound is the cause when a device or bridge does not exist.
	ErrNotFound = errors.New("does not exist")
	// ErrNotBridge is the cause when a device is there but is not a bridge.
	ErrNotBridge = errors.New("is not a bridge")
	// ErrUnsupported is the cause when the kernel lacks what was asked for.
	ErrUnsupported = errors.New("not supported by this kernel")
)

// Host gives access to the devices of one network namespace: that of the thread
// which called Open. Several goroutines may use it. Whoever changes the namespace
// of a thread locks the goroutine to it and makes a Host of its own there.
type Host struct {
	netlink *netlink.Handle
}

// Open connects to the kernel.
func Open() (*Host, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &Host{netlink: h}, nil
}

// Close ends the connection to the kernel.
func (h *Host) Close() { h.netlink.Close() }

// Device is what one needs to know of a network device.
type Device struct {
	Name   string
	Type   string // bridge, tuntap, veth, device, vlan, bond, ifb, …
	MAC    net.HardwareAddr
	MTU    int
	Up     bool
	Master string // the bridge or bond it belongs to, or empty
	// VLANAware tells that a bridge filters VLANs.
	VLANAware bool
}

// Bridge tells whether the device is a bridge.
func (d Device) Bridge() bool { return d.Type == "bridge" }

// Device describes the device of the given name; ErrNotFound says there is none.
func (h *Host) Device(name string) (Device, error) {
	l, err := h.find(name)
	if err != nil {
		return Device{}, err
	}
	return h.describe(l), nil
}

func (h *Host) describe(l netlink.Link) Device {
	a := l.Attrs()
	d := Device{Name: a.Name, Type: l.Type(), MAC: a.HardwareAddr, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
	if a.MasterIndex != 0 {
		if master, err := h.netlink.LinkByIndex(a.MasterIndex); err == nil {
			d.Master = master.Attrs().Name
		}
	}
	if b, ok := l.(*netlink.Bridge); ok {
		d.VLANAware = b.VlanFiltering != nil && *b.VlanFiltering
	}
	return d
}

// Exists tells whether there is a device of the given name.
func (h *Host) Exists(name string) (bool, error) {
	_, err := h.find(name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// BridgeNamed describes the bridge of the given name; ErrNotFound and
// ErrNotBridge say why there is none.
func (h *Host) BridgeNamed(name string) (Device, error) {
	l, err := h.find(name)
	if errors.Is(err, ErrNotFound) {
		return Device{}, fmt.Errorf("bridge '%s' %w", name, ErrNotFound)
	}
	if err != nil {
		return Device{}, err
	}
	d := h.describe(l)
	if !d.Bridge() {
		return d, fmt.Errorf("device '%s' %w", name, ErrNotBridge)
	}
	return d, nil
}

// Bridges names the bridges of the host, sorted as the kernel has them.
func (h *Host) Bridges() ([]string, error) {
	all, err := h.netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var names []string
	for _, l := range all {
		if l.Type() == "bridge" {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}

// Ports names the devices that belong to a bridge.
func (h *Host) Ports(bridge string) ([]string, error) {
	b, err := h.find(bridge)
	if err != nil {
		return nil, err
	}
	all, err := h.netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	var names []string
	for _, l := range all {
		if l.Attrs().MasterIndex == b.Attrs().Index {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, nil
}

// SetUp brings a device up, or down.
func (h *Host) SetUp(name string, up bool) error {
	l, err := h.find(name)
	if err != nil {
		return err
	}
	set, word := h.netlink.LinkSetUp, "up"
	if !up {
		set, word = h.netlink.LinkSetDown, "down"
	}
	return wrap(set(l), "set %s %s", name, word)
}

// SetMTU sets the size of the largest packet of a device.
func (h *Host) SetMTU(name string, mtu int) error {
	l, err := h.find(name)
	if err != nil {
		return err
	}
	return wrap(h.netlink.LinkSetMTU(l, mtu), "set MTU of %s to %d", name, mtu)
}

// Delete removes a device; one that is not there is no error.
func (h *Host) Delete(name string) error {
	l, err := h.find(name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return wrap(err, "delete %s", name)
	}
	return nil
}

// CreateBridge makes a bridge of the given MTU (0: the kernel's choice) and
// brings it up.
func (h *Host) CreateBridge(name string, mtu int) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, mtu
	if err := checkName(name); err != nil {
		return err
	}
	if err := h.netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
		return wrap(err, "create bridge %s", name)
	}
	noIPv6(name)
	return h.SetUp(name, true)
}

func (h *Host) find(name string) (netlink.Link, error) {
	l, err := h.netlink.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing || errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("interface '%s' %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("look for interface '%s': %w", name, err)
	}
	return l, nil
}

// checkName refuses names that the kernel would, in words that say why.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\x00"):
		return fmt.Errorf("interface name '%s' is not valid", name)
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("interface name '%s' is too long (%d characters, at most %d)", name, len(name), unix.IFNAMSIZ-1)
	}
	return nil
}

// wrap says what was tried, and turns the kernel's ways of saying that it lacks
// something into ErrUnsupported.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("%s: %w", what, ErrUnsupported)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// noIPv6 keeps the host from taking an address on a device that is only the
// guest's. It is a courtesy: kernels without IPv6 have nothing to switch off.
func noIPv6(name string) {
	os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
}
