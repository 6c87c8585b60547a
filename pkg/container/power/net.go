package power

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// JoinOf says where the host's end of a network card belongs. ok is false for a card that
// belongs nowhere.
func JoinOf(card container.Net) (j link.Join, ok bool, err error) {
	if card.Bridge == nil || *card.Bridge == "" {
		return j, false, nil
	}
	j = link.Join{Bridge: *card.Bridge, Firewall: is(card.Firewall)}
	if card.Tag != nil {
		j.Tag = *card.Tag
	}
	if card.Trunks != nil && *card.Trunks != "" {
		j.Trunks, err = link.ParseTrunks(*card.Trunks)
	}
	return j, true, err
}

// megabyte is what the rates of network cards are counted in.
const megabyte = 1 << 20

// Plug joins the host's end of a network card to its bridge, with its rate, or leaves it
// unplugged as the configuration has it.
func Plug(net Net, device string, card container.Net) error {
	join, ok, err := JoinOf(card)
	if err != nil || !ok {
		return err
	}
	if _, err := net.Join(device, join); err != nil {
		return err
	}
	if rate := RateOf(card); rate > 0 {
		if err := net.Limit(device, rate); err != nil {
			return err
		}
	}
	return net.SetUp(device, !is(card.LinkDown))
}

// RateOf is the limit of a card in bytes a second, 0 for none.
func RateOf(card container.Net) uint64 {
	if card.Rate == nil || *card.Rate <= 0 {
		return 0
	}
	return uint64(*card.Rate * megabyte)
}

// plugAll joins all network cards.
func (s *Service) plugAll(vmid id.VM, conf *container.Config) error {
	if len(conf.Net) == 0 {
		return nil
	}
	return s.withNet(func(net Net) error {
		for _, n := range slices.Sorted(maps.Keys(conf.Net)) {
			if err := Plug(net, lxcconf.Device(vmid, n), conf.Net[n]); err != nil {
				return fmt.Errorf("net%d: %w", n, err)
			}
		}
		return nil
	})
}

// unplugAll removes the network devices of a container, whatever its configuration says by
// now, and what was made for them.
func (s *Service) unplugAll(vmid id.VM) error {
	devices, err := devicesOf(vmid)
	if err != nil || len(devices) == 0 {
		return err
	}
	return s.withNet(func(net Net) error {
		var faults []error
		for _, device := range devices {
			faults = append(faults, net.Leave(device), net.Delete(device))
		}
		return errors.Join(faults...)
	})
}

// guestDevice matches what the node has for a network card of a guest.
var guestDevice = pattern.New(`^(?:veth|fwbr|fwln|ifb)([0-9]+)i([0-9]+)$|^fwpr([0-9]+)p([0-9]+)$`)

// devicesOf names the host's ends of the cards of a container of which something is there.
func devicesOf(vmid id.VM) ([]string, error) {
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		m := guestDevice.FindStringSubmatch(e.Name())
		if m == nil || m[1]+m[3] != vmid.String() {
			continue
		}
		n, err := strconv.Atoi(m[2] + m[4])
		if err == nil {
			names = append(names, lxcconf.Device(vmid, n))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// mtus looks up the MTUs of the bridges of a container. A bridge that is missing is an error
// that names it.
func (s *Service) mtus(conf *container.Config) (map[int]int, error) {
	mtus := map[int]int{}
	if len(conf.Net) == 0 {
		return mtus, nil
	}
	err := s.withNet(func(net Net) error {
		for _, n := range slices.Sorted(maps.Keys(conf.Net)) {
			card := conf.Net[n]
			if card.Bridge == nil || *card.Bridge == "" {
				continue
			}
			bridge, err := net.BridgeNamed(*card.Bridge)
			if err != nil {
				return err
			}
			if card.MTU != nil && *card.MTU > bridge.MTU {
				return fmt.Errorf("net%d: MTU '%d' is bigger than that of bridge '%s', %d", n, *card.MTU, bridge.Name, bridge.MTU)
			}
			mtus[n] = bridge.MTU
		}
		return nil
	})
	return mtus, err
}
