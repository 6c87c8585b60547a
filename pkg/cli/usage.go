package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// line is the usage of a command in one line, without the newline.
func (s *syntax) line(prefix string, output bool) string {
	all := properties(s.schema)
	var words []string
	done := map[string]bool{}
	for _, name := range s.args {
		variants := all[name]
		if variants == nil {
			continue
		}
		done[name] = true
		switch {
		case variants[0].IsList():
			words = append(words, "{<"+name+">}")
		case variants[0].Optional:
			words = append(words, "[<"+name+">]")
		default:
			words = append(words, "<"+name+">")
		}
	}
	common, options := commonProperties(s.schema), 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, fixed := s.fixed[name]; fixed || done[name] {
			continue
		}
		if p := common[name]; p != nil && !p.Optional && p.Alias == "" && !s.mapping[name].Secret {
			words = append(words, "--"+name+" <"+typeName(p)+">")
		} else {
			options++
		}
	}
	line := prefix + " " + strings.Join(words, " ")
	if options > 0 {
		line += " [OPTIONS]"
	}
	if output {
		line += " [FORMAT_OPTIONS]"
	}
	return line
}

// commonProperties are those that s has whatever its type property says.
func commonProperties(s *schema.Schema) map[string]*schema.Schema {
	common := map[string]*schema.Schema{}
	if s == nil {
		return common
	}
	maps.Copy(common, s.Properties)
	for _, part := range s.AllOf {
		maps.Copy(common, commonProperties(part))
	}
	if s.TypeProperty != "" {
		common[s.TypeProperty] = typeSchema(s)
	}
	return common
}

func typeName(p *schema.Schema) string {
	if p.Type == "" {
		return "string"
	}
	return p.Type
}

// long is the usage of a command: its line, then each parameter with its type and
// description.
func (s *syntax) long(prefix string, output bool) string {
	return "USAGE: " + s.line(prefix, output) + "\n" + s.describe()
}

// describe writes a paragraph for each parameter.
func (s *syntax) describe() string {
	var b strings.Builder
	all := properties(s.schema)
	for _, name := range s.args {
		if variants := all[name]; variants != nil {
			s.paragraph(&b, "<"+name+">", name, variants[0])
		}
	}
	s.paragraphs(&b, commonProperties(s.schema))
	if kinds := s.kinds(s.schema); len(kinds) > 0 {
		b.WriteString(" Conditional options:\n\n")
		for _, kind := range kinds {
			fmt.Fprintf(&b, " [%s]\n\n", kind.title)
			s.paragraphs(&b, kind.properties)
		}
	}
	return b.String()
}

// paragraphs writes the options among properties, by name.
func (s *syntax) paragraphs(b *strings.Builder, properties map[string]*schema.Schema) {
	list := collapse(properties)
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if _, fixed := s.fixed[name]; fixed || slices.Contains(s.args, name) {
			continue
		}
		s.paragraph(b, "--"+name, name, list[name])
	}
}

// collapse lets one member speak for its family where the members stand singly.
func collapse(properties map[string]*schema.Schema) map[string]*schema.Schema {
	list := maps.Clone(properties)
	for name := range properties {
		family, n, ok := schema.Member(name)
		if !ok || properties[family+"0"] == nil || properties[family+"1"] == nil {
			continue
		}
		if delete(list, name); n == 0 {
			list[family+"[n]"] = properties[name]
		}
	}
	return list
}

// A variant is what one value of a type property brings.
type variant struct {
	title      string
	properties map[string]*schema.Schema
}

func (s *syntax) kinds(part *schema.Schema) (list []variant) {
	if part == nil {
		return nil
	}
	for _, sub := range part.AllOf {
		list = append(list, s.kinds(sub)...)
	}
	for _, one := range part.OneOf {
		for _, kind := range one.Instance {
			list = append(list, variant{part.TypeProperty + "=" + kind, commonProperties(one)})
		}
		list = append(list, s.kinds(one)...)
	}
	slices.SortStableFunc(list, func(a, b variant) int { return strings.Compare(a.title, b.title) })
	return list
}

// indent is what descriptions are set in by.
const indent = "\t     "

