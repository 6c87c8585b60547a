package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Manual is the manual page of the tool in Markdown: every command, option, bound and
// default that methods declare.
func (t Tool) Manual(methods api.Registry) string {
	m := &manual{r: newRunner(t, World{Methods: methods})}
	m.head()
	m.commands()
	m.options()
	m.tail()
	return m.b.String()
}

type manual struct {
	r *runner
	b strings.Builder
}

func (m *manual) f(format string, args ...any) { fmt.Fprintf(&m.b, format, args...) }

// plain makes text stand for itself in Markdown.
func plain(text string) string {
	var b strings.Builder
	for _, r := range strings.Join(strings.Fields(text), " ") {
		if strings.ContainsRune("\\`*_{}[]<>#|~", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (m *manual) head() {
	t := m.r.tool
	m.f("%% %s 1 \"\" virtsmith \"User Commands\"\n\n", strings.ToUpper(t.Name))
	doc := strings.TrimSuffix(t.Doc, ".")
	if doc != "" {
		doc = strings.ToLower(doc[:1]) + doc[1:]
	}
	m.f("# NAME\n\n%s - %s\n\n# SYNOPSIS\n\n", plain(t.Name), plain(doc))
	if t.Single != nil {
		if c, err := m.r.command([]string{t.Name}, *t.Single); err == nil {
			m.f("%s\n\n", m.synopsis(c))
		}
	} else {
		m.f("**%[1]s** *COMMAND* [*ARGS*] [*OPTIONS*]\n\n**%[1]s help** [*COMMAND*] [**--verbose**]\n\n", plain(t.Name))
	}
	m.f("# DESCRIPTION\n\n%s\n\n", plain(t.Doc))
	m.f("%s", `The command and its options may be shortened as long as they stay unambiguous. Options begin with
one dash or two, and take their value from the next word or after an equals sign; a boolean that has
no value is set. Parameters that are given by position may stand before or after the options; what
comes after **\-\-** is never an option. An option whose value is *\<filepath\>* takes the content of
that file. A password that is required but not given is asked for.

Values that are shown as *key=value* parts are lists of such parts, separated by commas. The part in
brackets may go without its key when it comes first.

`)
}

// synopsis is the usage line of c.
func (m *manual) synopsis(c *command) string {
	rest := strings.TrimPrefix(c.usage(), c.prefix())
	return "**" + plain(c.prefix()) + "** " + plain(rest)
}

// commands describes all commands, by name.
func (m *manual) commands() {
	if c := m.r.tool.Single; c != nil {
		if c, err := m.r.command([]string{m.r.tool.Name}, *c); err == nil {
			m.f("# OPTIONS\n\n")
			m.command(c)
		}
		return
	}
	m.f("# COMMANDS\n\n")
	aliases := map[string][]string{}
	m.r.aliases(nil, m.r.tool.Commands, aliases)
	m.r.walk([]string{m.r.tool.Name}, m.r.tool.Commands, func(c *command) {
		m.f("## %s\n\n%s\n\n%s\n\n", plain(c.prefix()), m.synopsis(c), plain(c.doc))
		if other := aliases[strings.Join(c.path[1:], " ")]; other != nil {
			m.f("Other names: **%s**.\n\n", plain(strings.Join(other, ", ")))
		}
		m.command(c)
	})
}

// walk visits the commands whose methods are declared, by name.
func (r *runner) walk(path []string, all Commands, do func(*command)) {
	for _, name := range byName(all) {
		b := all[name]
		path := append(slices.Clone(path), name)
		switch {
		case b.Alias != "":
		case b.Sub != nil:
			r.walk(path, b.Sub, do)
		default:
			if c, err := r.command(path, b); err == nil {
				do(c)
			}
		}
	}
}

// aliases collects the other names that commands have.
func (r *runner) aliases(path []string, all Commands, into map[string][]string) {
	for _, name := range byName(all) {
		b := all[name]
		path := append(slices.Clone(path), name)
		if b.Alias != "" {
			into[b.Alias] = append(into[b.Alias], strings.Join(path, " "))
		} else if b.Sub != nil {
			r.aliases(path, b.Sub, into)
		}
	}
}

// command describes the parameters of c.
func (m *manual) command(c *command) {
	s := c.syntax()
	all := properties(c.params)
	for _, name := range s.args {
		if variants := all[name]; variants != nil {
			m.parameter(s, plain("<"+name+">"), name, variants[0])
		}
	}
	m.parameters(s, commonProperties(c.params))
	for _, kind := range s.kinds(c.params) {
		m.f("With **%s**:\n\n", plain(kind.title))
		m.parameters(s, kind.properties)
	}
	var notes []string
	if c.returnsData() {
		notes = append(notes, "the output options")
	}
	if !c.readOnly {
		notes = append(notes, "**\\-\\-dry-run**")
	}
	if len(notes) > 0 {
		m.f("Takes %s too; see GENERAL OPTIONS.\n\n", strings.Join(notes, " and "))
	}
}

func (m *manual) parameters(s *syntax, properties map[string]*schema.Schema) {
	list := collapse(properties)
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if _, fixed := s.fixed[name]; !fixed && !slices.Contains(s.args, name) {
			m.parameter(s, "**"+plain("--"+name)+"**", name, list[name])
		}
	}
}

// parameter writes one term of a definition list.
func (m *manual) parameter(s *syntax, shown, name string, p *schema.Schema) {
	if p.Alias != "" {
		m.f("%s\n:   Another name of **%s**.\n\n", shown, plain("--"+p.Alias))
		return
	}
	kind := TypeText(p)
	if mapping, ok := s.mapping[name]; ok && typeName(p) == "string" {
		kind = mapping.hint()
	}
	m.f("%s %s\n:   %s\n\n", shown, plain(kind), m.sentences(p))
	if p.Keys == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(p.Keys)) {
		if k := p.Keys[key]; k.Alias == "" {
			m.f("    **%s**=%s: %s\n\n", plain(key), plain(TypeText(k)), m.sentences(k))
		}
	}
}

// sentences say what a parameter is and how far it reaches.
func (m *manual) sentences(p *schema.Schema) string {
	var list []string
	if p.Description != "" {
		list = append(list, plain(p.Description))
	}
	if p.Verbose != "" {
		list = append(list, plain(p.Verbose))
	}
	if p.Count > 0 {
		list = append(list, fmt.Sprintf("*n* is 0 to %d.", p.Count-1))
	}
	if p.Default != nil {
		list = append(list, "Default: **"+plain(defaultText(p.Default))+"**.")
	}
	switch {
	case p.MinLength != nil && p.MaxLength != nil:
		list = append(list, fmt.Sprintf("%d to %d characters.", *p.MinLength, *p.MaxLength))
	case p.MaxLength != nil:
		list = append(list, fmt.Sprintf("At most %d characters.", *p.MaxLength))
	case p.MinLength != nil:
		list = append(list, fmt.Sprintf("At least %d characters.", *p.MinLength))
	}
	if p.Requires != "" {
		list = append(list, "Needs **"+plain(p.Requires)+"** too.")
	}
	if len(list) == 0 {
		return "As the name says."
	}
	return strings.Join(list, " ")
}

// options describes the options that commands have beside their methods'.
func (m *manual) options() {
	m.f("# GENERAL OPTIONS\n\nCommands that return data take:\n\n")
	m.parameters(&syntax{}, outputOptions())
	m.f("Commands that change something take:\n\n")
	m.parameters(&syntax{}, map[string]*schema.Schema{dryRun: dryRunOption()})
	m.f("Every command takes **\\-\\-help**, or **-h**, and shows its usage.\n\n")
}

func (m *manual) tail() {
	t := m.r.tool
	m.f(`# EXIT STATUS

**0**
:   All went well. A task that ended with warnings counts as such.

**255**
:   The command line or a value is wrong, or the work failed. The reason is on standard error.

Other values are those of a task, or of the program that a command runs, and said with the command.

# ENVIRONMENT

**VIRTSMITH\_ROOT**
:   A folder that stands before every path of virtsmith's own. Default: **/**.

**VIRTSMITH\_NODE**
:   The name of this node. Default: the host name.

**LC\_ALL**, **LC\_CTYPE**, **LANG**
:   Tables are drawn in ASCII where the first of these that is set does not name UTF-8.

`)
	if len(t.Files) > 0 {
		m.f("# FILES\n\n")
		for _, file := range t.Files {
			m.f("**%s**\n:   %s\n\n", plain(file.Path), plain(file.Doc))
		}
	}
	if len(t.Examples) > 0 {
		m.f("# EXAMPLES\n\n")
		for _, example := range t.Examples {
			m.f("%s\n\n    %s\n\n", plain(example.Doc), example.Line)
		}
	}
}

// Walk visits the commands of the tool whose methods are declared, and their other
// names, by name. path are the words that name a command, without the tool.
func (t Tool) Walk(methods api.Registry, do func(path []string, b Binding)) {
	r := newRunner(t, World{Methods: methods})
	if t.Single != nil {
		do(nil, *t.Single)
		return
	}
	r.walk(nil, t.Commands, func(c *command) { do(c.path, c.binding) })
	aliases := map[string][]string{}
	r.aliases(nil, t.Commands, aliases)
	for target, names := range aliases {
		for _, name := range names {
			do(strings.Fields(name), Binding{Alias: target})
		}
	}
}
