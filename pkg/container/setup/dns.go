package setup

import "strings"

// words cuts a list as configurations have it.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(" \t\n\r\x00,;", r) })
}

// Resolve returns the name servers and search domains of the container: its own, else those of
// the host.
func (t *Target) Resolve() (servers, domains []string) {
	servers, domains = hostResolver(t.Env.Resolver)
	if t.Config.Nameserver != nil {
		servers = words(*t.Config.Nameserver)
	}
	if t.Config.SearchDomain != nil {
		domains = words(*t.Config.SearchDomain)
	}
	return servers, domains
}

// hostResolver reads a resolv.conf: its first three servers, and the first domain of its last
// search line.
func hostResolver(text string) (servers, domains []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if len(servers) < 3 {
				servers = append(servers, fields[1])
			}
		case "search", "domain":
			domains = fields[1:2]
		}
	}
	return servers, domains
}

// DNS writes resolv.conf. What a service of the container had put there, often as a link, makes
// room.
func (t *Target) DNS() error {
	servers, domains := t.Resolve()
	var b strings.Builder
	if len(domains) > 0 {
		b.WriteString("search " + strings.Join(domains, " ") + "\n")
	}
	for _, s := range servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if b.Len() == 0 {
		return nil
	}
	return t.Managed("/etc/resolv.conf", b.String(), Replace)
}
