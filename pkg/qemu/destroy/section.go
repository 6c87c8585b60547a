package destroy

import (
	"slices"
	"strings"
)

// A section is one of a file such as jobs.cfg, as text: types and options that are not
// known here survive.
type section struct {
	kind, name string
	options    []option
}

type option struct{ key, value string }

// parseSections reads a file made of sections.
func parseSections(text string) []section {
	var all []section
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "":
			open = false
		case strings.HasPrefix(trimmed, "#"):
		case !open:
			if kind, name, ok := strings.Cut(line, ":"); ok {
				all = append(all, section{kind: kind, name: strings.TrimSpace(name)})
				open = true
			}
		default:
			key, value, _ := strings.Cut(trimmed, " ")
			if i := strings.IndexAny(trimmed, " \t"); i >= 0 {
				key, value = trimmed[:i], strings.TrimSpace(trimmed[i:])
			}
			last := &all[len(all)-1]
			last.options = append(last.options, option{key, value})
		}
	}
	return all
}

// printSections returns the text of sections: of each the comment first, the other
// options by name.
func printSections(all []section) string {
	var b strings.Builder
	for _, s := range all {
		b.WriteString(s.kind + ": " + s.name + "\n")
		slices.SortStableFunc(s.options, func(x, y option) int { return strings.Compare(x.rank(), y.rank()) })
		for _, o := range s.options {
			b.WriteString("\t" + strings.TrimSuffix(o.key+" "+o.value, " ") + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (o option) rank() string {
	if o.key == "comment" {
		return ""
	}
	return o.key
}

// get returns the value of an option, empty where it is not set.
func (s *section) get(key string) string {
	for _, o := range s.options {
		if o.key == key {
			return o.value
		}
	}
	return ""
}

// set changes an option that is there.
func (s *section) set(key, value string) {
	for i := range s.options {
		if s.options[i].key == key {
			s.options[i].value = value
		}
	}
}

// drop takes a word out of a list separated by commas. It tells whether it was there.
func drop(list, word string) (rest string, found bool) {
	words := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(",; \t", r) })
	kept := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == word })
	return strings.Join(kept, ","), len(kept) != len(words)
}
