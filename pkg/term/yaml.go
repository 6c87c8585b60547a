package term

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// EncodeYAML writes a value as YAML with sorted keys, laid out and quoted as libyaml does
// it, which is what upstream's output comes from and what other emitters differ from in
// small ways: text that looks like a number is in single quotes, lists are not
// indented, longer text of several lines is a block.
func EncodeYAML(v any) string {
	var b strings.Builder
	b.WriteString("---")
	yamlValue(&b, v, 0, yamlRoot)
	return b.String()
}

// RenderYAML writes a value as text tables show it: YAML without the leading mark.
func RenderYAML(v any) string {
	return strings.TrimLeft(strings.TrimPrefix(EncodeYAML(v), "---"), " \n")
}

// Where a value stands decides whether it begins on the line of what is before it.
type yamlPlace int

const (
	yamlRoot yamlPlace = iota
	yamlInMap
	yamlInList
)

// yamlValue writes v behind "---", "key:" or "-", with the line end after it. indent is
// the column of the block that v, if it is one, makes.
func yamlValue(b *strings.Builder, v any, indent int, place yamlPlace) {
	blanks := strings.Repeat(" ", indent)
	switch v := plain(v).(type) {
	case map[string]any:
		if len(v) == 0 {
			b.WriteString(" {}\n")
			return
		}
		for i, key := range slices.Sorted(maps.Keys(v)) {
			yamlBegin(b, i, blanks, place)
			b.WriteString(yamlText(key) + ":")
			yamlValue(b, v[key], indent+2, yamlInMap)
		}
	case []any:
		if len(v) == 0 {
			b.WriteString(" []\n")
			return
		}
		if place == yamlInMap { // a list stands below the key, not right of it
			indent -= 2
			blanks = blanks[:indent]
		}
		for i, item := range v {
			yamlBegin(b, i, blanks, place)
			b.WriteString("-")
			yamlValue(b, item, indent+2, yamlInList)
		}
	case string:
		yamlString(b, v, indent)
	case nil:
		b.WriteString(" ~\n")
	case bool:
		fmt.Fprintf(b, " %v\n", v)
	default:
		b.WriteString(" " + number(v) + "\n")
	}
}

func yamlBegin(b *strings.Builder, i int, blanks string, place yamlPlace) {
	switch {
	case i == 0 && place == yamlInList:
		b.WriteString(" ")
	case i == 0:
		b.WriteString("\n" + blanks)
	default:
		b.WriteString(blanks)
	}
}

// yamlBlockFrom is the length from which text of several lines is worth a block.
const yamlBlockFrom = 31

func yamlString(b *strings.Builder, s string, indent int) {
	if !strings.Contains(s, "\n") || len(s) < yamlBlockFrom || !yamlBlockable(s) {
		b.WriteString(" " + yamlText(s) + "\n")
		return
	}
	b.WriteString(" |")
	if strings.HasPrefix(s, " ") || strings.HasPrefix(s, "\n") {
		b.WriteString("2")
	}
	body := strings.TrimRight(s, "\n")
	switch ends := len(s) - len(body); {
	case ends == 0:
		b.WriteString("-")
	case ends > 1:
		b.WriteString("+")
	}
	b.WriteString("\n")
	if indent == 0 {
		indent = 2
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		if line != "" {
			b.WriteString(strings.Repeat(" ", indent) + line)
		}
		b.WriteString("\n")
	}
}

// yamlBlockable tells whether a block can hold s.
func yamlBlockable(s string) bool {
	return !strings.Contains(s, " \n") && !strings.HasSuffix(s, " ") && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && !yamlPrintable(r)
	})
}

func yamlPrintable(r rune) bool {
	return r == ' ' || unicode.IsGraphic(r) && r != unicode.ReplacementChar && r != 0x2028 && r != 0x2029
}

var (
	yamlNumber = regexp.MustCompile(`^\s*[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|infinity|nan))\s*$`)
	yamlWord   = regexp.MustCompile(`^(?:|~|true|false|null)$`)
	// yamlUnsafe finds what would make text without quotes something else.
	yamlUnsafe = regexp.MustCompile("^[#,\\[\\]{}&*!|>'\"%@`]|^[-?:](?:\\s|$)|:(?:\\s|$)|\\s#|^ | $|^---|^\\.\\.\\.")
)

// yamlText writes text on one line, with the quotes it needs.
func yamlText(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !yamlPrintable(r) }) {
		return yamlDouble(s)
	}
	if yamlNumber.MatchString(s) || yamlWord.MatchString(s) || yamlUnsafe.MatchString(s) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return s
}

func yamlDouble(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case yamlPrintable(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == 0x1b:
			b.WriteString(`\e`)
		case r == 0:
			b.WriteString(`\0`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02X`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
