package cluster

import (
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// tellDiff tells a plan how a file would change, as "diff -u" does. Nil is a file that is
// not there. A file that stays as it is is not told of.
func tellDiff(p *plan.Plan, name string, old, data []byte) {
	if old != nil && data != nil && string(old) == string(data) {
		return
	}
	from, to := "/etc/pve/"+name, "/etc/pve/"+name
	if old == nil {
		from = "/dev/null"
	}
	if data == nil {
		to = "/dev/null"
	}
	if isPrivate(name) { // what is secret is not shown
		p.Stepf("write %s (secret)", to)
		return
	}
	p.Stepf("--- %s\n+++ %s\n%s", from, to, hide(strings.TrimSuffix(diff(string(old), string(data)), "\n")))
}

// secret finds the values in files of guests that are shown to nobody.
var secret = pattern.New(`(?m)^([-+ ]cipassword: ).*$`)

func hide(diff string) string { return secret.ReplaceAllString(diff, "${1}**********") }

// context is how many lines that stay are shown around a change.
const contextLines = 3

// edit is one line of a comparison: ' ' stays, '-' goes, '+' comes.
type edit struct {
	op   byte
	line string
}

// diff compares two texts by lines and returns the hunks.
func diff(old, data string) string {
	edits := compare(lines(old), lines(data))
	var b strings.Builder
	for i := 0; i < len(edits); {
		if edits[i].op == ' ' {
			i++
			continue
		}
		start, end := max(0, i-contextLines), hunkEnd(edits, i)
		writeHunk(&b, edits, start, end)
		i = end
	}
	return b.String()
}

func lines(s string) []string {
	var list []string
	for line := range strings.Lines(s) {
		list = append(list, strings.TrimSuffix(line, "\n"))
	}
	return list
}

// hunkEnd returns where the hunk that has a change at i ends: where more lines
// stay than two hunks would show.
func hunkEnd(edits []edit, i int) int {
	same := 0
	for ; i < len(edits) && same <= 2*contextLines; i++ {
		if edits[i].op == ' ' {
			same++
		} else {
			same = 0
		}
	}
	return i - max(0, same-contextLines)
}

func writeHunk(b *strings.Builder, edits []edit, start, end int) {
	oldAt, newAt := count(edits[:start])
	oldN, newN := count(edits[start:end])
	fmt.Fprintf(b, "@@ -%s +%s @@\n", span(oldAt, oldN), span(newAt, newN))
	for _, e := range edits[start:end] {
		fmt.Fprintf(b, "%c%s\n", e.op, e.line)
	}
}

// count returns how many lines of the old and of the new text edits cover.
func count(edits []edit) (before, after int) {
	for _, e := range edits {
		if e.op != '+' {
			before++
		}
		if e.op != '-' {
			after++
		}
	}
	return before, after
}

func span(at, n int) string {
	if n > 0 {
		at++
	}
	if n == 1 {
		return fmt.Sprint(at)
	}
	return fmt.Sprintf("%d,%d", at, n)
}

// compareLimit bounds the table of compare; beyond it texts are shown whole.
const compareLimit = 4 << 20

// compare finds a longest common subsequence of lines.
func compare(a, b []string) (edits []edit) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		edits = append(edits, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	tail := 0
	for tail < len(a) && tail < len(b) && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	same := a[len(a)-tail:]
	a, b = a[:len(a)-tail], b[:len(b)-tail]
	next := lengths(a, b)
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && next != nil && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && (next == nil || next[i+1][j] >= next[i][j+1]):
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	for _, line := range same {
		edits = append(edits, edit{' ', line})
	}
	return edits
}

// lengths returns, for each pair of places, how many lines the rests have in common.
func lengths(a, b []string) [][]int {
	if (len(a)+1)*(len(b)+1) > compareLimit {
		return nil
	}
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}
