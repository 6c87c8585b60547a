package setup

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
)

// Card is a network card of the container with what it shall have.
type Card struct {
	Name   string
	V4, V6 Address
	Hidden bool // the host sets it up, the container shall leave it alone
}

// Address is what a card shall have of one family.
type Address struct {
	Text    string // as configured: dhcp, manual, auto, an address with its length, or empty
	Prefix  netip.Prefix
	Gateway string
	Extra   []string // options of ifupdown, where there is no address
	route   bool
}

// Static tells whether there is an address, and not a way to get one.
func (a Address) Static() bool { return a.Prefix.IsValid() }

// Manual tells whether it was said that nothing is to be set up.
func (a Address) Manual() bool { return a.Text == "manual" }

// NeedsRoute tells whether the gateway is not reached through the network of the address, so
// that it needs a route of its own.
func (a Address) NeedsRoute() bool { return a.route }

// Netmask returns the length of an IPv4 prefix in its old form.
func (a Address) Netmask() string { return net.IP(net.CIDRMask(a.Prefix.Bits(), 32)).String() }

// Cards returns the network cards in the order of their numbers.
func (t *Target) Cards() ([]Card, error) {
	var cards []Card
	for _, n := range slices.Sorted(maps.Keys(t.Config.Net)) {
		d := t.Config.Net[n]
		if d.Name == "" {
			continue
		}
		c := Card{Name: d.Name, Hidden: d.HostManaged != nil && *d.HostManaged}
		var err error
		if c.V4, err = address(d.IP, d.Gateway); err == nil {
			c.V6, err = address(d.IP6, d.Gateway6)
		}
		if err != nil {
			return nil, fmt.Errorf("net%d: %w", n, err)
		}
		if c.Hidden {
			c.V4, c.V6 = Address{Text: "manual"}, Address{Text: "manual"}
		}
		cards = append(cards, c)
	}
	return cards, nil
}

// address reads the address and the gateway of one family.
func address(ip, gateway *string) (Address, error) {
	var a Address
	if gateway != nil {
		a.Gateway = *gateway
	}
	if ip == nil {
		return a, nil
	}
	a.Text = *ip
	switch a.Text {
	case "dhcp", "manual", "auto", "":
		return a, nil
	}
	var err error
	if a.Prefix, err = netip.ParsePrefix(a.Text); err != nil {
		return a, fmt.Errorf("unable to parse address '%s'", a.Text)
	}
	if a.Gateway == "" {
		return a, nil
	}
	gw, err := netip.ParseAddr(a.Gateway)
	if err != nil {
		return a, fmt.Errorf("unable to parse gateway '%s'", a.Gateway)
	}
	a.route = !a.Prefix.Contains(gw) && !gw.WithZone("").IsLinkLocalUnicast()
	if gw.Is4() {
		a.route = !a.Prefix.Contains(gw)
	}
	return a, nil
}

// byName sorts cards.
func byName(a, b Card) int { return cmp.Compare(a.Name, b.Name) }
