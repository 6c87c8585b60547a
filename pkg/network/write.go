package network

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

const header = `# Network of this node. Written by virtsmith, which keeps what it does not know
# inside the stanzas, and the order of everything; comments outside of stanzas go.

`

// WriteTo writes the file. It leaves f as it was.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	twin := f.Clone()
	twin.portsFollow()
	var b strings.Builder
	b.WriteString(header)
	open := false // an option line stands above without a blank one
	for _, e := range twin.order() {
		if e.iface == nil {
			b.WriteString(e.option + "\n")
			open = true
			continue
		}
		if open {
			b.WriteByte('\n')
			open = false
		}
		if e.iface.Autostart {
			b.WriteString("auto " + e.iface.Name + "\n")
		}
		e.iface.stanzas(&b)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// element is an interface or a line between them.
type element struct {
	priority int
	rank     int
	iface    *Iface
	option   string
}

// order returns what the file holds as it is written: what has a place stays
// there, what is new goes behind the last of its kin.
func (f *File) order() []element {
	var placed, fresh []element
	for _, option := range f.Options {
		placed = append(placed, element{priority: option.Priority, option: option.Text})
	}
	for _, name := range f.Names() {
		e := element{priority: f.Ifaces[name].Priority, rank: f.rank(name), iface: f.Ifaces[name]}
		if e.priority > 0 {
			placed = append(placed, e)
		} else {
			fresh = append(fresh, e)
		}
	}
	slices.SortStableFunc(placed, func(a, b element) int { return cmp.Compare(a.priority, b.priority) })
	slices.SortStableFunc(fresh, func(a, b element) int { return cmp.Compare(a.rank, b.rank) })
	for _, e := range fresh {
		at := 0
		for n, other := range placed {
			if other.iface != nil && other.rank <= e.rank {
				at = n + 1
			}
		}
		placed = slices.Insert(placed, at, e)
	}
	return placed
}

// stanzas writes one stanza a family. What belongs to the interface itself
// stands in the first.
func (i *Iface) stanzas(b *strings.Builder) {
	families := i.Families
	if len(families) == 0 {
		families = []string{"inet"}
	}
	for n, name := range families {
		switch name {
		case "inet":
			fmt.Fprintf(b, "iface %s inet %s\n", i.Name, cmp.Or(i.Inet.Method, "manual"))
			i.Inet.write(b)
		case "inet6":
			fmt.Fprintf(b, "iface %s inet6 %s\n", i.Name, cmp.Or(i.Inet6.Method, "manual"))
			i.Inet6.write(b)
		default:
			fmt.Fprintf(b, "iface %s\n", i.Name)
			i.Inet.write(b)
			i.Inet6.write(b)
		}
		if n == 0 {
			i.writeKeys(b)
		}
		if name != "inet6" {
			i.Inet.writeRest(b)
		}
		if name != "inet" {
			i.Inet6.writeRest(b)
		}
		b.WriteByte('\n')
	}
}

func (f Family) write(b *strings.Builder) {
	if f.Address != "" {
		address := f.Address
		if f.Netmask != "" && !strings.Contains(address, "/") {
			address += "/" + f.Netmask
		}
		say(b, "address", address)
	}
	if f.Gateway != "" {
		say(b, "gateway", f.Gateway)
	}
}

func (f Family) writeRest(b *strings.Builder) {
	for _, option := range f.Options {
		fmt.Fprintf(b, "\t%s\n", option)
	}
	for comment := range strings.Lines(f.Comments) {
		fmt.Fprintf(b, "#%s\n", strings.TrimSuffix(comment, "\n"))
	}
}

func say(b *strings.Builder, key, value string) {
	fmt.Fprintf(b, "\t%s %s\n", key, value)
}

// writeKeys writes what the kind of interface is made of, then everything else
// it carries.
func (i *Iface) writeKeys(b *strings.Builder) {
	left := maps.Clone(i.Keys)
	take := func(name, key string) {
		if value, ok := left[key]; ok {
			say(b, name, value)
			delete(left, key)
		}
	}
	switch i.Type {
	case "bridge":
		i.writeBridge(b, left)
	case "bond":
		say(b, "bond-slaves", cmp.Or(left["slaves"], "none"))
		delete(left, "slaves")
		take("bond-miimon", "bond_miimon")
		take("bond-mode", "bond_mode")
		take("bond-primary", "bond-primary")
		take("bond-xmit-hash-policy", "bond_xmit_hash_policy")
	case "vlan":
		if childName.MatchString(i.Name) {
			delete(left, "vlan-raw-device")
			delete(left, "vlan-id")
		} else if vlanName.MatchString(i.Name) {
			delete(left, "vlan-id")
		}
	case "vxlan":
		take("vxlan-id", "vxlan-id")
		take("vxlan-svcnodeip", "vxlan-svcnodeip")
		take("vxlan-physdev", "vxlan-physdev")
		take("vxlan-local-tunnelip", "vxlan-local-tunnelip")
		for _, peer := range i.Remotes {
			say(b, "vxlan-remoteip", peer)
		}
	case "OVSPort", "OVSIntPort", "OVSBond", "OVSBridge":
		i.writeOVS(b, left)
	}
	for _, key := range slices.Sorted(maps.Keys(left)) {
		if !strings.HasPrefix(key, "ovs_") {
			say(b, key, left[key])
		}
	}
}

func (i *Iface) writeBridge(b *strings.Builder, left map[string]string) {
	say(b, "bridge-ports", cmp.Or(left["bridge_ports"], "none"))
	say(b, "bridge-stp", cmp.Or(left["bridge_stp"], "off"))
	say(b, "bridge-fd", cmp.Or(left["bridge_fd"], "0"))
	if left["bridge_vlan_aware"] != "" {
		say(b, "bridge-vlan-aware", "yes")
		say(b, "bridge-vids", cmp.Or(left["bridge_vids"], "2-4094"))
	}
	for _, key := range []string{"bridge_ports", "bridge_stp", "bridge_fd", "bridge_vlan_aware", "bridge_vids"} {
		delete(left, key)
	}
}

func (i *Iface) writeOVS(b *strings.Builder, left map[string]string) {
	if i.Type == "OVSBond" {
		say(b, "ovs_bonds", left["ovs_bonds"])
	}
	say(b, "ovs_type", i.Type)
	if i.Type != "OVSBridge" && left["ovs_bridge"] != "" {
		say(b, "ovs_bridge", left["ovs_bridge"])
	}
	if i.Type == "OVSBridge" && left["ovs_ports"] != "" {
		say(b, "ovs_ports", left["ovs_ports"])
	}
	if left["mtu"] != "" {
		say(b, "ovs_mtu", left["mtu"])
	}
	if options := i.ovsOptions(); options != "" {
		say(b, "ovs_options", options)
	}
	delete(left, "mtu")
	delete(left, "bond_mode")
}
