package network

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	autoLine  = regexp.MustCompile(`^\s*(?:auto|allow-auto|allow-hotplug)\s+(.*?)\s*$`)
	allowLine = regexp.MustCompile(`^\s*allow-\S+\s`)
	ifaceLine = regexp.MustCompile(`^\s*iface\s+(\S+)(?:\s+(inet6?)\s+(\S+))?\s*$`)
	keyLine   = regexp.MustCompile(`^\s*(\S+)\s+(.*?)\s*$`)
)

// Read parses the file and completes it from the machine's links.
func Read(r io.Reader, links []Link) (*File, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read network interfaces: %w", err)
	}
	p := &parser{file: &File{Ifaces: map[string]*Iface{}}, auto: map[string]bool{}, next: 2}
	for line := range strings.Lines(string(text)) {
		p.line(strings.TrimRight(line, "\r\n"))
	}
	return p.finish(links), nil
}

// parser walks the lines; inside a stanza, iface and family are set.
type parser struct {
	file   *File
	auto   map[string]bool
	iface  *Iface
	family string
	next   int // priority of what comes next
}

func (p *parser) line(line string) {
	if match := autoLine.FindStringSubmatch(line); match != nil {
		for name := range strings.FieldsSeq(match[1]) {
			p.auto[name] = true
		}
		p.iface = nil
		return
	}
	if match := ifaceLine.FindStringSubmatch(line); match != nil {
		p.begin(match[1], match[2], match[3])
		return
	}
	trimmed := strings.TrimSpace(line)
	switch {
	case allowLine.MatchString(line):
		p.iface = nil // how Open vSwitch ports were started once; the bridge does it now
	case trimmed == "":
		p.iface = nil
	case p.iface != nil:
		p.inside(line)
	case !strings.HasPrefix(trimmed, "#"):
		p.file.Options = append(p.file.Options, Option{p.place(), strings.TrimRight(line, " \t")})
	}
}

func (p *parser) place() int {
	p.next++
	return p.next - 1
}

func (p *parser) begin(name, family, method string) {
	i := p.file.Ifaces[name]
	if i == nil {
		i = &Iface{Name: name, Priority: p.place(), Keys: map[string]string{}}
		p.file.Ifaces[name] = i
	}
	if !slices.Contains(i.Families, family) {
		i.Families = append(i.Families, family)
	}
	p.iface, p.family = i, family
	switch family {
	case "inet":
		i.Inet.Method = method
	case "inet6":
		i.Inet6.Method = method
	}
}

// inside takes one line of a stanza.
func (p *parser) inside(line string) {
	family := &p.iface.Inet
	if p.family == "inet6" {
		family = &p.iface.Inet6
	}
	if comment, ok := strings.CutPrefix(line, "#"); ok {
		family.Comments += comment + "\n"
		return
	}
	match := keyLine.FindStringSubmatch(line)
	if match == nil {
		family.Options = append(family.Options, strings.TrimSpace(line))
		return
	}
	key, value := match[1], match[2]
	switch key {
	case "address", "gateway", "netmask":
		if p.family == "" && isIPv6(strings.SplitN(value, "/", 2)[0]) {
			family = &p.iface.Inet6
		}
		if !family.set(key, value) {
			family.Options = append(family.Options, key+" "+value)
		}
	default:
		if !p.iface.key(key, value) {
			family.Options = append(family.Options, key+" "+value)
		}
	}
}

// set takes an address, a gateway or a netmask in any of its spellings. It
// refuses a second one: an interface may have more addresses than we show.
func (f *Family) set(key, value string) bool {
	switch {
	case key == "address" && f.Address == "":
		address, prefix, cut := strings.Cut(value, "/")
		f.Address = address
		if cut {
			f.Netmask = prefix
		}
	case key == "gateway" && f.Gateway == "":
		f.Gateway = value
	case key == "netmask" && f.Netmask == "":
		f.Netmask = prefixLength(value)
	default:
		return false
	}
	return true
}

