package coverage

import (
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cli"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// tool compares the commands of t.
func (s *Spec) tool(r *Report, t cli.Tool, methods api.Registry) {
	t.Walk(methods, func(path []string, b cli.Binding) {
		place := strings.Join(append([]string{t.Name}, path...), " ")
		spec := s.Commands[t.Name]
		for _, word := range path {
			if spec != nil {
				spec = spec.Subcommands[word]
			}
		}
		switch {
		case spec == nil:
			r.contradict(place, "is not specified")
			return
		case b.Alias != "" || spec.Alias != "":
			if b.Alias != spec.Alias {
				r.contradict(place, "is another name of %q, specified %q", b.Alias, spec.Alias)
			}
			return
		}
		r.Commands++
		s.command(r, place, b, spec, methods.Find(b.Method))
	})
}

func (s *Spec) command(r *Report, place string, b cli.Binding, spec *Command, m *api.Method) {
	differ := func(what string, a, b any) {
		if a != b {
			r.contradict(place, "%s %q, specified %q", what, a, b)
		}
	}
	differ("positional parameters", strings.Join(b.Args, " "), strings.Join(spec.Args, " "))
	differ("fixed parameters", strings.Join(slices.Sorted(maps.Keys(b.Fixed)), " "), strings.Join(slices.Sorted(maps.Keys(spec.Fixed)), " "))
	differ("output options in the usage", b.Output, spec.Output != nil)
	if spec.API != "" {
		differ("method", b.Method, spec.API)
	}
	for name, p := range properties(m.Params()) {
		_, fixed := b.Fixed[name]
		specified := spec.Options[name]
		switch {
		case fixed:
			continue
		case slices.Contains(b.Args, name):
			specified = spec.ArgSchema[name]
		case specified == nil:
			specified = properties(spec.OneOf)[name]
		}
		if specified == nil {
			r.contradict(place+" "+name, "is not specified")
			continue
		}
		if m.Path == "" { // else it was compared with the method
			s.same(r, place+" "+name, p, specified)
		}
		mapping, mapped := b.Mapping[name]
		want, wanted := spec.Mapping[name]
		if mapped != wanted || mapping.Secret != want.Interactive {
			r.contradict(place+" "+name, "mapped is %t, specified %t", mapped, wanted)
		}
	}
}

// methodSpec writes what is declared of a method.
func methodSpec(m *api.Method) *Method {
	return &Method{
		Name: m.Name, Description: m.Doc, Parameters: m.Params(), Returns: m.Returns(),
		Permissions: permissions(m.Permissions), Protected: m.Protected, ProxyTo: m.ProxyTo,
	}
}

func permissions(p api.Permissions) any {
	all := map[string]any{}
	if p.User != "" {
		all["user"] = p.User
	}
	if p.Check != nil {
		all["check"] = p.Check
	}
	if p.Described {
		all["described"] = true
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// commandSpec writes what is declared of a command.
func commandSpec(b cli.Binding, m *api.Method) *Command {
	c := &Command{
		Name: m.Name, Args: b.Args, Fixed: map[string]any{}, ArgSchema: map[string]*schema.Schema{},
		Options: map[string]*schema.Schema{}, Mapping: map[string]Mapping{}, Returns: typeOf(m.Returns()),
	}
	if m.Path != "" {
		c.API = m.Key()
	}
	for name, value := range b.Fixed {
		c.Fixed[name] = value
	}
	for name, p := range properties(m.Params()) {
		switch _, fixed := b.Fixed[name]; {
		case slices.Contains(b.Args, name):
			c.ArgSchema[name] = p
		case !fixed:
			c.Options[name] = p
		}
	}
	for name, mapping := range b.Mapping {
		hint := "<filepath>"
		if mapping.Secret {
			hint = "<password>"
		}
		c.Mapping[name] = Mapping{hint, mapping.Secret}
	}
	return c
}
