package link

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// maxVLAN is the highest number a VLAN can have.
const maxVLAN = 4094

func checkVLANs(j Join) error {
	if j.Tag < 0 || j.Tag > maxVLAN {
		return fmt.Errorf("VLAN tag %d is not between 1 and %d", j.Tag, maxVLAN)
	}
	for _, r := range j.Trunks {
		if r.First < 1 || r.Last < r.First || r.Last > maxVLAN {
			return fmt.Errorf("VLAN range %d-%d is not between 1 and %d", r.First, r.Last, maxVLAN)
		}
	}
	return nil
}

// setVLANs gives a port of a VLAN-aware bridge its VLANs: untagged packets
// belong to the tag, or to VLAN 1; tagged ones pass where the trunks allow it, or
// all of them when there is neither tag nor trunk.
func (h *Host) setVLANs(port netlink.Link, j Join) error {
	name := port.Attrs().Name
	if err := h.netlink.BridgeVlanDelRange(port, 1, maxVLAN, false, false, false, false); err != nil && !errors.Is(err, unix.ENOENT) {
		return wrap(err, "clear VLANs of %s", name)
	}
	own, trunks := j.Tag, j.Trunks
	if own == 0 {
		own = 1
		if len(trunks) == 0 {
			trunks = []Range{{2, maxVLAN}}
		}
	}
	for _, r := range trunks {
		add := func() error {
			return h.netlink.BridgeVlanAddRange(port, uint16(r.First), uint16(r.Last), false, false, false, false)
		}
		if r.First == r.Last { // no range to the kernel
			add = func() error { return h.netlink.BridgeVlanAdd(port, uint16(r.First), false, false, false, false) }
		}
		if err := add(); err != nil {
			return wrap(err, "add VLANs %d-%d to %s", r.First, r.Last, name)
		}
	}
	// Last, so that a trunk which includes the own VLAN leaves it untagged.
	return wrap(h.netlink.BridgeVlanAdd(port, uint16(own), true, true, false, false), "add VLAN %d to %s", own, name)
}

// vlanBridge returns the bridge of one VLAN of a bridge that does not filter
// VLANs, making it at need: it joins the VLAN of each uplink of the bridge.
func (h *Host) vlanBridge(bridge Device, tag int) (Device, error) {
	name := fmt.Sprintf("%sv%d", bridge.Name, tag)
	if err := checkName(name); err != nil {
		return Device{}, err
	}
	uplinks, err := h.uplinks(bridge.Name)
	if err != nil {
		return Device{}, err
	}
	if len(uplinks) == 0 {
		return Device{}, fmt.Errorf("no physical interface on bridge '%s'", bridge.Name)
	}
	if err := h.CreateBridge(name, bridge.MTU); err != nil && !errors.Is(err, unix.EEXIST) {
		return Device{}, err
	}
	for _, up := range uplinks {
		if err := h.joinVLAN(up, tag, name); err != nil {
			return Device{}, errors.Join(err, h.deleteEmpty(name))
		}
	}
	return h.BridgeNamed(name)
}

// cardName matches what network cards and bonds, or VLANs of them, are called.
// Inside containers and tests other kinds of devices bear such names.
var cardName = pattern.New(`^(?:eth[0-9]+|en[^:.]+|ib[^:.]+|nic[0-9]+|bond[0-9]+)(?:\.[0-9]+)?$`)

// uplinks lists the ports of a bridge that lead out of the machine: cards, bonds,
// and VLANs of them, but no device of a guest.
func (h *Host) uplinks(bridge string) ([]netlink.Link, error) {
	names, err := h.Ports(bridge)
	if err != nil {
		return nil, err
	}
	var out []netlink.Link
	for _, name := range names {
		l, err := h.find(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains([]string{"device", "bond", "vlan", "team"}, l.Type()) || cardName.MatchString(name) {
			out = append(out, l)
		}
	}
	return out, nil
}

// joinVLAN puts the VLAN device of an uplink on the bridge of that VLAN.
func (h *Host) joinVLAN(uplink netlink.Link, tag int, bridge string) error {
	name := fmt.Sprintf("%s.%d", uplink.Attrs().Name, tag)
	if err := checkName(name); err != nil {
		return err
	}
	a := netlink.NewLinkAttrs()
	a.Name, a.ParentIndex = name, uplink.Attrs().Index
	err := h.netlink.LinkAdd(&netlink.Vlan{LinkAttrs: a, VlanId: tag, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
	if errors.Is(err, unix.EEXIST) {
		return h.useVLAN(name, bridge)
	}
	if err != nil {
		return wrap(err, "create VLAN device %s", name)
	}
	if err := h.useVLAN(name, bridge); err != nil {
		return errors.Join(err, h.Delete(name))
	}
	return nil
}

// useVLAN puts a VLAN device, which may have been there before, on its bridge.
func (h *Host) useVLAN(name, bridge string) error {
	d, err := h.Device(name)
	switch {
	case err != nil:
		return err
	case d.Type != "vlan":
		return fmt.Errorf("interface '%s' is there and is not a VLAN device", name)
	case d.Master != "" && d.Master != bridge:
		return fmt.Errorf("VLAN device '%s' belongs to bridge '%s' already", name, d.Master)
	}
	if err := h.SetUp(name, true); err != nil {
		return err
	}
	return h.attach(name, Device{Name: bridge}, Join{Bridge: bridge})
}

// deleteEmpty removes the bridge of a VLAN nobody has joined.
func (h *Host) deleteEmpty(bridge string) error {
	ports, err := h.Ports(bridge)
	if err != nil || len(ports) > 0 {
		return err
	}
	return h.Delete(bridge)
}
