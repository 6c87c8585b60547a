package network

import (
	"regexp"
	"strings"
)

var (
	physicalName = regexp.MustCompile(`^(?:eth\d+|en[^:.]+|ib[^:.]+|nic\d+)$`)
	bondName     = regexp.MustCompile(`^bond\d+$`)
	bridgeName   = regexp.MustCompile(`^vmbr\d+$`)
	vlanName     = regexp.MustCompile(`^vlan(\d+)$`)
	childName    = regexp.MustCompile(`^(\S+)([.:])(\d+)$`)
)

// classify finds out what kind of interface each is, from its name, its keys
// and the machine's links.
func (f *File) classify(links map[string]Link) {
	for _, i := range f.Ifaces {
		i.Type = i.kind(links)
		if i.Type == "vlan" {
			i.nameVLAN()
		}
		i.Active = links[i.Name].Active
		i.Exists = links[i.Name].Physical
		if i.Inet.Method == "" {
			i.Inet.Method = "manual"
		}
		if i.Inet6.Method == "" {
			i.Inet6.Method = "manual"
		}
		if strings.HasPrefix(i.Type, "OVS") {
			i.readOVSOptions()
		}
	}
	for _, i := range f.Ifaces {
		if i.Type == "vlan" {
			i.Exists = f.stands(i.Keys["vlan-raw-device"], 0)
		}
	}
}

// stands tells whether the device under a VLAN, itself perhaps a VLAN, is a
// physical port of this machine.
func (f *File) stands(name string, depth int) bool {
	below := f.Ifaces[name]
	if below == nil || depth > len(f.Ifaces) {
		return false
	}
	if below.Type == "vlan" {
		return f.stands(below.Keys["vlan-raw-device"], depth+1)
	}
	return below.Exists
}

func (i *Iface) kind(links map[string]Link) string {
	child := childName.FindStringSubmatch(i.Name)
	switch {
	case i.Name == "lo":
		return "loopback"
	case i.Keys["ovs_type"] != "":
		return i.Keys["ovs_type"]
	case links[i.Name].Physical:
		return "eth"
	case bondName.MatchString(i.Name) || i.has("slaves"):
		return "bond"
	case i.has("bridge_ports") || bridgeName.MatchString(i.Name):
		return "bridge"
	case i.has("vxlan-id"):
		return "vxlan"
	case child != nil && child[2] == ":":
		return "alias"
	case child != nil || i.has("vlan-raw-device") || vlanName.MatchString(i.Name):
		return "vlan"
	case physicalName.MatchString(i.Name):
		return "eth"
	}
	return "unknown"
}

// nameVLAN reads the tag and the device below off the name, as far as the
// stanza does not say them.
func (i *Iface) nameVLAN() {
	if child := childName.FindStringSubmatch(i.Name); child != nil {
		i.Keys["vlan-raw-device"], i.Keys["vlan-id"] = child[1], child[3]
	} else if tag := vlanName.FindStringSubmatch(i.Name); tag != nil {
		i.Keys["vlan-id"] = tag[1]
	}
}

func (i *Iface) has(key string) bool {
	_, ok := i.Keys[key]
	return ok
}

// rank says where among other interfaces one of this kind goes: what others
// are made of comes first. Names that stand on another one go behind it.
func (f *File) rank(name string) int {
	if i := f.Ifaces[name]; i == nil || i.Type == "vlan" || i.Type == "alias" {
		if child := childName.FindStringSubmatch(name); child != nil {
			return f.rank(child[1]) + 1
		}
	}
	i := f.Ifaces[name]
	if i == nil {
		return 700
	}
	switch i.Type {
	case "loopback":
		return 100
	case "eth", "OVSPort":
		return 200
	case "OVSIntPort":
		return 300
	case "bond", "OVSBond":
		return 400
	case "bridge", "OVSBridge":
		return 500
	case "vlan":
		return 600
	case "vxlan":
		return 700
	}
	return 800
}
