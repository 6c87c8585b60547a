package setup

import (
	"fmt"
	"strings"
)

// KeyFiles writes the connections of NetworkManager in its own form, all that it reads since the
// ifcfg files went.
func (t *Target) KeyFiles(cards []Card) error {
	const folder = "/etc/NetworkManager/system-connections"
	if len(cards) == 0 {
		return nil
	}
	if err := t.Mkdir(folder); err != nil {
		return err
	}
	for _, c := range cards {
		if c.V4.Text == "" && c.V6.Text == "" {
			continue
		}
		name := folder + "/" + c.Name + ".nmconnection"
		id, err := t.connectionID(name)
		if err != nil {
			return err
		}
		// NetworkManager ignores a file that others may read.
		if err := t.WriteMode(name, t.keyFile(c, id), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) keyFile(c Card, id string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[connection]\nid=%s\nuuid=%s\ntype=ethernet\ninterface-name=%s\n", c.Name, id, c.Name)
	if c.Hidden || !c.V4.wanted() && !c.V6.wanted() {
		b.WriteString("autoconnect=false\n")
	}
	servers, domains := t.Resolve()
	for _, side := range []struct {
		Address
		name, off string
		six       bool
	}{{c.V4, "ipv4", "disabled", false}, {c.V6, "ipv6", "ignore", true}} {
		fmt.Fprintf(&b, "\n[%s]\n", side.name)
		switch {
		case side.Static():
			fmt.Fprintf(&b, "method=manual\naddress1=%s\n", side.Text)
			if side.Gateway != "" { // one out of the network gets its route by itself
				fmt.Fprintf(&b, "gateway=%s\n", side.Gateway)
			}
		case side.Text == "dhcp" && !side.six, side.Text == "auto":
			b.WriteString("method=auto\n")
		case side.Text == "dhcp":
			b.WriteString("method=dhcp\n")
		default:
			fmt.Fprintf(&b, "method=%s\n", side.off)
			continue
		}
		var dns []string
		for _, s := range servers {
			if strings.Contains(s, ":") == side.six {
				dns = append(dns, s+";")
			}
		}
		if len(dns) > 0 {
			fmt.Fprintf(&b, "dns=%s\n", strings.Join(dns, ""))
		}
		if len(domains) > 0 {
			fmt.Fprintf(&b, "dns-search=%s;\n", strings.Join(domains, ";"))
		}
	}
	return b.String()
}

// wanted tells whether there is anything to set up.
func (a Address) wanted() bool { return a.Text != "" && !a.Manual() }