// paragraph writes one parameter.
func (s *syntax) paragraph(b *strings.Builder, shown, name string, p *schema.Schema) {
	if p.Alias != "" {
		fmt.Fprintf(b, "  %-10s <alias to '%s'>\n\n", shown, p.Alias)
		return
	}
	kind := TypeText(p)
	if m, ok := s.mapping[name]; ok && typeName(p) == "string" {
		kind = m.hint()
	}
	if p.Default != nil {
		kind += "   (default=" + defaultText(p.Default) + ")"
	}
	fmt.Fprintf(b, "  %-10s %s\n", shown, kind)
	if text := wrap(p.Description, indent, 80-13); text != "" {
		b.WriteString(text)
	}
	if p.Requires != "" {
		fmt.Fprintf(b, "%sRequires option: %s\n", indent, p.Requires)
	}
	b.WriteString("\n")
}

func defaultText(value any) string {
	switch v := value.(type) {
	case bool:
		return schema.FormatBool(v)
	case float64:
		return number(v)
	}
	return fmt.Sprint(value)
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// wrap sets text in lines of at most width characters, each behind prefix.
func wrap(text, prefix string, width int) string {
	var b strings.Builder
	for _, paragraph := range strings.Split(text, "\n\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			switch {
			case line == "":
				line = word
			case len(line)+1+len(word) > width:
				b.WriteString(prefix + line + "\n")
				line = word
			default:
				line += " " + word
			}
		}
		if line != "" {
			b.WriteString(prefix + line + "\n")
		}
	}
	return b.String()
}

// TypeText says in a few signs what a value may be.
func TypeText(p *schema.Schema) string {
	kind := typeName(p)
	switch {
	case p.TypeText != "":
		return p.TypeText
	case p.Hint != "":
		return "<" + p.Hint + ">"
	case p.Enum != nil:
		words := slices.Clone(p.Enum)
		slices.Sort(words)
		return "<" + strings.Join(words, " | ") + ">"
	case p.Pattern != "":
		return p.Pattern
	case kind == "integer" || kind == "number":
		return "<" + kind + ">" + bounds(p)
	case p.Keys != nil:
		return keysText(p)
	}
	return "<" + kind + ">"
}

func bounds(p *schema.Schema) string {
	switch {
	case p.Minimum != nil && p.Maximum != nil:
		return " (" + number(*p.Minimum) + " - " + number(*p.Maximum) + ")"
	case p.Minimum != nil:
		return " (" + number(*p.Minimum) + " - N)"
	case p.Maximum != nil:
		return " (-N - " + number(*p.Maximum) + ")"
	}
	return ""
}

// keysText shows how a property string is written: the required parts first, what
// may be left out in brackets.
func keysText(p *schema.Schema) string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(p.Keys)), func(name string) bool { return p.Keys[name].Alias != "" })
	rank := func(name string) int {
		switch key := p.Keys[name]; {
		case key.DefaultKey:
			return 0
		case !key.Optional:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	var b strings.Builder
	for i, name := range names {
		key := p.Keys[name]
		part := name + "=" + keyText(key)
		if key.DefaultKey {
			part = "[" + name + "=]" + keyText(key)
		}
		if model := modelOf(p, name); model != "" {
			part += "|<" + model + ">=<" + name + ">"
		}
		if i > 0 {
			part = "," + part
		}
		if key.Optional {
			part = "[" + part + "]"
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(part)
	}
	return b.String()
}

// modelOf returns the key whose values may take the place of the name of this one.
func modelOf(p *schema.Schema, name string) string {
	for _, key := range p.Keys {
		if key.Alias == name && key.KeyAlias != "" {
			return key.KeyAlias
		}
	}
	return ""
}

func keyText(key *schema.Schema) string {
	switch {
	case key.TypeText != "":
		return key.TypeText
	case key.Hint != "":
		return "<" + key.Hint + ">"
	case key.Enum != nil:
		return "<" + strings.Join(key.Enum, "|") + ">"
	case key.Type == "boolean":
		return "<1|0>"
	case key.Type == "integer" || key.Type == "number":
		return "<" + key.Type + ">" + bounds(key)
	case key.Keys != nil:
		return keysText(key)
	}
	return "<" + typeName(key) + ">"
}
