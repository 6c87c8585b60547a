package setup

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// NetworkScripts writes the ifcfg files of Red Hat and its kin, which the network service and
// NetworkManager up to that of release 9 read.
func (t *Target) NetworkScripts(cards []Card) error {
	const folder = "/etc/sysconfig/network-scripts"
	if err := t.Mkdir(folder); err != nil {
		return err
	}
	four, six := false, false
	for _, c := range cards {
		four, six = four || c.V4.Text != "", six || c.V6.Text != ""
		if c.V4.Text == "" && c.V6.Text == "" {
			continue
		}
		name := folder + "/ifcfg-" + c.Name
		text, err := t.ifcfg(name, c)
		if err != nil {
			return err
		}
		if err := t.Write(name, text); err != nil {
			return err
		}
		if err := t.Managed(folder+"/route-"+c.Name, scriptRoutes(c.Name, c.V4), Prepend); err != nil {
			return err
		}
		if err := t.Managed(folder+"/route6-"+c.Name, scriptRoutes(c.Name, c.V6), Prepend); err != nil {
			return err
		}
	}
	return t.Edit("/etc/sysconfig/network", func(text string) string {
		if four {
			text = variable(text, "NETWORKING", "yes")
		}
		if six {
			text = variable(text, "NETWORKING_IPV6", "yes")
		}
		return text
	})
}

// variable sets a variable in a file of shell variables.
func variable(text, name, value string) string {
	line := name + "=" + value
	old := regexp.MustCompile(`(?m)^` + name + `=.*$`)
	if old.MatchString(text) {
		return old.ReplaceAllLiteralString(text, line)
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + line + "\n"
}

var uuidLine = pattern.New(`(?m)^(?i:uuid)=([0-9A-Fa-f-]{36})$`)

// connectionID returns the id that a connection has in a file, or a new one.
func (t *Target) connectionID(name string) (string, error) {
	old, _, err := t.Read(name)
	if err != nil {
		return "", err
	}
	if m := uuidLine.FindStringSubmatch(old); m != nil {
		return m[1], nil
	}
	return t.Env.UUID(), nil
}

func (t *Target) ifcfg(name string, c Card) (string, error) {
	id, err := t.connectionID(name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	proto := "none"
	if c.V4.Text == "dhcp" {
		proto = "dhcp"
	}
	fmt.Fprintf(&b, "DEVICE=%s\nONBOOT=yes\nUUID=%s\nBOOTPROTO=%s\n", c.Name, id, proto)
	if c.V4.Static() {
		fmt.Fprintf(&b, "IPADDR=%s\nNETMASK=%s\n", c.V4.Prefix.Addr(), c.V4.Netmask())
		if c.V4.Gateway != "" {
			fmt.Fprintf(&b, "GATEWAY=%s\n", c.V4.Gateway)
		}
	}
	b.WriteString(ifcfg6(c.V6))
	if c.Hidden {
		b.WriteString("NM_CONTROLLED=no\n")
		return b.String(), nil
	}
	servers, domains := t.Resolve()
	for i, s := range servers {
		fmt.Fprintf(&b, "DNS%d=%s\n", i+1, s)
	}
	if len(domains) > 0 {
		fmt.Fprintf(&b, "DOMAIN=%s\n", quoted(strings.Join(domains, " ")))
	}
	return b.String(), nil
}

// quoted puts quotes around a value of several words.
func quoted(value string) string {
	if strings.Contains(value, " ") {
		return `"` + value + `"`
	}
	return value
}

func ifcfg6(a Address) string {
	switch {
	case a.Text == "auto":
		return "IPV6INIT=yes\nIPV6_AUTOCONF=yes\n"
	case a.Text == "dhcp":
		return "IPV6INIT=yes\nIPV6_AUTOCONF=no\nDHCPV6C=yes\n"
	case !a.Static():
		return ""
	}
	text := "IPV6INIT=yes\nIPV6ADDR=" + a.Text + "\nIPV6_AUTOCONF=no\n"
	if a.Gateway != "" && !a.NeedsRoute() {
		text += "IPV6_DEFAULTGW=" + a.Gateway + "\n"
	}
	return text
}

// scriptRoutes are the routes to a gateway that the address alone does not reach.
func scriptRoutes(name string, a Address) string {
	if !a.NeedsRoute() {
		return ""
	}
	return a.Gateway + " dev " + name + "\ndefault via " + a.Gateway + " dev " + name + "\n"
}
