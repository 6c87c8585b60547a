package lxcconf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Device is the host's end of a network card of a container.
func Device(vmid id.VM, n int) string { return fmt.Sprintf("veth%di%d", vmid, n) }

// nets makes the network cards. LXC makes the pair and moves one end into the container;
// the other is joined to its bridge by our hook, which knows VLANs, firewalls and rates.
func (b *maker) nets() {
	cards := b.Config.Net
	for _, n := range slices.Sorted(maps.Keys(cards)) {
		card, prefix := cards[n], fmt.Sprintf("lxc.net.%d.", n)
		b.add(prefix+"type", "veth")
		b.add(prefix+"veth.pair", Device(b.VMID, n))
		if card.HWAddr != nil {
			b.add(prefix+"hwaddr", *card.HWAddr)
		}
		if card.Name != "" {
			b.add(prefix+"name", card.Name)
		}
		if mtu := b.mtu(n, card); mtu > 0 {
			b.addf(prefix+"mtu", "%d", mtu)
		}
		if is(card.HostManaged) {
			b.managed(prefix, card)
		}
	}
	if len(cards) == 0 && !slices.ContainsFunc(b.Raw, func(l container.RawLine) bool { return strings.HasPrefix(l.Key, "lxc.net") }) {
		// Without a word of it the container would have the network of the host.
		b.add("lxc.net.0.type", "empty")
	}
}

func (b *maker) mtu(n int, card container.Net) int {
	if card.MTU != nil {
		return *card.MTU
	}
	return b.MTU[n]
}

// managed gives a card its addresses from outside, for a container that does not.
func (b *maker) managed(prefix string, card container.Net) {
	b.add(prefix+"flags", "up")
	for _, a := range []struct {
		family  string
		address *string
		gateway *string
	}{{"ipv4", card.IP, card.Gateway}, {"ipv6", card.IP6, card.Gateway6}} {
		if a.address == nil || !strings.Contains(*a.address, "/") {
			if a.address != nil && *a.address == "dhcp" {
				b.Warnings = append(b.Warnings, fmt.Sprintf("%s of %s: addresses by DHCP are left to the container, host-managed or not", a.family, card.Name))
			}
			continue
		}
		b.add(prefix+a.family+".address", *a.address)
		if a.gateway != nil {
			b.add(prefix+a.family+".gateway", *a.gateway)
		}
	}
}
