package setup

import "strings"

// Networkd writes the files of systemd-networkd.
func (t *Target) Networkd(cards []Card) error {
	const folder = "/etc/systemd/network"
	if len(cards) == 0 {
		return nil
	}
	if err := t.Mkdir(folder); err != nil {
		return err
	}
	for _, c := range cards {
		if err := t.Write(folder+"/"+c.Name+".network", networkdFile(c)); err != nil {
			return err
		}
	}
	return nil
}

func networkdFile(c Card) string {
	var b strings.Builder
	b.WriteString("[Match]\nName = " + c.Name + "\n\n")
	if c.Hidden {
		// Else it would take away the addresses that the host has set.
		b.WriteString("[Link]\nUnmanaged = yes\n")
		return b.String()
	}
	b.WriteString("[Network]\nDescription = Interface " + c.Name + " autoconfigured by PVE\n")
	var routes strings.Builder
	for _, side := range []struct {
		Address
		length string
	}{{c.V4, "/32"}, {c.V6, "/128"}} {
		if side.Static() {
			b.WriteString("Address = " + side.Text + "\n")
		}
		if side.Gateway == "" {
			continue
		}
		b.WriteString("Gateway = " + side.Gateway + "\n")
		if side.NeedsRoute() {
			routes.WriteString("\n[Route]\nDestination = " + side.Gateway + side.length + "\nScope = link\n")
		}
	}
	dhcp := map[[2]bool]string{{false, false}: "no", {true, false}: "ipv4", {false, true}: "ipv6", {true, true}: "yes"}
	b.WriteString("DHCP = " + dhcp[[2]bool{c.V4.Text == "dhcp", c.V6.Text == "dhcp"}] + "\n")
	accept := "false"
	if c.V6.Text == "auto" && c.V6.Gateway == "" {
		accept = "true"
	}
	b.WriteString("IPv6AcceptRA = " + accept + "\n")
	b.WriteString(routes.String())
	return b.String()
}
