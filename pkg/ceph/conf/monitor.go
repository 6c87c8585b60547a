package conf

import (
	"maps"
	"net"
	"slices"
	"strings"
)

// A Monitor is where a monitor listens.
type Monitor struct {
	Protocol string // v1 or v2, empty where that is not said
	Host     string
	Port     string // empty for the usual one
}

// String returns HOST, HOST:PORT or [IPv6]:PORT.
func (m Monitor) String() string {
	host := m.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if m.Port != "" {
		host += ":" + m.Port
	}
	return host
}

// ParseMonitor reads an address, as v2:192.0.2.1:3300/0, 192.0.2.1, [2001:db8::1]:6789.
// Brackets around a vector of addresses may be left over. ok is false where there is
// none.
func ParseMonitor(text string) (m Monitor, ok bool) {
	text, _, _ = strings.Cut(text, "/")
	for _, protocol := range []string{"v1", "v2"} {
		if rest, found := strings.CutPrefix(strings.TrimPrefix(text, "["), protocol+":"); found {
			m.Protocol, text = protocol, strings.TrimSuffix(rest, "]")
			if strings.HasPrefix(text, "[") && !strings.Contains(text, "]") {
				text += "]" // it was that of the address
			}
		}
	}
	if host, port, err := net.SplitHostPort(text); err == nil {
		m.Host, m.Port = host, port
		return m, host != ""
	}
	if !strings.HasPrefix(text, "[") && strings.Count(text, ":") < 2 {
		text = strings.TrimSuffix(text, "]")
	}
	m.Host = strings.Trim(text, "[]")
	return m, m.Host != ""
}

// Monitors returns the monitors that mon_host and the sections of monitors name, sorted
// and each once.
func (c Conf) Monitors() []Monitor {
	found := map[string]Monitor{}
	add := func(text string) {
		if m, ok := ParseMonitor(text); ok {
			found[m.Protocol+" "+m.String()] = m
		}
	}
	for _, text := range strings.FieldsFunc(c.Get("global", "mon_host"), func(r rune) bool { return strings.ContainsRune(" \t,;", r) }) {
		add(text)
	}
	for section := range c {
		if strings.HasPrefix(section, "mon.") {
			add(c.Get(section, "mon_addr"))
		}
	}
	list := make([]Monitor, 0, len(found))
	for _, key := range slices.Sorted(maps.Keys(found)) {
		list = append(list, found[key])
	}
	return list
}
