package cmdline

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// option writes an option of QEMU as name,key=value,…. A value that is empty is
// left out with its key; commas in values are doubled, as QEMU wants them.
func option(name string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(name)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i])
		b.WriteByte('=')
		b.WriteString(escape(pairs[i+1]))
	}
	return b.String()
}

// escape doubles the commas of a value.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// canonical writes v as JSON with sorted keys and no blanks.
func canonical(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "{}" // not reached: what is given are maps of strings, numbers and booleans
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// parseTree reads what canonical wrote, its numbers as they are.
func parseTree(text string) map[string]any {
	n := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&n); err != nil {
		return nil // not reached: the text is our own
	}
	return n
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// ifSet returns text where it holds, and nothing where not: an option left out.
func ifSet(set bool, text string) string {
	if set {
		return text
	}
	return ""
}

func itoa(n int) string { return strconv.Itoa(n) }

// str, num and flag are what an optional setting holds, or its default.
func str(p *string, or string) string {
	if p == nil {
		return or
	}
	return *p
}

func num(p *int, or int) int {
	if p == nil {
		return or
	}
	return *p
}

func flag(p *bool, or bool) bool {
	if p == nil {
		return or
	}
	return *p
}
