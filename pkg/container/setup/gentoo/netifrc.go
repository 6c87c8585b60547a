package gentoo

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
)

// netifrc returns the settings of the cards: shell variables with one address or route a line.
func netifrc(cards []setup.Card, iproute bool) string {
	var b strings.Builder
	module := "ifconfig"
	if iproute {
		module = "iproute2"
	}
	fmt.Fprintf(&b, "modules=\"$modules %s\"\n", module)
	for _, c := range cards {
		var config, routes []string
		for _, side := range []struct {
			setup.Address
			family, length string
		}{{c.V4, "", "/32"}, {c.V6, "-6 ", "/128"}} {
			switch {
			case side.Static():
				config = append(config, side.Text)
			case side.Text == "dhcp" && side.family == "": // the clients of its stages do not do IPv6
				config = append(config, "dhcp")
			}
			if side.Gateway == "" || !side.Static() {
				continue
			}
			if side.NeedsRoute() {
				if iproute {
					routes = append(routes, side.family+side.Gateway+side.length+" scope link")
				} else {
					routes = append(routes, side.family+"-host "+side.Gateway+" dev "+c.Name)
				}
			}
			word := "gw"
			if iproute {
				word = "via"
			}
			routes = append(routes, side.family+"default "+word+" "+side.Gateway)
		}
		if c.Hidden {
			config = []string{"null"}
		}
		if len(config) > 0 {
			fmt.Fprintf(&b, "config_%s=\"%s\"\n", variable(c.Name), strings.Join(config, "\n"))
		}
		if len(routes) > 0 {
			fmt.Fprintf(&b, "routes_%s=\"%s\"\n", variable(c.Name), strings.Join(routes, "\n"))
		}
	}
	return b.String()
}

// variable is the name of a card as part of one of a variable.
func variable(name string) string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(name)
}
