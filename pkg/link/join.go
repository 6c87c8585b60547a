package link

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Join says where on a bridge a guest's device belongs.
type Join struct {
	Bridge string
	// Tag is the VLAN of the guest's untagged packets; 0: none.
	Tag int
	// Trunks are the VLANs the guest may tag packets with itself. None given, a
	// guest without Tag may use all.
	Trunks []Range
	// Firewall puts a firewall bridge between the device and the bridge.
	Firewall bool
	// MTU of the device; 0: the bridge's.
	MTU int
	// MAC, where given, is the only address the guest is reached by: the bridge
	// is told it and neither learns nor floods.
	MAC net.HardwareAddr
	// Isolated keeps the guest from other isolated ports of the same bridge.
	Isolated bool
}

// Range is a range of VLANs, ends included.
type Range struct{ First, Last int }

// ParseTrunks reads VLANs as configurations have them: "5;10-12".
func ParseTrunks(text string) ([]Range, error) {
	var ranges []Range
	for part := range strings.SplitSeq(text, ";") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.Atoi(first)
		high, err2 := strconv.Atoi(last)
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("trunks: %w", err)
		}
		ranges = append(ranges, Range{First: low, Last: high})
	}
	return ranges, nil
}

// Joined gives the names of what Join made between a device and its bridge.
type Joined struct {
	// Bridge is the one the guest's packets go to: that of the Join, or its VLAN's.
	Bridge string
	// Port is the device on Bridge: the guest's, or the firewall's outer end.
	Port string
}

// Join brings a device up and puts it on a bridge. If that fails, the device is
// on no bridge and what was made for it is gone. A device that is on a bridge
// already is moved.
func (h *Host) Join(device string, j Join) (Joined, error) {
	bridge, err := h.BridgeNamed(j.Bridge)
	if err != nil {
		return Joined{}, err
	}
	if j.MTU > bridge.MTU {
		return Joined{}, fmt.Errorf("MTU %d of %s is larger than that of bridge '%s' (%d)", j.MTU, device, bridge.Name, bridge.MTU)
	}
	if err := checkVLANs(j); err != nil {
		return Joined{}, err
	}
	if err := h.Leave(device); err != nil {
		return Joined{}, err
	}
	done, err := h.join(device, bridge, j)
	if err != nil {
		return Joined{}, errors.Join(fmt.Errorf("join %s to bridge '%s': %w", device, j.Bridge, err), h.Leave(device))
	}
	return done, nil
}

func (h *Host) join(device string, bridge Device, j Join) (Joined, error) {
	mtu := j.MTU
	if mtu == 0 {
		mtu = bridge.MTU
	}
	if err := h.activate(device, mtu); err != nil {
		return Joined{}, err
	}
	if !bridge.VLANAware {
		if len(j.Trunks) > 0 {
			return Joined{}, fmt.Errorf("vlan aware feature need to be enabled to use trunks on bridge '%s'", bridge.Name)
		}
		if j.Tag != 0 {
			var err error
			if bridge, err = h.vlanBridge(bridge, j.Tag); err != nil {
				return Joined{}, err
			}
		}
	}
	port := device
	if j.Firewall {
		var err error
		if port, err = h.createFirewall(device, bridge); err != nil {
			return Joined{}, err
		}
	}
	if err := h.attach(port, bridge, j); err != nil {
		return Joined{}, err
	}
	return Joined{Bridge: bridge.Name, Port: port}, nil
}

// activate brings a device up without an address of its own.
func (h *Host) activate(device string, mtu int) error {
	l, err := h.find(device)
	if err != nil {
		return err
	}
	noIPv6(device)
	if err := h.netlink.LinkSetMTU(l, mtu); err != nil {
		return wrap(err, "set MTU of %s to %d", device, mtu)
	}
	if err := h.netlink.SetPromiscOn(l); err != nil {
		return wrap(err, "set %s promiscuous", device)
	}
	return wrap(h.netlink.LinkSetUp(l), "set %s up", device)
}

// attach makes a device a port of a bridge, with its VLANs and flags.
func (h *Host) attach(port string, bridge Device, j Join) error {
	l, err := h.find(port)
	if err != nil {
		return err
	}
	b, err := h.find(bridge.Name)
	if err != nil {
		return err
	}
	if err := h.netlink.LinkSetMasterByIndex(l, b.Attrs().Index); err != nil {
		return wrap(err, "add %s to bridge '%s'", port, bridge.Name)
	}
	if bridge.VLANAware {
		if err := h.setVLANs(l, j); err != nil {
			return err
		}
	}
	if j.Isolated {
		if err := h.SetIsolated(port, true); err != nil {
			return err
		}
	}
	if j.MAC == nil {
		return nil
	}
	if err := h.SetLearning(port, false); err != nil {
		return err
	}
	return h.addAddress(l, j)
}

