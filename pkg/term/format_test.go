package term_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// transcript is a run of a command.
type transcript struct {
	Name, State string
	Argv        []string
	Env         map[string]string
	Stdout      string
	Exit        int
	Unordered   []string
}

func transcripts(t *testing.T, suite string) []transcript {
	t.Helper()
	var file struct{ Cases []transcript }
	conformance.Load(t, "cli/"+suite, &file)
	return file.Cases
}

// form is how a transcript asked for its output.
type form struct {
	format string
	o      term.Options
}

// splitForm parts a command line into what it asks and how the answer is wanted.
func splitForm(c transcript) (ask string, f form) {
	f.format = term.Text
	f.o.ASCII = c.Env["LC_ALL"] == "C"
	var rest []string
	args := slices.Clone(c.Argv)
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		if !strings.HasPrefix(args[i], "-") {
			name = ""
		}
		if next := i + 1; !inline && next < len(args) && (name == "output-format" || args[next] == "1" || args[next] == "0") && name != "" {
			value = args[next]
			switch name {
			case "output-format", "noborder", "noheader", "human-readable":
				i++
			}
		}
		switch name {
		case "output-format":
			f.format = value
		case "noborder":
			f.o.NoBorder = value != "0"
		case "noheader":
			f.o.NoHeader = value != "0"
		case "human-readable":
			f.o.Plain = value == "0"
		default:
			rest = append(rest, args[i])
		}
	}
	return c.State + ": " + strings.Join(rest, " "), f
}

// columnsOf reads the columns off a bordered table: their names and which are set to the
// right. They come from the schema, which this package does not know.
func columnsOf(table string) []term.Column {
	lines := strings.Split(table, "\n")
	if len(lines) < 4 || !strings.HasPrefix(lines[1], "│") {
		return nil
	}
	var columns []term.Column
	for n, line := range lines {
		if !strings.HasPrefix(line, "│") {
			continue
		}
		for i, part := range strings.Split(strings.Trim(line, "│"), "│") {
			if n == 1 {
				columns = append(columns, term.Column{Name: strings.TrimSpace(part)})
			}
			if strings.HasPrefix(part, "  ") && strings.TrimSpace(part) != "" {
				columns[i].Right = true
			}
		}
	}
	return columns
}

