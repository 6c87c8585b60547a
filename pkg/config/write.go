package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Bytes returns the document as its file holds it: the description, the values
// sorted, the pending changes, the special sections and the snapshots, sorted too.
func (d *Doc) Bytes(dialect *Dialect) []byte {
	var b strings.Builder
	section(&b, d.Values, false)
	if len(d.Pending) > 0 {
		b.WriteString("\n[" + dialect.Pending + "]\n")
		section(&b, d.Pending, true)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Special)) {
		if len(d.Special[name]) > 0 {
			b.WriteString("\n[special:" + name + "]\n")
			section(&b, d.Special[name], false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Snapshots)) {
		b.WriteString("\n[" + name + "]\n")
		section(&b, d.Snapshots[name], false)
	}
	return []byte(b.String())
}

func section(b *strings.Builder, values schema.Params, pending bool) {
	if text, ok := values[Description]; ok {
		writeDescription(b, text, pending)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key != Description && key != RawKey {
			b.WriteString(key + ": " + values[key] + "\n")
		}
	}
	if raw := values[RawKey]; raw != "" {
		b.WriteString(raw + "\n")
	}
}

// writeDescription writes text as comments. An empty one is written where it is a
// change that waits, and left out where it holds.
func writeDescription(b *strings.Builder, text string, pending bool) {
	if text == "" {
		if pending {
			b.WriteString("#\n")
		}
		return
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString("#" + EncodeText(line) + "\n")
	}
}

// Clone returns a copy that shares nothing with d.
func (d *Doc) Clone() *Doc {
	c := *d
	c.Values, c.Pending = maps.Clone(d.Values), maps.Clone(d.Pending)
	c.Snapshots, c.Special = cloneAll(d.Snapshots), cloneAll(d.Special)
	return &c
}

func cloneAll(m map[string]schema.Params) map[string]schema.Params {
	c := make(map[string]schema.Params, len(m))
	for name, values := range m {
		c[name] = maps.Clone(values)
	}
	return c
}
