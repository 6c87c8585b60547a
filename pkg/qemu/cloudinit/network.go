package cloudinit

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A card is a network card and what is set up on it. Of each IP version, the mode is
// one of "", dhcp, auto and static.
type card struct {
	index    int
	mac      string // lower case, empty where there is none
	mtu      int    // 0 where none is given
	v4, v6   address
	hardware string // the MAC address as the configuration has it
}

type address struct {
	mode    string
	prefix  netip.Prefix
	gateway string
}

// indexes returns the numbers of the network cards that have an ipconfig, in the order
// of their text: upstream's, on which the instance id depends.
func (g Guest) indexes() []int {
	var all []int
	for i := range g.Config.Net {
		if _, ok := g.Config.IPConfig[i]; ok {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b int) int { return strings.Compare(strconv.Itoa(a), strconv.Itoa(b)) })
	return all
}

// cards reads the options of all cards that have an ipconfig.
func (g Guest) cards() ([]card, error) {
	var all []card
	for _, i := range g.indexes() {
		n, ip := g.Config.Net[i], g.Config.IPConfig[i]
		c := card{index: i}
		if n.MAC != nil {
			c.mac, c.hardware = strings.ToLower(*n.MAC), *n.MAC
		}
		if n.MTU != nil && *n.MTU > 1 { // 1 asks for that of the bridge
			c.mtu = *n.MTU
		}
		var err error
		if c.v4, err = parseAddress(ip.IP, ip.Gateway); err != nil {
			return nil, fmt.Errorf("ipconfig%d: ip: %w", i, err)
		}
		if c.v6, err = parseAddress(ip.IP6, ip.Gateway6); err != nil {
			return nil, fmt.Errorf("ipconfig%d: ip6: %w", i, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func parseAddress(text, gateway *string) (a address, err error) {
	if text == nil {
		return a, nil
	}
	if gateway != nil {
		a.gateway = *gateway
	}
	if a.mode = *text; a.mode == "dhcp" || a.mode == "auto" {
		return a, nil
	}
	a.mode = "static"
	a.prefix, err = netip.ParsePrefix(*text)
	return a, err
}

func (a address) netmask() string { return net.IP(net.CIDRMask(a.prefix.Bits(), 32)).String() }

// dns returns the name servers and search domains of the VM, or those of the host.
func (g Guest) dns() (servers, domains []string) {
	servers, domains = parseResolver(g.Resolver)
	if g.Config.NameServer != nil {
		servers = strings.Fields(*g.Config.NameServer)
	}
	if g.Config.SearchDomain != nil {
		domains = strings.Fields(*g.Config.SearchDomain)
	}
	return servers, domains
}

// parseResolver reads a resolv.conf: its first three servers, and the first domain of its
// last search line.
func parseResolver(text string) (servers, domains []string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "search", "domain":
			domains = words[1:2]
		case "nameserver":
			if _, err := netip.ParseAddr(words[1]); err == nil && len(servers) < 3 {
				servers = append(servers, words[1])
			}
		}
	}
	return servers, domains
}

// networkConfig is cloud-init's network configuration, version 1.
func (g Guest) networkConfig() (string, error) {
	cards, err := g.cards()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("version: 1\nconfig:")
	for _, c := range cards {
		line("    - type: physical\n      name: eth%d", c.index)
		if c.mac != "" {
			line("      mac_address: %s", quoted(c.mac))
		}
		line("      subnets:")
		switch c.v4.mode {
		case "dhcp":
			line("      - type: dhcp4")
		case "static":
			line("      - type: static\n        address: '%s'\n        netmask: '%s'", c.v4.prefix.Addr(), c.v4.netmask())
		}
		if c.v4.mode == "static" && c.v4.gateway != "" {
			line("        gateway: %s", quoted(c.v4.gateway))
		}
		switch c.v6.mode {
		case "dhcp":
			line("      - type: dhcp6")
		case "auto":
			line("      - type: ipv6_slaac")
		case "static":
			line("      - type: static6\n        address: '%s'", c.v6.prefix)
		}
		if c.v6.mode == "static" && c.v6.gateway != "" {
			line("        gateway: %s", quoted(c.v6.gateway))
		}
	}
	servers, domains := g.dns()
	if len(servers)+len(domains) > 0 {
		line("    - type: nameserver")
	}
	list := func(name string, values []string) {
		for i, v := range values {
			if i == 0 {
				line("      %s:", name)
			}
			line("      - %s", quoted(v))
		}
	}
	list("address", servers)
	list("search", domains)
	return b.String(), nil
}

// quoted writes text in the single quotes of YAML.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// interfaces is a Debian interfaces file, as config drives carry it.
func (g Guest) interfaces() (string, error) {
	cards, err := g.cards()
	if err != nil {
		return "", err
	}
	servers, domains := g.dns()
	windows := isWindows(g.Config)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	list := func(name string, values []string) {
		if len(values) > 0 {
			line("        %s %s", name, strings.Join(values, " "))
		}
	}
	line("auto lo\niface lo inet loopback\n")
	for _, c := range cards {
		line("auto eth%d", c.index)
		for _, a := range []struct {
			family, mask string
			address
		}{{"inet", c.v4.netmask(), c.v4}, {"inet6", fmt.Sprint(c.v6.prefix.Bits()), c.v6}} {
			if a.mode != "" {
				line("iface eth%d %s %s", c.index, a.family, a.mode)
			}
			if a.mode != "static" {
				continue
			}
			if windows && c.mac != "" { // names mean nothing there
				line("        hwaddress ether %s", c.hardware)
			}
			line("        address %s\n        netmask %s", a.prefix.Addr(), a.mask)
			if a.gateway != "" {
				line("        gateway %s", a.gateway)
			}
			if windows { // cloudbase-init wants them with each card, and spelled so
				list("dns-nameservers", servers)
				list("dns-search", domains)
			}
		}
	}
	if !windows {
		list("dns_nameservers", servers)
		list("dns_search", domains)
	}
	return b.String(), nil
}
