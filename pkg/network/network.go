// Package network reads and writes the file that describes a node's network,
// /etc/network/interfaces, in the dialect of ifupdown2 that Proxmox VE writes.
//
// What the file does not say is completed from the machine's links when it is
// read: their type, whether they exist, whether they are up. When it is written,
// interfaces keep their order, new ones go behind their kin, and ports of bonds
// and of Open vSwitch bridges follow what those say.
package network

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// ErrInvalid is wrapped by every error about the content of the file.
var ErrInvalid = errors.New("invalid network configuration")

// Link is what the machine knows of an interface.
type Link struct {
	Name     string
	Physical bool // an Ethernet port, not something made by software
	Active   bool // it is up
}

// File is the content of /etc/network/interfaces.
type File struct {
	Ifaces  map[string]*Iface
	Options []Option // lines that belong to no interface, such as source
}

// Option is a line outside of interface stanzas and its place among them.
type Option struct {
	Priority int
	Text     string
}

// Iface is one interface with its stanzas for both address families.
type Iface struct {
	Name      string
	Type      string // eth, bond, bridge, vlan, vxlan, alias, loopback, unknown, or one of the OVS kinds
	Priority  int    // place in the file; 0: none yet
	Autostart bool
	Active    bool
	Exists    bool     // a physical port that is plugged in, or a VLAN on top of one
	Families  []string // inet, inet6, or one empty string for a stanza without a family
	Inet      Family
	Inet6     Family
	Remotes   []string // VXLAN peers
	Keys      map[string]string
}

// Family is what an interface says for one address family.
type Family struct {
	Method   string
	Address  string // may carry the prefix length
	Netmask  string // the prefix length
	Gateway  string
	Options  []string // lines that mean nothing to us
	Comments string
}

// CIDR returns the address with its prefix length, or nothing without one.
func (f Family) CIDR() string {
	switch {
	case f.Address == "":
		return ""
	case f.Netmask != "":
		return f.Address + "/" + f.Netmask
	case isIPv6(f.Address):
		return f.Address + "/128"
	}
	return f.Address + "/32"
}

// Names returns the names of all interfaces, sorted.
func (f *File) Names() []string {
	return slices.Sorted(maps.Keys(f.Ifaces))
}

// MarshalJSON gives the interface as the API shows it.
func (i *Iface) MarshalJSON() ([]byte, error) {
	m := map[string]any{"type": i.Type, "method": i.Inet.Method, "method6": i.Inet6.Method}
	for key, value := range i.Keys {
		m[key] = value
	}
	for key, on := range map[string]bool{"autostart": i.Autostart, "active": i.Active, "exists": i.Exists} {
		if on {
			m[key] = 1
		} else if key == "exists" && i.Type == "vlan" {
			m[key] = nil
		}
	}
	if i.Keys["bridge_vlan_aware"] != "" {
		m["bridge_vlan_aware"] = 1
	}
	if i.Priority > 0 {
		m["priority"] = i.Priority
	}
	families := make([]any, len(i.Families))
	for n, family := range i.Families {
		if family != "" {
			families[n] = family
		}
	}
	m["families"] = families
	if len(i.Remotes) > 0 {
		m["vxlan-remoteip"] = i.Remotes
	}
	i.Inet.show(m, "")
	i.Inet6.show(m, "6")
	return json.Marshal(m)
}

func (f Family) show(m map[string]any, suffix string) {
	for key, value := range map[string]string{
		"address": f.Address, "netmask": f.Netmask, "gateway": f.Gateway, "cidr": f.CIDR(), "comments": f.Comments,
	} {
		if value != "" {
			m[key+suffix] = value
		}
	}
	if len(f.Options) > 0 {
		m["options"+suffix] = f.Options
	}
}
