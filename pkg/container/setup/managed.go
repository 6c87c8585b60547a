package setup

import (
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// The lines around what is ours in a file of others.
const (
	begin = "# --- BEGIN PVE ---"
	end   = "# --- END PVE ---"
)

var (
	beginLine = pattern.New(`^#\s*---\s*BEGIN\s*PVE`)
	endLine   = pattern.New(`(?i)^#\s*---\s*END\s*PVE`)
)

// Place says where our part goes in a file that has none yet.
type Place int

// The places.
const (
	Append  Place = iota // after what is there
	Prepend              // before it
	Replace              // instead of it
)

// Managed makes text our part of a file. An empty text takes our part out, and the file away when
// it has nothing else.
func (t *Target) Managed(name, text string, place Place) error {
	return t.managed(name, text, place, rootfs.Attr{})
}

func (t *Target) managed(name, text string, place Place, attr rootfs.Attr) error {
	if t.Ignored(name) {
		return nil
	}
	old, there, err := t.Read(name)
	if err != nil {
		return err
	}
	block := block(text)
	if !there {
		if block == nil {
			return nil
		}
		return t.write(name, join(block), attr)
	}
	lines := split(old)
	from, to := section(lines)
	switch {
	case to > 0:
		lines = slices.Replace(lines, from, to, block...)
		if len(lines) == 0 {
			return t.Remove(name)
		}
	case block == nil:
		return nil
	case place == Replace:
		lines = block
	case place == Prepend:
		lines = append(block, lines...)
	default:
		lines = append(lines, block...)
	}
	return t.write(name, join(lines), attr)
}

// block is text between our lines; nil for no text.
func block(text string) []string {
	if text == "" {
		return nil
	}
	lines := append([]string{begin}, split(text)...)
	return append(lines, end)
}

// section returns where our part is among the lines, 0, 0 if nowhere. A begin without an end
// begins nothing.
func section(lines []string) (from, to int) {
	from = -1
	for i, line := range lines {
		if beginLine.MatchString(line) {
			from = i
		}
		if from >= 0 && endLine.MatchString(line) {
			return from, i + 1
		}
	}
	return 0, 0
}

// split cuts a text into lines; empty ones at its end are not counted.
func split(text string) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func join(lines []string) string { return strings.Join(lines, "\n") + "\n" }
