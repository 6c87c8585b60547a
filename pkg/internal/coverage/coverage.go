// Package coverage compares what is declared with the interface specification: how
// much of it there is, and where the two contradict each other.
package coverage

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Method is one method of api.json.
type Method struct {
	Name        string         `json:"name"`
	Description string         `json:"description,omitempty"`
	Parameters  *schema.Schema `json:"parameters"`
	Returns     *schema.Schema `json:"returns"`
	Permissions any            `json:"permissions,omitempty"`
	Protected   bool           `json:"protected,omitempty"`
	ProxyTo     string         `json:"proxyto,omitempty"`
}

// Command is a command of cli.json, or a group of them.
type Command struct {
	Subcommands map[string]*Command        `json:"subcommands,omitempty"`
	Alias       string                     `json:"alias,omitempty"`
	API         string                     `json:"api,omitempty"`
	Name        string                     `json:"name,omitempty"`
	Args        []string                   `json:"args,omitempty"`
	ArgSchema   map[string]*schema.Schema  `json:"arg_schema,omitempty"`
	Fixed       map[string]any             `json:"fixed,omitempty"`
	Options     map[string]*schema.Schema  `json:"options,omitempty"`
	Mapping     map[string]Mapping         `json:"param_mapping,omitempty"`
	Output      map[string]json.RawMessage `json:"output_options,omitempty"`
	Returns     string                     `json:"returns,omitempty"`
	OneOf       *schema.Schema             `json:"options_schema,omitempty"`
}

// Mapping is how the value of an option comes about.
type Mapping struct {
	Hint        string `json:"desc"`
	Interactive bool   `json:"interactive,omitempty"`
}

// Spec is the interface specification.
type Spec struct {
	Methods  map[string]map[string]*Method // by path and verb
	Commands map[string]*Command           // by tool
	formats  map[string]map[string]*schema.Schema
	totals   [3]int // methods, parameters, commands
}

// Load reads the specification from the folder it is in.
func Load(dir string) (*Spec, error) {
	s := &Spec{formats: map[string]map[string]*schema.Schema{}}
	var methods struct {
		Meta struct {
			Counts struct {
				Methods    int `json:"methods"`
				Parameters int `json:"parameters_collapsed"`
			} `json:"counts"`
		} `json:"meta"`
		Paths map[string]map[string]*Method `json:"paths"`
	}
	var commands struct {
		Meta struct {
			Counts struct {
				Commands int `json:"commands"`
			} `json:"counts"`
		} `json:"meta"`
		Clis map[string]*Command `json:"clis"`
	}
	var formats struct {
		Formats map[string]struct {
			Properties map[string]*schema.Schema `json:"properties"`
		} `json:"formats"`
	}
	for name, into := range map[string]any{"api.json": &methods, "cli.json": &commands, "formats.json": &formats} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	s.Methods, s.Commands = methods.Paths, commands.Clis
	s.totals = [3]int{methods.Meta.Counts.Methods, methods.Meta.Counts.Parameters, commands.Meta.Counts.Commands}
	for name, f := range formats.Formats {
		if f.Properties != nil {
			s.formats[name] = f.Properties
		}
	}
	return s, nil
}

// Report is the outcome of a comparison.
type Report struct {
	Methods, Parameters, Commands int
	// Contradictions are the places where declaration and specification differ, each
	// with what differs.
	Contradictions map[string]string

	totals [3]int
}

// String gives the counts in a line.
func (r *Report) String() string {
	return fmt.Sprintf("methods %d/%d, parameters %d/%d, commands %d/%d",
		r.Methods, r.totals[0], r.Parameters, r.totals[1], r.Commands, r.totals[2])
}

func (r *Report) contradict(place, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if first, ok := r.Contradictions[place]; ok {
		text = first + "; " + text
	}
	r.Contradictions[place] = text
}

// Compare compares methods and tools with s.
func (s *Spec) Compare(methods api.Registry, tools []cli.Tool) *Report {
	r := &Report{Contradictions: map[string]string{}, totals: s.totals}
	for i := range methods {
		if m := &methods[i]; m.Path != "" {
			s.method(r, m)
		}
	}
	for _, t := range tools {
		s.tool(r, t, methods)
	}
	return r
}

