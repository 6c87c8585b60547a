package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A syntax says which words a command takes.
type syntax struct {
	schema  *schema.Schema
	args    []string
	fixed   schema.Params
	mapping map[string]Mapping
	// extra are options of the command line itself. They yield to those of the
	// method: no beginning of a name becomes ambiguous by them.
	extra *schema.Schema
	// resolve finds the value of a type property that is not given. nil for none.
	resolve func(property string, p schema.Params) (string, error)
	// read gets the value of a mapped option from what was given, which for a secret
	// is empty where there is no value. nil leaves it as it is.
	read func(name string, m Mapping, given string) (string, error)
}

// errHelp is the error of a line that asks for help.
var errHelp = errors.New("help is asked for")

// arrayArgs is the positional parameter that takes all words that are left.
const arrayArgs = "extra-args"

// An option is how a name takes its value.
type option struct {
	name     string
	extra    bool
	optional bool // the value may be left out
	many     bool // it may be given several times
}

// options lists what may be given by name: the names in lower case, as case does
// not matter.
func (s *syntax) options() map[string]option {
	list := map[string]option{}
	add := func(name string, variants []*schema.Schema, extra bool) {
		o := option{name: name, extra: extra}
		for _, v := range variants {
			o.many = o.many || v.Type == "array" || v.IsList()
			o.optional = o.optional || v.Type == "boolean"
		}
		if s.mapping[name].Secret {
			o.optional, o.many = true, false
		}
		if at := strings.ToLower(name); list[at].name == "" {
			list[at] = o
		}
	}
	for name, variants := range properties(s.schema) {
		if _, fixed := s.fixed[name]; fixed || slices.Contains(s.args, name) && !skippable(name, variants) {
			continue
		}
		for _, member := range members(name, variants) {
			add(member, variants, false)
		}
	}
	if s.extra != nil {
		for name, p := range s.extra.Properties {
			add(name, []*schema.Schema{p}, true)
		}
	}
	return list
}

// skippable tells whether a parameter that has a position may be left out there. Only by
// its name can it be given when those before it are left out. One that takes all words that
// are left has no name.
func skippable(name string, variants []*schema.Schema) bool {
	return name != arrayArgs && !slices.ContainsFunc(variants, func(v *schema.Schema) bool {
		return !v.Optional || v.Type == "array" || v.IsList()
	})
}

// members lists the options of a family that stands in a schema as net[n].
func members(name string, variants []*schema.Schema) []string {
	family, ok := strings.CutSuffix(name, "[n]")
	if !ok {
		return []string{name}
	}
	names := make([]string, variants[0].Count)
	for i := range names {
		names[i] = family + strconv.Itoa(i)
	}
	return names
}

// properties collects what s says of each property, in all its alternatives.
func properties(s *schema.Schema) map[string][]*schema.Schema {
	all := map[string][]*schema.Schema{}
	var walk func(*schema.Schema)
	walk = func(s *schema.Schema) {
		if s == nil {
			return
		}
		for name, p := range s.Properties {
			all[name] = append(all[name], p)
		}
		for _, part := range s.AllOf {
			walk(part)
		}
		for _, one := range s.OneOf {
			walk(one)
		}
		if s.TypeProperty != "" {
			all[s.TypeProperty] = append(all[s.TypeProperty], typeSchema(s))
		}
	}
	walk(s)
	return all
}

// typeSchema is what s says of its type property.
func typeSchema(s *schema.Schema) *schema.Schema {
	t := schema.Schema{Type: "string"}
	if s.TypeSchema != nil {
		t = *s.TypeSchema
	}
	t.Optional = t.Optional || s.Optional
	return &t
}

// chosen returns what s says of each property where the values of p choose among
// the alternatives.
func (s *syntax) chosen(p schema.Params) (map[string]*schema.Schema, error) {
	all := map[string]*schema.Schema{}
	var walk func(*schema.Schema) error
	walk = func(part *schema.Schema) error {
		maps.Copy(all, part.Properties)
		for _, sub := range part.AllOf {
			if err := walk(sub); err != nil {
				return err
			}
		}
		if part.TypeProperty == "" {
			return nil
		}
		all[part.TypeProperty] = typeSchema(part)
		kind, given := p[part.TypeProperty]
		if !given && s.resolve != nil {
			found, err := s.resolve(part.TypeProperty, p)
			if err != nil {
				return err
			}
			kind = found
			p[part.TypeProperty] = found
		}
		if one := part.Choose(kind); one != nil {
			return walk(one)
		}
		return nil
	}
	if s.schema == nil {
		return all, nil
	}
	return all, walk(s.schema)
}

// find returns the option that a name, or the beginning of one, stands for.
func find(list map[string]option, name string) (option, error) {
	name = strings.ToLower(name)
	if o, ok := list[name]; ok {
		return o, nil
	}
	var hits, extras []string
	for candidate, o := range list {
		if !strings.HasPrefix(candidate, name) {
			continue
		}
		if o.extra {
			extras = append(extras, candidate)
		} else {
			hits = append(hits, candidate)
		}
	}
	if len(hits) == 0 {
		hits = extras
	}
	switch len(hits) {
	case 0:
		return option{}, errUnknownOption
	case 1:
		return list[hits[0]], nil
	}
	slices.Sort(hits)
	return option{}, fmt.Errorf("is ambiguous (%s)", strings.Join(hits, ", "))
}

var errUnknownOption = errors.New("unknown option")

func usageError(text string) error {
	return &api.Error{Status: http.StatusBadRequest, Message: text}
}

