package term

import (
	"io"
	"strings"
	"unicode/utf8"
)

// A Table is text in columns, with borders or without.
//
// The layout is that of the tools scripts know, which no table library at hand yields to
// the character: a line between all rows, a double one below the header.
type Table struct {
	Columns []Column

	rows      [][]content
	keepEmpty bool // a header without rows is shown
}

// content is the content of a cell before it is written.
type content struct {
	text string
	raw  any
	as   *Column // how raw is rendered; nil means that text is the content
}

// borders are the signs a table is drawn with; in each line: left end, crossing, right
// end, and what fills it.
type borders struct {
	top, header, middle, bottom [4]string
	wall                        string
}

var (
	unicodeBorders = borders{
		[4]string{"┌", "┬", "┐", "─"},
		[4]string{"╞", "╪", "╡", "═"},
		[4]string{"├", "┼", "┤", "─"},
		[4]string{"└", "┴", "┘", "─"},
		"│",
	}
	asciiBorders = borders{
		[4]string{"+", "+", "+", "-"},
		[4]string{"+", "+", "+", "="},
		[4]string{"+", "+", "+", "-"},
		[4]string{"+", "+", "+", "-"},
		"|",
	}
)

// Write writes the table. A table without rows is nothing.
func (t *Table) Write(w io.Writer, o Options) error {
	if o.Quiet || len(t.rows) == 0 && !t.keepEmpty {
		return nil
	}
	cells := make([][][]string, len(t.rows)) // row, column, line
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		// Also without a header, so that columns stand where they stand with one.
		widths[i] = utf8.RuneCountInString(c.title())
	}
	for r, row := range t.rows {
		cells[r] = make([][]string, len(row))
		for i, v := range row {
			cells[r][i] = lines(v.write(o), t.Columns[i].MaxWidth)
			for _, line := range cells[r][i] {
				widths[i] = max(widths[i], utf8.RuneCountInString(line))
			}
		}
	}
	p := &painter{columns: t.Columns, widths: widths, o: o, signs: unicodeBorders}
	if o.ASCII {
		p.signs = asciiBorders
	}
	p.paint(cells)
	_, err := io.WriteString(w, p.out.String())
	return err
}

func (c Column) title() string {
	if c.Title != "" {
		return c.Title
	}
	return c.Name
}

func (v content) write(o Options) string {
	if v.as == nil {
		return v.text
	}
	return cell(v.raw, *v.as, o)
}

// lines cuts text at its line ends, of which those at its end do not count.
func lines(text string, most int) []string {
	list := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range list {
		line = strings.TrimSuffix(line, "\r")
		if most > 0 && utf8.RuneCountInString(line) > most {
			line = string([]rune(line)[:most-1]) + "…"
		}
		list[i] = line
	}
	return list
}

// painter draws one table.
type painter struct {
	columns []Column
	widths  []int
	o       Options
	signs   borders
	out     strings.Builder
}

func (p *painter) paint(cells [][][]string) {
	p.line(p.signs.top)
	if !p.o.NoHeader {
		titles := make([][]string, len(p.columns))
		for i, c := range p.columns {
			titles[i] = []string{c.title()}
		}
		p.row(titles)
	}
	for i, row := range cells {
		switch {
		case i > 0:
			p.line(p.signs.middle)
		case !p.o.NoHeader:
			p.line(p.signs.header)
		}
		p.row(row)
	}
	p.line(p.signs.bottom)
}

func (p *painter) line(s [4]string) {
	if p.o.NoBorder {
		return
	}
	parts := make([]string, len(p.widths))
	for i, width := range p.widths {
		parts[i] = strings.Repeat(s[3], width+2)
	}
	p.write(s[0] + strings.Join(parts, s[1]) + s[2])
}

func (p *painter) row(cells [][]string) {
	height := 1
	for _, c := range cells {
		height = max(height, len(c))
	}
	parts := make([]string, len(cells))
	for n := range height {
		for i, c := range cells {
			text := ""
			if n < len(c) {
				text = c[n]
			}
			last := i == len(cells)-1
			parts[i] = pad(text, p.widths[i], p.columns[i].Right, p.o.NoBorder && last)
		}
		if p.o.NoBorder {
			p.write(strings.Join(parts, " "))
			continue
		}
		wall := p.signs.wall
		p.write(wall + " " + strings.Join(parts, " "+wall+" ") + " " + wall)
	}
}

// pad fills text to a width; without a border the last column gets no blanks at all.
func pad(text string, width int, right, open bool) string {
	blanks := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
	switch {
	case open:
		return text
	case right:
		return blanks + text
	}
	return text + blanks
}

func (p *painter) write(line string) {
	if p.o.Width > 0 && utf8.RuneCountInString(line) > p.o.Width {
		line = string([]rune(line)[:p.o.Width])
	}
	if p.o.ASCII {
		line = strings.Map(func(r rune) rune {
			if r > 0x7e {
				return '?'
			}
			return r
		}, line)
	}
	p.out.WriteString(line + "\n")
}
