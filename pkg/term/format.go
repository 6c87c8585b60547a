package term

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Names of the output formats.
const (
	Text       = "text"
	JSON       = "json"
	JSONPretty = "json-pretty"
	YAML       = "yaml"
)

// Options says how results are written.
type Options struct {
	NoBorder bool // columns apart by a blank, no lines
	NoHeader bool // no column names
	Plain    bool // values as they are: renderers are not used
	Quiet    bool // nothing at all
	ASCII    bool // borders of + - = |, and ? for what ASCII lacks
	Width    int  // lines of tables are cut to it, 0 for no limit
	SortBy   string
	Unsorted bool
}

// A Column is one property of the things a table shows.
type Column struct {
	Name     string // key in the data
	Title    string // empty for the name
	Optional bool
	Right    bool // numbers: set right-aligned, and sorted by value
	MaxWidth int  // longer text is cut, 0 for no limit
	// Render writes a value for people; false leaves it as it is. nil for none.
	Render func(value any) (string, bool)
}

// Order returns the columns as tables show them: the required ones by name, then the
// optional ones by name.
func Order(columns []Column) []Column {
	columns = slices.Clone(columns)
	slices.SortFunc(columns, func(a, b Column) int {
		if a.Optional != b.Optional {
			if a.Optional {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return columns
}

// Format writes data, made of nil, bool, numbers, strings, []any, []map[string]any
// and map[string]any, in the given format. As text, a list of objects is a table,
// an object a table of keys and values, anything else one line each; columns name the
// properties to show, in this order, and without any all are shown. nil and an
// empty list are no text.
func Format(w io.Writer, format string, data any, columns []Column, o Options) error {
	if o.Quiet {
		return nil
	}
	var out string
	switch format {
	case Text, "":
		return formatText(w, data, columns, o)
	case JSON:
		out = EncodeJSON(data) + "\n"
	case JSONPretty:
		out = EncodeJSONPretty(data)
	case YAML:
		out = EncodeYAML(data)
	default:
		return fmt.Errorf("unknown output format '%s'", format)
	}
	_, err := io.WriteString(w, out)
	return err
}

func formatText(w io.Writer, data any, columns []Column, o Options) error {
	switch v := data.(type) {
	case nil:
		return nil
	case map[string]any:
		return objectTable(v, columns).Write(w, o)
	case []map[string]any:
		return listTable(v, columns, o).Write(w, o)
	case []any:
		if rows, ok := objects(v); ok {
			return listTable(rows, columns, o).Write(w, o)
		}
		var b strings.Builder
		for _, item := range v {
			b.WriteString(cell(item, Column{}, o) + "\n")
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	_, err := io.WriteString(w, cell(data, Column{}, o)+"\n")
	return err
}

func objects(list []any) ([]map[string]any, bool) {
	rows := make([]map[string]any, 0, len(list))
	for _, item := range list {
		row, ok := item.(map[string]any)
		if !ok {
			return nil, false
		}
		rows = append(rows, row)
	}
	return rows, true
}

// objectTable shows what is set of an object.
func objectTable(object map[string]any, columns []Column) *Table {
	if len(columns) == 0 {
		columns = keysOf([]map[string]any{object})
	}
	columns = slices.Clone(columns)
	slices.SortFunc(columns, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	t := &Table{Columns: []Column{{Name: "key"}, {Name: "value"}}, keepEmpty: true}
	for _, c := range columns {
		if value := object[c.Name]; value != nil {
			t.rows = append(t.rows, []content{{text: c.Name}, {raw: value, as: &c}})
		}
	}
	return t
}

func listTable(rows []map[string]any, columns []Column, o Options) *Table {
	if len(columns) == 0 {
		columns = keysOf(rows)
	}
	t := &Table{Columns: columns}
	if len(columns) == 0 {
		return t
	}
	if !o.Unsorted {
		rows = sorted(rows, columns, o.SortBy)
	}
	for _, row := range rows {
		values := make([]content, len(columns))
		for i := range columns {
			values[i] = content{raw: row[columns[i].Name], as: &columns[i]}
		}
		t.rows = append(t.rows, values)
	}
	return t
}

// sorted orders rows by a column, the first one unless it is named; rows that are equal
// there stay in the order they came in.
func sorted(rows []map[string]any, columns []Column, by string) []map[string]any {
	c := columns[0]
	for _, other := range columns {
		if other.Name == by {
			c = other
		}
	}
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b map[string]any) int {
		x, y := scalar(a[c.Name]), scalar(b[c.Name])
		if c.Right {
			if d, ok := compareNumbers(x, y); ok {
				return d
			}
		}
		return strings.Compare(x, y)
	})
	return rows
}

// keysOf returns a column for each key that occurs, by name.
func keysOf(rows []map[string]any) []Column {
	seen := map[string]bool{}
	var columns []Column
	for _, row := range rows {
		for key := range row {
			if !seen[key] {
				seen[key] = true
				columns = append(columns, Column{Name: key})
			}
		}
	}
	return Order(columns)
}