// SetLearning tells a bridge whether to learn addresses from a port, and to
// flood packets for unknown ones to it. A port starts with both.
func (h *Host) SetLearning(port string, on bool) error {
	l, err := h.find(port)
	if err != nil {
		return err
	}
	if err := h.netlink.LinkSetLearning(l, on); err != nil {
		return wrap(err, "set learning of %s", port)
	}
	return wrap(h.netlink.LinkSetFlood(l, on), "set flooding of %s", port)
}

// SetIsolated keeps a port from, or lets it reach, other isolated ports.
func (h *Host) SetIsolated(port string, on bool) error {
	l, err := h.find(port)
	if err != nil {
		return err
	}
	return wrap(h.netlink.LinkSetIsolated(l, on), "set isolation of %s", port)
}

// SetHairpin lets a port, or keeps it from, getting packets back that it sent.
func (h *Host) SetHairpin(port string, on bool) error {
	l, err := h.find(port)
	if err != nil {
		return err
	}
	return wrap(h.netlink.LinkSetHairpin(l, on), "set hairpin mode of %s", port)
}

// addAddress tells the bridge that the guest's address is behind the port.
func (h *Host) addAddress(port netlink.Link, j Join) error {
	n := &netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER,
		State: netlink.NUD_NOARP, HardwareAddr: j.MAC, Vlan: j.Tag,
	}
	if d := h.describe(port); d.Master != j.Bridge {
		n.Vlan = 0 // a VLAN's own bridge carries its packets untagged
	} else if b, err := h.BridgeNamed(d.Master); err == nil && !b.VLANAware {
		n.Vlan = 0
	}
	return wrap(h.netlink.NeighSet(n), "add address %s to %s", j.MAC, port.Attrs().Name)
}

// Leave takes a device off its bridge and removes what was made for it there:
// the firewall bridge and the limits. The bridge of a VLAN stays, as others may
// use it. What is not there is no error; the device need not exist any more.
func (h *Host) Leave(device string) error {
	if err := h.deleteFirewall(device); err != nil {
		return err
	}
	if err := h.deleteLimits(device); err != nil {
		return err
	}
	l, err := h.find(device)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || l.Attrs().MasterIndex == 0 {
		return err
	}
	if err := h.netlink.LinkSetNoMaster(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return wrap(err, "take %s off its bridge", device)
	}
	return nil
}

// guestDevice matches the names of guests' devices.
var guestDevice = pattern.New(`^(?:tap|veth)([0-9]+)i([0-9]+)$`)

// FirewallNames returns the names of what is between a guest's device, such as
// tap100i0, and its bridge when it is firewalled: the firewall bridge, the port
// of that towards the bridge, and the port of the bridge.
func FirewallNames(device string) (bridge, inner, outer string, ok bool) {
	m := guestDevice.FindStringSubmatch(device)
	if m == nil {
		return "", "", "", false
	}
	return "fwbr" + m[1] + "i" + m[2], "fwln" + m[1] + "i" + m[2], "fwpr" + m[1] + "p" + m[2], true
}

// createFirewall makes the firewall bridge, puts the device on it, and returns
// the port that goes onto the real bridge.
func (h *Host) createFirewall(device string, bridge Device) (string, error) {
	middle, inner, outer, ok := FirewallNames(device)
	if !ok {
		return "", fmt.Errorf("'%s' is not the name of a guest's device: no firewall can be put before it", device)
	}
	if err := checkName(outer); err != nil {
		return "", err
	}
	if err := h.CreateBridge(middle, bridge.MTU); err != nil {
		return "", err
	}
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = inner, bridge.MTU
	if err := h.netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: outer}); err != nil {
		return "", wrap(err, "create %s and %s", inner, outer)
	}
	for _, end := range []string{inner, outer} {
		if err := h.activate(end, bridge.MTU); err != nil {
			return "", err
		}
	}
	for _, port := range []string{inner, device} {
		if err := h.attach(port, Device{Name: middle}, Join{Bridge: middle}); err != nil {
			return "", err
		}
	}
	return outer, nil
}

func (h *Host) deleteFirewall(device string) error {
	middle, inner, outer, ok := FirewallNames(device)
	if !ok {
		return nil
	}
	// Deleting one end of the pair deletes both, unless one was left alone.
	for _, name := range []string{inner, outer, middle} {
		if err := h.Delete(name); err != nil {
			return err
		}
	}
	return nil
}
