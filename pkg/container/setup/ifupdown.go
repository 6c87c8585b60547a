package setup

import (
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// Ifupdown writes the interfaces file of ifupdown and its kin. What it does not know stays: other
// cards, comments, and options of ours that are no addresses. With slashes an address has its
// length; older versions want a netmask.
func (t *Target) Ifupdown(cards []Card, slashes bool) error {
	const name = "/etc/network/interfaces"
	if !slices.ContainsFunc(cards, Card.said) {
		return nil
	}
	text, _, err := t.Read(name)
	if err != nil {
		return err
	}
	if err := t.Mkdir("/etc/network"); err != nil {
		return err
	}
	return t.Write(name, interfaces(text, cards, slashes))
}

// said tells whether the configuration says anything of the card's addresses.
func (c Card) said() bool {
	return c.V4.Text != "" || c.V6.Text != "" || c.V4.Gateway != "" || c.V6.Gateway != ""
}

// interfaces returns the text of an interfaces file with what the cards shall have.
func interfaces(text string, cards []Card, slashes bool) string {
	w := ifupdown{slashes: slashes, cards: map[string]Card{}, auto: map[string]bool{}, done: map[stanza]bool{}}
	for _, c := range cards {
		if c.said() {
			w.cards[c.Name] = c
		}
	}
	if strings.TrimSpace(text) == "" {
		text = "auto lo\niface lo inet loopback\niface lo inet6 loopback\n"
	}
	for line := range strings.Lines(text) {
		w.line(strings.TrimSuffix(line, "\n"))
	}
	w.close()
	for _, c := range slices.SortedFunc(slices.Values(cards), byName) {
		w.missing(c)
	}
	return w.out.String()
}

// ifupdown is an interfaces file on its way from the old text to the new one.
type ifupdown struct {
	slashes bool
	cards   map[string]Card
	out     strings.Builder
	auto    map[string]bool
	done    map[stanza]bool
	open    *stanza  // of a card of ours, being read
	options []string // its lines
}

type stanza struct {
	name string
	six  bool
}

var (
	ifaceLine  = pattern.New(`^\s*iface\s+(\S+)\s+inet(6?)\s+\S+\s*$`)
	autoLine   = pattern.New(`^\s*auto\s*(.*)$`)
	breakLine  = pattern.New(`^\s*(?:iface\s|mapping\s|allow-|source\s|source-directory\s)`)
	optionLine = pattern.New(`^\s*((\S+)\s.*)$`)
)

// line takes one line of the old text.
func (w *ifupdown) line(line string) {
	iface := ifaceLine.FindStringSubmatch(line)
	auto := autoLine.FindStringSubmatch(line)
	option := optionLine.FindStringSubmatch(line)
	switch {
	case beginLine.MatchString(line), endLine.MatchString(line):
		if w.open != nil {
			w.options = append(w.options, line)
		}
	case strings.HasPrefix(line, "#"):
		w.print(line)
	case strings.TrimSpace(line) == "":
		if w.open == nil {
			w.print(line)
		}
		w.close() // which prints an empty line
	case iface != nil:
		w.close()
		if _, ours := w.cards[iface[1]]; !ours {
			w.print(line)
			return
		}
		w.open = &stanza{name: iface[1], six: iface[2] != ""}
	case auto != nil:
		for _, name := range strings.Fields(auto[1]) {
			w.auto[name] = true
		}
		w.close()
		w.print(line)
	case breakLine.MatchString(line):
		w.close()
		w.print(line)
	case w.open != nil && option != nil:
		if !slices.Contains([]string{"address", "netmask", "gateway", "broadcast"}, option[2]) {
			w.options = append(w.options, option[1])
		}
	default:
		w.print(line)
	}
}

func (w *ifupdown) print(lines ...string) {
	for _, line := range lines {
		w.out.WriteString(line + "\n")
	}
}

// missing adds what a card has no part of the file for.
func (w *ifupdown) missing(c Card) {
	if _, ours := w.cards[c.Name]; !ours {
		return
	}
	for _, s := range []stanza{{c.Name, false}, {c.Name, true}} {
		if a := w.address(s); w.done[s] || a.Text == "" {
			continue
		}
		if text := w.out.String(); text != "" && !strings.HasSuffix(text, "\n\n") {
			w.print("")
		}
		w.open = &s
		w.close()
	}
}

func (w *ifupdown) address(s stanza) Address {
	if s.six {
		return w.cards[s.name].V6
	}
	return w.cards[s.name].V4
}

// close writes the part of the file that was being read, as it shall be now.
func (w *ifupdown) close() {
	if w.open == nil {
		return
	}
	s, options := *w.open, w.options
	w.open, w.options = nil, nil
	if !w.auto[s.name] {
		w.auto[s.name] = true
		w.print("auto " + s.name)
	}
	if w.done[s] { // twice in the old text
		return
	}
	w.done[s] = true
	family, a := "inet", w.address(s)
	if s.six {
		family = "inet6"
	}
	switch {
	case a.Text == "":
	case !a.Static():
		w.print("iface " + s.name + " " + family + " " + a.Text)
		for _, o := range a.Extra {
			w.print("\t" + o)
		}
		w.print("")
	default:
		w.print("iface " + s.name + " " + family + " static")
		w.print(w.addressLines(a, s.six)...)
		w.print(gatewayLines(s.name, a)...)
		for _, o := range dropRoutes(options) {
			w.print("\t" + o)
		}
		w.print("")
	}
}

func (w *ifupdown) addressLines(a Address, six bool) []string {
	if w.slashes {
		return []string{"\taddress " + a.Text}
	}
	host, length, _ := strings.Cut(a.Text, "/")
	if !six {
		length = a.Netmask()
	}
	return []string{"\taddress " + host, "\tnetmask " + length}
}

// gatewayLines returns the default route, with a route to the gateway where it needs one.
func gatewayLines(name string, a Address) []string {
	if a.Gateway == "" {
		return nil
	}
	if !a.NeedsRoute() {
		return []string{"\tgateway " + a.Gateway}
	}
	return append(append([]string{begin}, routes(name, a.Gateway, "\t")...), end)
}

func routes(name, gateway, indent string) []string {
	return []string{
		indent + "post-up ip route add " + gateway + " dev " + name,
		indent + "post-up ip route add default via " + gateway + " dev " + name,
		indent + "pre-down ip route del default via " + gateway + " dev " + name,
		indent + "pre-down ip route del " + gateway + " dev " + name,
	}
}

var firstRoute = pattern.New(`^post-up ip route add (\S+) dev (\S+)$`)

// dropRoutes takes our routes out of the options of a card: those between our lines, or, where
// there are no such lines, the four that early versions wrote without them.
func dropRoutes(options []string) []string {
	marked := false
	for from, to := section(options); to > 0; from, to = section(options) {
		options, marked = slices.Delete(options, from, to), true
	}
	options = slices.DeleteFunc(options, func(o string) bool { return beginLine.MatchString(o) || endLine.MatchString(o) })
	for i := 0; !marked && i+4 <= len(options); {
		m := firstRoute.FindStringSubmatch(oneBlank(options[i]))
		if m == nil || !slices.EqualFunc(options[i:i+4], routes(m[2], m[1], ""), func(a, b string) bool { return oneBlank(a) == b }) {
			i++
			continue
		}
		options = slices.Delete(options, i, i+4)
	}
	return options
}

// oneBlank writes a line with one blank between its words.
func oneBlank(line string) string { return strings.Join(strings.Fields(line), " ") }
