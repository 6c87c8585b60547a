package setup

import (
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// FullHostname returns the host name as configured, maybe with its domain.
func (t *Target) FullHostname() string {
	if t.Config.Hostname != nil && *t.Config.Hostname != "" {
		return *t.Config.Hostname
	}
	return "localhost"
}

// ShortHostname returns the host name without a domain.
func (t *Target) ShortHostname() string {
	short, _, _ := strings.Cut(t.FullHostname(), ".")
	return short
}

// Hostname writes hostname and hosts.
func (t *Target) Hostname() error {
	if err := t.Hosts(); err != nil {
		return err
	}
	return t.Write("/etc/hostname", t.ShortHostname()+"\n")
}

var (
	localhost4 = pattern.New(`^[ \t]*127\.0\.0\.1[ \t]`)
	localhost6 = pattern.New(`^[ \t]*::1[ \t]`)
)

// Hosts writes our part of hosts: the name of the container, and localhost where nobody else
// says what it is.
func (t *Target) Hosts() error {
	const name = "/etc/hosts"
	text, _, err := t.Read(name)
	if err != nil {
		return err
	}
	others := split(text)
	for from, to := section(others); to > 0; from, to = section(others) {
		others = slices.Delete(others, from, to)
	}
	var ours []string
	if !slices.ContainsFunc(others, localhost4.MatchString) {
		ours = append(ours, "127.0.0.1 localhost.localnet localhost")
	}
	if !slices.ContainsFunc(others, localhost6.MatchString) {
		ours = append(ours, "::1 localhost.localnet localhost")
	}
	host, names, err := t.hostsEntry()
	if err != nil {
		return err
	}
	return t.Managed(name, join(append(ours, host+" "+names)), Append)
}

// hostsEntry returns the static address of the first card and the names it has.
func (t *Target) hostsEntry() (host, names string, err error) {
	if d, there := t.Config.Net[0]; there {
		for _, text := range []*string{d.IP6, d.IP} { // IPv4 wins
			a, err := address(text, nil)
			if err != nil {
				return "", "", fmt.Errorf("net0: %w", err)
			}
			if a.Static() {
				host = a.Prefix.Addr().String()
			}
		}
	}
	full, short := t.FullHostname(), t.ShortHostname()
	if host == "" {
		host = "127.0.1.1"
		if short == "localhost" {
			return host, short, nil
		}
	}
	if full != short {
		return host, full + " " + short, nil
	}
	_, domains := t.Resolve()
	var all []string
	for _, d := range domains {
		all = append(all, full+"."+d)
	}
	return host, strings.Join(append(all, full), " "), nil
}

// placeholder is a line that the images of linuxcontainers.org bring along.
var placeholder = pattern.New(`(?m)^127\.0\.1\.1\s+LXC_NAME[ \t]*\n?`)

// DropPlaceholder takes the name of a template that never had one out of hosts.
func (t *Target) DropPlaceholder() error {
	return t.Edit("/etc/hosts", func(text string) string { return placeholder.ReplaceAllString(text, "") })
}
