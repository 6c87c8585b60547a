package cli

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/term"
)

// dryRun is the option that makes a command tell what it would do.
const dryRun = "dry-run"

// extra are the options that c has without its method knowing of them.
func (c *command) extra() *schema.Schema {
	if c.binding.Method == helpMethod {
		return nil
	}
	all := map[string]*schema.Schema{}
	if c.returnsData() {
		maps.Copy(all, outputOptions())
	}
	if !c.readOnly {
		all[dryRun] = dryRunOption()
	}
	for name := range all { // the method's own option of that name wins
		if properties(c.params)[name] != nil {
			delete(all, name)
		}
	}
	return &schema.Schema{Type: "object", Properties: all}
}

func dryRunOption() *schema.Schema {
	return &schema.Schema{
		Type: "boolean", Optional: true, Default: false,
		Description: "Tell what would be done, and touch nothing.",
	}
}

func outputOptions() map[string]*schema.Schema {
	boolean := func(byDefault bool, doc string) *schema.Schema {
		return &schema.Schema{Type: "boolean", Optional: true, Default: byDefault, Description: doc}
	}
	return map[string]*schema.Schema{
		"output-format": {
			Type: "string", Optional: true, Default: term.Text, Description: "How the result is written.",
			Enum: []string{term.Text, term.JSON, term.JSONPretty, term.YAML},
		},
		"noborder":       boolean(false, "Draw no lines around the columns of text."),
		"noheader":       boolean(false, "Show no names above the columns of text."),
		"human-readable": boolean(true, "Show sizes, times and the like for people, in text."),
		"quiet":          boolean(false, "Show no result."),
	}
}

// An Output is where and how a result is shown.
type Output struct {
	io.Writer
	term.Options
	Format   string
	Schema   *schema.Schema // what the method returns
	Location *time.Location
}

// output reads the options on output.
func (r *runner) output(c *command, extra schema.Params) *Output {
	o := &Output{Writer: r.world.Out, Format: term.Text, Schema: c.returns, Location: r.world.Location}
	if format, ok := extra["output-format"]; ok {
		o.Format = format
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	o.NoBorder, o.NoHeader = extra["noborder"] == "1", extra["noheader"] == "1"
	o.Plain, o.Quiet = extra["human-readable"] == "0", extra["quiet"] == "1"
	o.ASCII = !r.unicode()
	if columns, _, ok := term.Size(r.world.Out); ok {
		o.Width = columns
	}
	return o
}

// unicode tells whether the locale has more than ASCII.
func (r *runner) unicode() bool {
	if r.world.Env == nil {
		return true
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(r.world.Env(name)); locale != "" {
			return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
		}
	}
	return false
}

// show writes a result.
func (o *Output) show(print Print, result any, p schema.Params) error {
	if o.Quiet {
		return nil
	}
	data := schema.Value(result)
	out := bufio.NewWriter(o.Writer) // a list has thousands of lines, and each would be a call of the kernel
	o.Writer = out
	var err error
	if print != nil && o.Format == term.Text {
		err = print(o, data, p)
	} else {
		err = o.Default(data)
	}
	return errors.Join(err, out.Flush())
}

// Default writes plain data in the format that is wanted; as text, a table with the
// columns that the method declares.
func (o *Output) Default(data any) error {
	return term.Format(o, o.Format, data, o.columns(data), o.Options)
}

func (o *Output) columns(data any) []term.Column {
	var columns []term.Column
	switch {
	case o.Schema == nil:
		return nil
	case o.Schema.Type == "array" && o.Schema.Items != nil:
		for name, p := range o.Schema.Items.Properties {
			if !strings.HasSuffix(name, "[n]") && p.Alias == "" {
				columns = append(columns, o.column(name, p))
			}
		}
	default:
		object, _ := data.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			columns = append(columns, o.column(name, lookup(o.Schema.Properties, name)))
		}
	}
	return term.Order(columns)
}

func (o *Output) column(name string, p *schema.Schema) term.Column {
	c := term.Column{Name: name}
	if p == nil {
		return c
	}
	c.Optional, c.MaxWidth = p.Optional, p.PrintWidth
	c.Right = p.Type == "integer" || p.Type == "number"
	switch p.Renderer {
	case "":
	case "yaml":
		c.Render = func(value any) (string, bool) { return term.RenderYAML(value), true }
	default:
		c.Render = func(value any) (string, bool) { return schema.Render(p.Renderer, value, o.Location) }
	}
	return c
}

// Objects returns the elements of a result that is a list, for a [Print].
func Objects(result any) []map[string]any {
	list, _ := result.([]any)
	all := make([]map[string]any, 0, len(list))
	for _, element := range list {
		if m, ok := element.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}
