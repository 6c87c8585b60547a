package cloudinit

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// context is OpenNebula's context.sh: assignments that a shell reads.
func (g Guest) context() (string, error) {
	cards, err := g.cards()
	if err != nil {
		return "", err
	}
	keys, err := sshKeys(g.Config)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	set := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, shellWord(value)) }
	user := "root"
	if g.Config.CIUser != nil {
		user = *g.Config.CIUser
	}
	set("USERNAME", user)
	if g.Config.CIPassword != nil {
		set("CRYPTED_PASSWORD_BASE64", base64.StdEncoding.EncodeToString([]byte(*g.Config.CIPassword)))
	}
	if len(keys) > 0 {
		set("SSH_PUBLIC_KEY", strings.Join(keys, "\n"))
	}
	host, _ := g.names()
	set("SET_HOSTNAME", host)
	servers, domains := g.dns()
	set("DNS", strings.Join(servers, " "))
	set("SEARCH_DOMAIN", strings.Join(domains, " "))
	networked := false
	for _, c := range cards {
		networked = networked || c.v4.mode != "" || c.v6.mode != ""
		c.context(set)
	}
	if networked {
		set("NETWORK", "YES")
	}
	return b.String(), nil
}

// context sets the variables of one card.
func (c card) context(set func(name, value string)) {
	prefix := fmt.Sprintf("ETH%d_", c.index)
	switch c.v4.mode {
	case "dhcp":
		set(prefix+"DHCP", "YES")
	case "static":
		set(prefix+"IP", c.v4.prefix.Addr().String())
		set(prefix+"MASK", c.v4.netmask())
	}
	if c.v4.mode == "static" && c.v4.gateway != "" {
		set(prefix+"GATEWAY", c.v4.gateway)
	}
	if c.mac != "" {
		set(prefix+"MAC", c.mac)
	}
	if c.mtu > 0 {
		set(prefix+"MTU", fmt.Sprint(c.mtu))
	}
	switch c.v6.mode {
	case "dhcp":
		set(prefix+"DHCP6", "YES")
	case "auto":
		set(prefix+"AUTO6", "YES")
	case "static":
		set(prefix+"IP6", c.v6.prefix.Addr().String())
		set(prefix+"IP6_PREFIX_LENGTH", fmt.Sprint(c.v6.prefix.Bits()))
	}
	if c.v6.mode == "static" && c.v6.gateway != "" {
		set(prefix+"GATEWAY6", c.v6.gateway)
	}
}

// shellWord writes text so that a shell reads it as one word. Readers that are no shell know
// single quotes only, so nothing else is used where it can be avoided.
func shellWord(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

var plainWord = pattern.New(`^[A-Za-z0-9_./:@%+=,-]+$`)
