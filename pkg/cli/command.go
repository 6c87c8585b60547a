package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A command is a binding and what is known of its method.
type command struct {
	path    []string // the words that name it, the tool first
	binding Binding
	facts
}

// facts are what a method's declaration says that matters here.
type facts struct {
	doc      string
	params   *schema.Schema
	returns  *schema.Schema
	task     bool
	readOnly bool
}

// facts finds the method that key identifies; nil where it is not declared.
func (w World) facts(key string) *facts {
	m := w.Methods.Find(key)
	if m == nil {
		return nil
	}
	return &facts{m.Doc, m.Params(), m.Returns(), m.IsTask(), m.ReadOnly}
}

// prefix is how c is called.
func (c *command) prefix() string { return strings.Join(c.path, " ") }

// returnsData tells whether the result of c is for the user, and not the name of a
// task that is followed.
func (c *command) returnsData() bool {
	return !c.task && c.returns != nil && c.returns.Type != "null"
}

// syntax returns the words that c takes.
func (c *command) syntax() *syntax {
	return &syntax{
		schema: c.params, args: c.binding.Args, fixed: c.binding.Fixed, mapping: c.binding.Mapping,
		extra: c.extra(),
	}
}

// usage is the line that follows a fault.
func (c *command) usage() string { return c.syntax().line(c.prefix(), c.binding.Output) }

// helpCommand is a command that every tool has beside those of its table.
const helpCommand = "help"

// helpMethod stands for help where a key of a method stands else.
const helpMethod = "\x00help"

func helpBinding() Binding {
	return Binding{Method: helpMethod, Args: []string{arrayArgs}, Class: "PVE::CLIHandler"}
}

func helpFacts() *facts {
	return &facts{
		doc: "Show how a command is used.",
		params: &schema.Schema{Type: "object", Properties: map[string]*schema.Schema{
			arrayArgs: {
				Type: "array", Optional: true, Description: "The command; all of them where none is given.",
				Items: &schema.Schema{Type: "string"},
			},
			"verbose": {Type: "boolean", Optional: true, Description: "Describe every option."},
		}},
		returns: &schema.Schema{Type: "null"}, readOnly: true,
	}
}

// commands returns the commands of the tool, help among them.
func (r *runner) commands() Commands {
	all := maps.Clone(r.tool.Commands)
	if all == nil {
		all = Commands{}
	}
	all[helpCommand] = helpBinding()
	return all
}

// command returns the command that b is.
func (r *runner) command(path []string, b Binding) (*command, error) {
	if b.Method == helpMethod {
		return &command{path, b, *helpFacts()}, nil
	}
	f := r.find(b.Method)
	if f == nil {
		return nil, fmt.Errorf("%s: method %q is not declared", strings.Join(path, " "), b.Method)
	}
	return &command{path, b, *f}, nil
}

// A misnamed error says that words name no command.
type misnamed struct {
	text  string   // what is wrong
	path  []string // the words as they were given, to be shown before the commands of group; nil for the tool
	group Commands // nil for all commands of the tool
}

func (e *misnamed) Error() string { return "ERROR: " + e.text }

// resolve finds the command, or group of commands, that the first of words name,
// each by its name or the beginning of it. rest are the words after those. The
// error is a [*misnamed].
func (r *runner) resolve(words []string, quoted string) (path []string, b Binding, rest []string, err error) {
	path, b = []string{r.tool.Name}, Binding{Sub: r.commands()}
	for b.Sub != nil && len(words) > 0 {
		word := words[0]
		name, hits := expand(b.Sub, word)
		given := append(slices.Clone(path), word)
		switch {
		case name != "":
		case hits > 1:
			text := fmt.Sprintf("incomplete command '%s'", strings.Join(given, " "))
			return nil, b, nil, &misnamed{text, given, b.Sub}
		default:
			shown := strings.Join(given, " ")
			if quoted != "" {
				shown = quoted
			}
			return nil, b, nil, &misnamed{text: fmt.Sprintf("unknown command '%s'", shown)}
		}
		words = words[1:]
		path, b = append(slices.Clone(path), name), b.Sub[name]
		if b.Alias != "" {
			if path, b, _, err = r.resolve(strings.Fields(b.Alias), ""); err != nil {
				return nil, b, nil, err
			}
		}
	}
	return path, b, words, nil
}

// expand returns the command that word names or is the only beginning of, else how
// many commands begin with it.
func expand(all Commands, word string) (name string, hits int) {
	if _, ok := all[word]; ok {
		return word, 1
	}
	for candidate := range all {
		if strings.HasPrefix(candidate, word) {
			name = candidate
			hits++
		}
	}
	if hits != 1 {
		return "", hits
	}
	return name, hits
}

// class sorts and separates commands in usage texts. Where nothing is said,
// methods with a path come before those that only the command line has.
func (r *runner) class(b Binding) string {
	switch {
	case b.Class != "":
		return b.Class
	case strings.Contains(b.Method, " "):
		return "PVE::API2"
	}
	return "PVE::CLI::" + r.tool.Name
}

// byClass orders commands as the short usage does: groups first, then by class.
func (r *runner) byClass(all Commands) []string {
	return slices.SortedFunc(maps.Keys(all), func(x, y string) int {
		a, b := all[x], all[y]
		switch {
		case a.Sub != nil && b.Sub == nil:
			return -1
		case a.Sub == nil && b.Sub != nil:
			return 1
		case a.Sub == nil:
			if c := strings.Compare(r.class(a), r.class(b)); c != 0 {
				return c
			}
		}
		return strings.Compare(x, y)
	})
}

// list writes the usage lines of commands. between separates classes and groups.
func (r *runner) list(path []string, all Commands, between string, order func(Commands) []string, line func(*command) string) string {
	var b strings.Builder
	class := ""
	for _, name := range order(all) {
		binding := all[name]
		if binding.Alias != "" {
			continue
		}
		path := append(slices.Clone(path), name)
		if binding.Sub != nil {
			if lines := r.list(path, binding.Sub, "", order, line); lines != "" {
				b.WriteString(lines + between)
			}
			continue
		}
		c, err := r.command(path, binding)
		if err != nil {
			continue // a method that is not declared is no command
		}
		if next := r.class(binding); class != "" && class != next {
			b.WriteString(between)
			class = next
		} else {
			class = next
		}
		b.WriteString(line(c))
	}
	return b.String()
}

func byName(all Commands) []string { return slices.Sorted(maps.Keys(all)) }

const margin = "       "

func usageLine(c *command) string { return margin + c.usage() + "\n" }

// overview is the usage of the tool, or of the group that e names.
func (r *runner) overview(e *misnamed) string {
	head := "USAGE: " + r.tool.Name + " <COMMAND> [ARGS] [OPTIONS]\n\n"
	if e == nil || e.group == nil {
		return head + r.list([]string{r.tool.Name}, r.commands(), "\n", r.byClass, usageLine)
	}
	return head + r.list(e.path, e.group, "", r.byClass, usageLine)
}
