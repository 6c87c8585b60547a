package network

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set changes one property of the interface, by the name the API gives it.
func (i *Iface) Set(key, value string) error {
	if i.Keys == nil {
		i.Keys = map[string]string{}
	}
	family, base := &i.Inet, key
	if trimmed, six := strings.CutSuffix(key, "6"); six {
		family, base = &i.Inet6, trimmed
	}
	switch base {
	case "method":
		family.Method = value
		return nil
	case "address":
		family.Address = value
		if strings.Contains(value, "/") {
			family.Address, family.Netmask, _ = strings.Cut(value, "/")
		}
		return nil
	case "netmask":
		family.Netmask = prefixLength(value)
		return nil
	case "gateway":
		family.Gateway = value
		return nil
	case "comments":
		family.Comments = value
		return nil
	case "cidr":
		return family.setCIDR(value)
	}
	switch key {
	case "type":
		i.Type = value
	case "autostart":
		i.Autostart = value == "1"
	case "exists":
		i.Exists = value == "1"
	case "families":
		i.Families = strings.Fields(value)
	case "vxlan-remoteip":
		i.Remotes = strings.Fields(value)
	case "ovs_tag":
		i.Keys[key] = value
	default:
		if !i.key(key, value) {
			return fmt.Errorf("interface %s: %w: no such option %q", i.Name, ErrInvalid, key)
		}
	}
	return nil
}

func (f *Family) setCIDR(value string) error {
	address, prefix, ok := strings.Cut(value, "/")
	if !ok {
		return fmt.Errorf("%w: %q has no prefix length", ErrInvalid, value)
	}
	f.Address, f.Netmask = address, prefix
	return nil
}

// Unset takes one property away, by the name the API gives it.
func (i *Iface) Unset(key string) {
	switch key {
	case "method":
		i.Inet.Method = ""
	case "method6":
		i.Inet6.Method = ""
	case "address", "cidr":
		i.Inet.Address, i.Inet.Netmask = "", ""
	case "address6", "cidr6":
		i.Inet6.Address, i.Inet6.Netmask = "", ""
	case "gateway":
		i.Inet.Gateway = ""
	case "gateway6":
		i.Inet6.Gateway = ""
	case "comments":
		i.Inet.Comments = ""
	case "comments6":
		i.Inet6.Comments = ""
	case "autostart":
		i.Autostart = false
	case "exists":
		i.Exists = false
	case "priority":
		i.Priority = 0
	case "families":
		i.Families = nil
	case "vxlan-remoteip":
		i.Remotes = nil
	case "mtu", "ovs_mtu":
		delete(i.Keys, "mtu")
	default:
		delete(i.Keys, key)
	}
}

// Add puts a new interface into the file, or returns the one of that name.
func (f *File) Add(name string) *Iface {
	if f.Ifaces[name] == nil {
		f.Ifaces[name] = &Iface{Name: name, Keys: map[string]string{}}
	}
	return f.Ifaces[name]
}

// Clone returns a copy that shares nothing with the file.
func (f *File) Clone() *File {
	twin := &File{Ifaces: map[string]*Iface{}, Options: slices.Clone(f.Options)}
	for name, i := range f.Ifaces {
		copied := *i
		copied.Families = slices.Clone(i.Families)
		copied.Remotes = slices.Clone(i.Remotes)
		copied.Keys = maps.Clone(i.Keys)
		copied.Inet.Options = slices.Clone(i.Inet.Options)
		copied.Inet6.Options = slices.Clone(i.Inet6.Options)
		twin.Ifaces[name] = &copied
	}
	return twin
}