// same compares answers, as sets of lines where their order is not fixed.
func same(c transcript, got, want string) bool {
	if !slices.Contains(c.Unordered, "stdout") {
		return got == want
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// mojibake is what the original makes of text in YAML: encoded twice. Ours is not.
func mojibake(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteRune(rune(c))
	}
	return b.String()
}

func TestConformanceOutput(t *testing.T) {
	for _, suite := range []string{"cli-pvesh", "cli-pveum", "cli-pvenode", "cli-pvesr"} {
		t.Run(suite, func(t *testing.T) {
			cases := transcripts(t, suite)
			data := map[string]any{}
			tables := map[string]string{}
			for _, c := range cases {
				ask, f := splitForm(c)
				switch {
				case c.Exit != 0:
				case f.format == term.JSON:
					dec := json.NewDecoder(strings.NewReader(c.Stdout))
					dec.UseNumber()
					var v any
					if dec.Decode(&v) == nil {
						data[ask] = v
					}
				case f.format == term.Text && f.o == term.Options{}:
					tables[ask] = c.Stdout
				}
			}
			checked := map[string]int{}
			for _, c := range cases {
				ask, f := splitForm(c)
				v, ok := data[ask]
				if !ok || c.Exit != 0 {
					continue
				}
				columns, ok := columnsFor(v, tables[ask], f)
				if !ok {
					continue
				}
				checked[f.format]++
				t.Run(c.Name, func(t *testing.T) {
					var out strings.Builder
					if err := term.Format(&out, f.format, v, columns, f.o); err != nil {
						t.Fatal(err)
					}
					got := out.String()
					if f.format == term.YAML {
						got = mojibake(got)
					}
					if !same(c, got, c.Stdout) {
						t.Error(cmp.Diff(c.Stdout, got))
					}
				})
			}
			t.Logf("checked %v", checked)
		})
	}
}

// columnsFor returns the columns an answer is shown with, and false where the transcripts
// do not tell them or renderers, which are the schema's, are in play.
func columnsFor(v any, table string, f form) ([]term.Column, bool) {
	if f.format != term.Text {
		return nil, true
	}
	switch v := v.(type) {
	case map[string]any:
		columns := []term.Column{}
		for key := range v {
			if strings.Contains(table, "│ "+key+" ") {
				columns = append(columns, term.Column{Name: key})
			}
		}
		if len(columns) == 0 || rendered(table) || !strings.Contains(table, "│ key ") {
			return nil, false
		}
		return columns, true
	case []any:
		columns := columnsOf(table)
		return columns, (len(columns) > 0 || len(v) == 0) && !rendered(table)
	}
	return nil, true
}

func rendered(table string) bool {
	for _, sign := range []string{"iB ", ".00 B", "0s ", "%  ", "T0", ":00 ", ":40 ", "2024-", "20:"} {
		if strings.Contains(table, sign) {
			return true
		}
	}
	return false
}

func TestEncode(t *testing.T) {
	data := map[string]any{
		"a<b": `"\` + "\n\t\x01é", "list": []string{"x", "1"}, "none": nil, "yes": true, "n": 0.1 + 0.2,
		"big": 1e15, "int": float64(7), "empty": map[string]any{}, "deep": []any{[]any{1, 2}, map[string]any{"k": "v", "l": []any{}}},
	}
	wantJSON := `{"a<b":"\"\\\n\t\u0001é","big":1e+15,"deep":[[1,2],{"k":"v","l":[]}],"empty":{},"int":7,` +
		`"list":["x","1"],"n":0.3,"none":null,"yes":true}`
	if diff := cmp.Diff(wantJSON, term.EncodeJSON(data)); diff != "" {
		t.Error(diff)
	}
	wantPretty := `{
   "deep" : [
      [
         1,
         2
      ],
      {
         "k" : "v",
         "l" : []
      }
   ]
}
`
	if diff := cmp.Diff(wantPretty, term.EncodeJSONPretty(map[string]any{"deep": data["deep"]})); diff != "" {
		t.Error(diff)
	}
	wantYAML := `---
a<b: "\"\\\n\t\x01é"
big: 1e+15
deep:
- - 1
  - 2
- k: v
  l: []
empty: {}
int: 7
list:
- x
- '1'
n: 0.3
none: ~
yes: true
`
	if diff := cmp.Diff(wantYAML, term.EncodeYAML(data)); diff != "" {
		t.Error(diff)
	}
}

func TestTable(t *testing.T) {
	rows := []any{
		map[string]any{"name": "b", "n": 10, "text": "one\ntwo\n"},
		map[string]any{"name": "ä", "n": 9},
	}
	columns := term.Order([]term.Column{
		{Name: "text", Optional: true, MaxWidth: 3}, {Name: "name"}, {Name: "n", Right: true, Title: "number"},
	})
	tests := []struct {
		name string
		o    term.Options
		want string
	}{
		{"borders", term.Options{}, `
┌────────┬──────┬──────┐
│ number │ name │ text │
╞════════╪══════╪══════╡
│      9 │ ä    │      │
├────────┼──────┼──────┤
│     10 │ b    │ one  │
│        │      │ two  │
└────────┴──────┴──────┘
`},
		{"ascii", term.Options{ASCII: true, NoHeader: true, SortBy: "name"}, `
+--------+------+------+
|     10 | b    | one  |
|        |      | two  |
+--------+------+------+
|      9 | ?    |      |
+--------+------+------+
`},
		{"plain", term.Options{NoBorder: true, Width: 12}, `
number name 
     9 ä    
    10 b    
            
`},
		{"quiet", term.Options{Quiet: true}, "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			if err := term.Format(&out, term.Text, rows, columns, tt.o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want[1:], out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := term.Format(&strings.Builder{}, "xml", 1, nil, term.Options{}); err == nil {
		t.Error("no error")
	}
}
