// Package conf reads and writes ceph.conf and what has its form: the keyrings of
// clients. It knows the grammar, and where the addresses of monitors are; no
// programs and no daemons.
package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Conf is sections of keys with their values. Keys are written with underscores, as
// Ceph takes blanks and hyphens in them for the same.
type Conf map[string]map[string]string

// Get returns a value, empty where there is none.
func (c Conf) Get(section, key string) string { return c[section][key] }

// Parse reads a file. What cannot be read is left out and told in the warnings.
func Parse(text string) (Conf, []string) {
	c := Conf{}
	var warnings []string
	var section map[string]string // nil before the first one, and after one that cannot be read
	lines := newLogical(text)
	for {
		line, ok := lines.next()
		if !ok {
			return c, warnings
		}
		switch {
		case line == "":
		case line[0] == '[':
			section = nil
			name, err := header(line)
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("%v - skip: %s", err, line))
				continue
			}
			if c[name] == nil {
				c[name] = map[string]string{}
			}
			section = c[name]
		case section == nil:
			warnings = append(warnings, "no section header - skip: "+line)
		default:
			key, value, err := pair(line)
			if err != nil {
				warnings = append(warnings, fmt.Sprintf("%v - skip: %s", err, line))
				continue
			}
			section[key] = value
		}
	}
}

// logical cuts a text into lines without comments, those that a backslash continues
// joined.
type logical struct{ rest []string }

func newLogical(text string) *logical {
	return &logical{strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")}
}

func (l *logical) next() (line string, ok bool) {
	if len(l.rest) == 0 {
		return "", false
	}
	for len(l.rest) > 0 {
		part, comment := uncomment(l.rest[0])
		l.rest = l.rest[1:]
		joined, more := strings.CutSuffix(part, `\`)
		line += joined
		if comment || !more {
			break
		}
	}
	return strings.TrimSpace(line), true
}

// uncomment cuts off what comes after an unescaped sign of a comment. Quotes do not
// protect it.
func uncomment(line string) (text string, cut bool) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '#', ';':
			return line[:i], true
		}
	}
	return line, false
}

// header reads the name of a section, in which blanks count.
func header(line string) (string, error) {
	end := find(line[1:], ']')
	if end <= 0 {
		return "", errSection
	}
	if strings.TrimSpace(line[end+2:]) != "" {
		return "", errRemainder
	}
	return unescape(line[1 : end+1]), nil
}

// pair reads a key and its value.
func pair(line string) (key, value string, err error) {
	eq := find(line, '=')
	if eq < 0 {
		return "", "", errEquals
	}
	key = Key(unescape(line[:eq]))
	if key == "" || strings.Contains(key, "[") {
		return "", "", errKey
	}
	value = strings.TrimSpace(line[eq+1:])
	if value != "" && (value[0] == '"' || value[0] == '\'') {
		end := find(value[1:], value[0])
		if end < 0 {
			return "", "", errQuotes
		}
		if strings.TrimSpace(value[end+2:]) != "" {
			return "", "", errRemainder
		}
		value = value[1 : end+1]
		return key, unescape(value), nil
	}
	// A lone backslash at the end had blanks after it, so it continues nothing.
	for (len(value)-len(strings.TrimRight(value, `\`)))%2 == 1 {
		value = strings.TrimSpace(value[:len(value)-1])
	}
	return key, unescape(value), nil
}

// Key returns how a key is written: blanks and hyphens as underscores, several blanks
// in a row as one.
func Key(name string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(name), "_"), "-", "_")
}

// find returns where a character is that no backslash stands before, or -1.
func find(text string, char byte) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case char:
			return i
		}
	}
	return -1
}

// unescape takes the backslash off signs of comments. All others keep theirs, as Ceph
// itself reads them where they mean something.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
			if text[i] != '#' && text[i] != ';' {
				b.WriteByte('\\')
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func escape(text string) string {
	return strings.NewReplacer("#", `\#`, ";", `\;`).Replace(text)
}

// String writes the file: the sections of all, of clients, of the daemons, and then the
// others, each sorted by name, with their keys sorted.
func (c Conf) String() string {
	var b strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(c), order) {
		fmt.Fprintf(&b, "[%s]\n", escape(name))
		for _, key := range slices.Sorted(maps.Keys(c[name])) {
			fmt.Fprintf(&b, "\t%s = %s\n", escape(key), quote(escape(c[name][key])))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func order(a, b string) int {
	kinds := []string{"global", "client", "client.", "mds", "mds.", "mon", "mon.", "osd", "osd.", "mgr", "mgr."}
	place := func(name string) int {
		kind, _, of := strings.Cut(name, ".")
		if of {
			kind += "."
		}
		if i := slices.Index(kinds, kind); i >= 0 {
			return i
		}
		return len(kinds)
	}
	if n := place(a) - place(b); n != 0 {
		return n
	}
	return strings.Compare(a, b)
}

// quote puts a value in quotes where it would be read as another without.
func quote(value string) string {
	if value == "" || strings.TrimSpace(value) == value && value[0] != '"' && value[0] != '\'' && !strings.HasSuffix(value, `\`) {
		return value
	}
	for _, q := range []byte{'"', '\''} {
		if find(value, q) < 0 {
			return string(q) + value + string(q)
		}
	}
	return value
}

type parseError string

func (e parseError) Error() string { return string(e) }

const (
	errSection   parseError = "failed to parse section"
	errRemainder parseError = "unexpected remainder"
	errEquals    parseError = "expected '=' after key"
	errKey       parseError = "failed to parse key from line"
	errQuotes    parseError = "failed to parse quoted value"
)