// spelled gives the API's name of a key of the file. The older spelling with
// underscores is read too.
func spelled(key string) (name string, known bool) {
	switch key {
	case "slaves", "bond-slaves", "bond_slaves":
		return "slaves", true
	case "bond-primary", "bond_primary":
		return "bond-primary", true
	case "bridge-ports", "bridge-stp", "bridge-fd", "bridge-vids", "bridge-vlan-aware",
		"bond-miimon", "bond-mode", "bond-xmit-hash-policy":
		return strings.ReplaceAll(key, "-", "_"), true
	case "bridge_ports", "bridge_stp", "bridge_fd", "bridge_vids", "bridge_vlan_aware",
		"bond_miimon", "bond_mode", "bond_xmit_hash_policy",
		"ovs_type", "ovs_options", "ovs_bridge", "ovs_bonds", "ovs_ports",
		"mtu", "vlan-id", "vlan-raw-device", "vlan-protocol", "uplink-id",
		"vxlan-id", "vxlan-svcnodeip", "vxlan-physdev", "vxlan-local-tunnelip",
		"bridge-access", "bridge-learning", "bridge-arp-nd-suppress", "bridge-unicast-flood", "bridge-multicast-flood":
		return key, true
	case "ovs_mtu":
		return "mtu", true
	case "vlan_raw_device":
		return "vlan-raw-device", true
	}
	return "", false
}

// key takes a line of the stanza that belongs to the interface and not to an
// address family; false where it is none of ours.
func (i *Iface) key(key, value string) bool {
	if key == "vxlan-remoteip" {
		i.Remotes = append(i.Remotes, value)
		return true
	}
	name, known := spelled(key)
	if !known {
		return false
	}
	switch name {
	case "ovs_type":
		if !slices.Contains([]string{"OVSPort", "OVSIntPort", "OVSBond", "OVSBridge"}, value) {
			return false
		}
	case "bridge_ports", "slaves", "ovs_ports", "ovs_bonds":
		value = strings.Join(strings.Fields(value), " ")
		if value == "none" {
			value = ""
		}
	case "bridge_vlan_aware":
		if value = strings.ToLower(value); value == "no" || value == "off" || value == "0" {
			return true
		}
		value = "yes"
	}
	i.Keys[name] = value
	return true
}

// finish adds what the file leaves unsaid: the loopback and the ports that are
// plugged in.
func (p *parser) finish(links []Link) *File {
	byName := map[string]Link{}
	for _, link := range links {
		byName[link.Name] = link
		if link.Physical && p.file.Ifaces[link.Name] == nil {
			p.file.Ifaces[link.Name] = newPort(link.Name)
		}
	}
	addLoopback := p.file.Ifaces["lo"] == nil
	if addLoopback {
		p.auto["lo"] = true
		p.file.Ifaces["lo"] = &Iface{
			Name: "lo", Priority: 1, Families: []string{"inet"}, Inet: Family{Method: "loopback"}, Keys: map[string]string{},
		}
	}
	for name := range p.auto {
		if i := p.file.Ifaces[name]; i != nil {
			i.Autostart = true
		}
	}
	for _, i := range p.file.Ifaces {
		i.settleFamilies()
	}
	p.file.classify(byName)
	if addLoopback {
		p.file.Ifaces["lo"].Active = false
	}
	return p.file
}

// settleFamilies gives an interface that has stanzas with and without a family
// only such with one, as the one without speaks for both.
func (i *Iface) settleFamilies() {
	if len(i.Families) < 2 || !slices.Contains(i.Families, "") {
		return
	}
	six := slices.Contains(i.Families, "inet6") || i.Inet6.Address != ""
	i.Families = []string{"inet"}
	if i.Inet.Method == "" && i.Inet.Address != "" {
		i.Inet.Method = "static"
	}
	if six {
		i.Families = append(i.Families, "inet6")
		if i.Inet6.Method == "" && i.Inet6.Address != "" {
			i.Inet6.Method = "static"
		}
	}
}

// newPort is a physical port that nothing has been said about.
func newPort(name string) *Iface {
	return &Iface{
		Name: name, Type: "eth", Exists: true, Families: []string{"inet"},
		Inet: Family{Method: "manual"}, Inet6: Family{Method: "manual"}, Keys: map[string]string{},
	}
}

func isIPv6(text string) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Is6()
}

// prefixLength turns a dotted netmask into a number; what is one already stays.
func prefixLength(mask string) string {
	addr, err := netip.ParseAddr(mask)
	if err != nil || !addr.Is4() {
		return mask
	}
	ones, bits := net.IPMask(addr.AsSlice()).Size()
	if bits == 0 {
		return mask
	}
	return strconv.Itoa(ones)
}