// parse takes the words of a command apart. extra are the values of the extra
// options. What is wrong with an option is told to warn, all at once.
func (s *syntax) parse(words []string, warn io.Writer) (p, extra schema.Params, err error) {
	list := s.options()
	given, rest, err := scan(list, words, warn)
	if err != nil {
		return nil, nil, err
	}
	p, extra = schema.Params{}, schema.Params{}
	maps.Copy(p, s.fixed)
	for name, values := range given {
		if o := list[strings.ToLower(name)]; !o.extra && !o.many {
			p[name] = values[len(values)-1]
		}
	}
	chosen, err := s.chosen(p)
	if err != nil {
		return nil, nil, err
	}
	if err := s.place(rest, chosen, p); err != nil {
		return nil, nil, err
	}
	for name, values := range given {
		if o := list[strings.ToLower(name)]; o.extra {
			text, err := value(s.extra.Properties[name], values)
			if err != nil {
				return nil, nil, err
			}
			extra[name] = text
			continue
		}
		if p[name], err = s.option(name, values, chosen); err != nil {
			return nil, nil, err
		}
	}
	return p, extra, s.ask(chosen, p)
}

// option returns the value of an option that was given by name.
func (s *syntax) option(name string, values []string, chosen map[string]*schema.Schema) (string, error) {
	property := lookup(chosen, name)
	text, err := value(property, values)
	if err != nil {
		return "", err
	}
	m, mapped := s.mapping[name]
	if !mapped || s.read == nil || property != nil && property.Type != "" && property.Type != "string" {
		return text, nil
	}
	return s.read(name, m, text)
}

// ask gets the secrets that are required and were not given.
func (s *syntax) ask(chosen map[string]*schema.Schema, p schema.Params) error {
	for _, name := range slices.Sorted(maps.Keys(s.mapping)) {
		m := s.mapping[name]
		property := chosen[name]
		if _, given := p[name]; given || !m.Secret || property == nil || property.Optional || s.read == nil {
			continue
		}
		text, err := s.read(name, m, "")
		if err != nil {
			return err
		}
		p[name] = text
	}
	return nil
}

// lookup finds an option in a schema where families stand as net[n].
func lookup(all map[string]*schema.Schema, name string) *schema.Schema {
	if p := all[name]; p != nil {
		return p
	}
	if family, n, ok := schema.Member(name); ok {
		if p := all[family+"[n]"]; p != nil && n < p.Count {
			return p
		}
	}
	return nil
}

// value makes one text of the values that an option was given.
func value(p *schema.Schema, values []string) (string, error) {
	last := values[len(values)-1]
	switch {
	case p == nil:
		return last, nil
	case p.Type == "boolean" && last == "":
		return "1", nil
	case p.Type == "boolean":
		b, ok := schema.ParseBool(last)
		if !ok {
			return "", usageError("unable to parse boolean option")
		}
		return schema.FormatBool(b), nil
	case p.Type == "array":
		return schema.Join(values), nil
	case p.IsList():
		return strings.Join(values, ","), nil
	}
	return last, nil
}

// scan tells options and other words apart. Its rules are those of the parser that
// upstream uses: what it takes for a value depends on the option.
func scan(list map[string]option, words []string, warn io.Writer) (given map[string][]string, rest []string, err error) {
	given = map[string][]string{}
	bad := false
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			rest = append(rest, words...)
			break
		}
		if !strings.HasPrefix(word, "-") || word == "-" {
			rest = append(rest, word)
			continue
		}
		name := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
		if _, taken := list[name]; !taken && (word == "-h" || word == "--help") {
			return nil, nil, errHelp
		}
		name, text, attached := cutValue(name)
		o, err := find(list, name)
		if err != nil {
			bad = true
			complain(warn, name, err)
			continue
		}
		if !attached && len(words) > 0 && (!o.optional || !strings.HasPrefix(words[0], "-") || words[0] == "-") {
			text, words = words[0], words[1:]
		} else if !o.optional && text == "" {
			bad = true
			fmt.Fprintf(warn, "Option %s requires an argument\n", name)
			continue
		}
		given[o.name] = append(given[o.name], text)
	}
	if bad {
		return nil, nil, usageError("unable to parse option")
	}
	return given, rest, nil
}

// cutValue takes name=value apart. A name has at least one character.
func cutValue(word string) (name, value string, attached bool) {
	if i := strings.Index(word, "="); i > 0 {
		return word[:i], word[i+1:], true
	}
	return word, "", false
}

func complain(warn io.Writer, name string, err error) {
	if errors.Is(err, errUnknownOption) {
		fmt.Fprintf(warn, "Unknown option: %s\n", name)
		return
	}
	fmt.Fprintf(warn, "Option %s %s\n", name, err)
}

// place gives the words that are no options to the positional parameters.
func (s *syntax) place(words []string, chosen map[string]*schema.Schema, p schema.Params) error {
	for i, name := range s.args {
		property := chosen[name]
		switch {
		case name == arrayArgs:
			if len(words) > 0 {
				p[name] = schema.Join(words)
			} else if property != nil && !property.Optional {
				return usageError("not enough arguments")
			}
			words = nil
		case len(words) == 0:
			if property == nil || !property.Optional {
				return usageError("not enough arguments")
			}
		case i == len(s.args)-1 && property != nil && (property.Type == "array" || property.IsList()):
			text, err := value(property, words)
			if err != nil {
				return err
			}
			p[name], words = text, nil
		default:
			p[name], words = words[0], words[1:]
		}
	}
	if len(words) > 0 {
		return usageError("too many arguments")
	}
	return nil
}
