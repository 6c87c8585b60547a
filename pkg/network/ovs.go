package network

import "strings"

// readOVSOptions takes the tag and the bond mode out of the options for the
// Open vSwitch database; the rest stays as it is.
func (i *Iface) readOVSOptions() {
	words := strings.Fields(i.Keys["ovs_options"])
	if len(words) == 0 {
		return
	}
	var rest []string
	var mode string
	lacp := false
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case key == "tag":
			i.Keys["ovs_tag"] = value
		case key == "bond_mode" && i.Type == "OVSBond":
			mode = value
		case word == "lacp=active" && i.Type == "OVSBond":
			lacp = true
		default:
			rest = append(rest, word)
		}
	}
	switch {
	case lacp && (mode == "balance-slb" || mode == "balance-tcp"):
		mode = "lacp-" + mode
	case lacp:
		rest = append(rest, "lacp=active")
	}
	if mode != "" {
		i.Keys["bond_mode"] = mode
	}
	delete(i.Keys, "ovs_options")
	if len(rest) > 0 {
		i.Keys["ovs_options"] = strings.Join(rest, " ")
	}
}

// ovsOptions puts together again what readOVSOptions took apart.
func (i *Iface) ovsOptions() string {
	words := strings.Fields(i.Keys["ovs_options"])
	if tag := i.Keys["ovs_tag"]; tag != "" {
		words = append(words, "tag="+tag)
	}
	if mode := i.Keys["bond_mode"]; mode != "" && i.Type == "OVSBond" {
		plain, lacp := strings.CutPrefix(mode, "lacp-")
		if lacp {
			words = append(words, "lacp=active")
		}
		words = append(words, "bond_mode="+plain)
	}
	return strings.Join(words, " ")
}

// portsFollow makes the ports of Open vSwitch bridges, and the members of bonds
// of either kind, agree with what the bridge or bond says.
func (f *File) portsFollow() {
	bridge := map[string]string{} // port → bridge
	for _, name := range f.Names() {
		i := f.Ifaces[name]
		if i.Type == "OVSBridge" {
			for port := range strings.FieldsSeq(i.Keys["ovs_ports"]) {
				bridge[port] = name
			}
		}
	}
	for _, name := range f.Names() {
		i := f.Ifaces[name]
		on := bridge[name]
		switch {
		case on != "" && i.Type == "eth":
			i.Type, i.Autostart = "OVSPort", true
			fallthrough
		case on != "":
			i.Keys["ovs_bridge"] = on
		case i.Type == "OVSPort" || i.Type == "OVSIntPort" || i.Type == "OVSBond":
			// The bridge let go of it. A real port is plain again.
			delete(f.Ifaces, name)
			if i.Exists {
				f.Ifaces[name] = newPort(name)
			}
		}
	}
	for _, name := range f.Names() {
		i := f.Ifaces[name]
		var members string
		switch i.Type {
		case "bond":
			members = i.Keys["slaves"]
		case "OVSBond":
			members = i.Keys["ovs_bonds"]
		}
		for member := range strings.FieldsSeq(members) {
			if port := f.Ifaces[member]; port != nil {
				port.Autostart = true
			}
		}
	}
}