func (s *Spec) method(r *Report, m *api.Method) {
	spec := s.Methods[m.Path][m.Verb]
	if spec == nil {
		r.contradict(m.Key(), "is not specified")
		return
	}
	r.Methods++
	if spec.Name != m.Name {
		r.contradict(m.Key(), "name is %q, specified %q", m.Name, spec.Name)
	}
	if spec.Protected != m.Protected {
		r.contradict(m.Key(), "protected is %t, specified %t", m.Protected, spec.Protected)
	}
	if spec.ProxyTo != m.ProxyTo {
		r.contradict(m.Key(), "proxyto is %q, specified %q", m.ProxyTo, spec.ProxyTo)
	}
	// A method may return whatever it finds: then nothing is declared.
	if a := m.Returns().Type; a != "" && a != "any" && spec.Returns != nil && a != typeOf(spec.Returns) {
		r.contradict(m.Key(), "returns %s, specified %s", a, typeOf(spec.Returns))
	}
	specified := properties(spec.Parameters)
	for name, p := range properties(m.Params()) {
		r.Parameters += s.property(r, m.Key()+" "+name, p, specified[name])
	}
}

// property compares one parameter and returns 1 where it is specified.
func (s *Spec) property(r *Report, place string, p, spec *schema.Schema) int {
	if spec == nil {
		r.contradict(place, "is not specified")
		return 0
	}
	s.same(r, place, p, spec)
	return 1
}

// properties collects the properties of a schema and its parts.
func properties(s *schema.Schema) map[string]*schema.Schema {
	all := map[string]*schema.Schema{}
	if s == nil {
		return all
	}
	maps.Copy(all, s.Properties)
	for _, parts := range [][]*schema.Schema{s.AllOf, s.OneOf} {
		for _, part := range parts {
			for name, p := range properties(part) {
				if all[name] == nil {
					all[name] = p
				}
			}
		}
	}
	if s.TypeProperty != "" && all[s.TypeProperty] == nil && s.TypeSchema != nil {
		all[s.TypeProperty] = s.TypeSchema
	}
	return all
}

func typeOf(s *schema.Schema) string {
	if s == nil || s.Type == "" {
		return "string"
	}
	return s.Type
}

// same compares what two schemas allow.
func (s *Spec) same(r *Report, place string, p, spec *schema.Schema) {
	differ := func(what string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			r.contradict(place, "%s is %q, specified %q", what, x, y)
		}
	}
	if p.Alias != "" || spec.Alias != "" {
		differ("alias", p.Alias, spec.Alias)
		differ("keyalias", p.KeyAlias, spec.KeyAlias)
		return
	}
	differ("type", typeOf(p), typeOf(spec))
	differ("optional", p.Optional, spec.Optional)
	differ("minimum", text(p.Minimum), text(spec.Minimum))
	differ("maximum", text(p.Maximum), text(spec.Maximum))
	differ("minLength", text(p.MinLength), text(spec.MinLength))
	differ("maxLength", text(p.MaxLength), text(spec.MaxLength))
	// Perl leaves out the lower bound of a count, RE2 does not.
	differ("pattern", p.Pattern, strings.ReplaceAll(spec.Pattern, "{,", "{0,"))
	differ("requires", p.Requires, spec.Requires)
	differ("default_key", p.DefaultKey, spec.DefaultKey)
	differ("enum", words(p.Enum), words(spec.Enum))
	differ("default", normal(p.Default, p), normal(spec.Default, spec))
	differ("family of", p.Count, spec.Count)
	if p.Items != nil && spec.Items != nil {
		s.same(r, place+"[]", p.Items, spec.Items)
	}
	s.formatOf(r, place, p, spec)
}

// formatOf compares named formats and property strings. A key that is not declared
// is not there yet, which is no contradiction.
func (s *Spec) formatOf(r *Report, place string, p, spec *schema.Schema) {
	keys := spec.Keys
	if keys == nil {
		keys = s.formats[spec.Format]
	}
	switch {
	case p.Keys != nil && keys != nil:
		for name, key := range p.Keys {
			if keys[name] == nil {
				r.contradict(place+"."+name, "is not specified")
				continue
			}
			s.same(r, place+"."+name, key, keys[name])
		}
	case p.Keys != nil:
		r.contradict(place, "is a property string, specified format %q", spec.Format)
	case spec.Keys != nil:
		r.contradict(place, "format is %q, specified as a property string", p.Format)
	case p.Format != spec.Format:
		r.contradict(place, "format is %q, specified %q", p.Format, spec.Format)
	}
}

func text[T any](n *T) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func words(list []string) string { return strings.Join(slices.Sorted(slices.Values(list)), " ") }

// normal writes a default as its type has it.
func normal(value any, s *schema.Schema) string {
	if value == nil {
		return ""
	}
	if s.Type == "boolean" {
		if b, ok := schema.ParseBool(fmt.Sprint(value)); ok {
			return schema.FormatBool(b)
		}
	}
	return fmt.Sprint(value)
}
