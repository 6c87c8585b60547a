package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Params are values in textual form, keyed by option name. Arrays are joined by
// [Join].
type Params map[string]string

// parts are a property string taken apart. They are few: to look through them is
// cheaper than to keep a map.
type parts []part

// A part is one key of a property string and its value.
type part struct{ name, value string }

func (p parts) get(name string) (value string, ok bool) {
	for i := range p {
		if p[i].name == name {
			return p[i].value, true
		}
	}
	return "", false
}

func (p parts) has(name string) bool {
	_, ok := p.get(name)
	return ok
}

// ParseString takes apart text, a property string, and checks its parts. Aliases
// are replaced by what they stand for, booleans written as 1 and 0.
func (s *Schema) ParseString(text string) (Params, error) {
	parts, err := s.parseAt("", text)
	if err != nil {
		return nil, err
	}
	p := make(Params, len(parts))
	for _, part := range parts {
		p[part.name] = part.value
	}
	return p, nil
}

// parseAt is ParseString for the option of the given name, which the faults
// are then told by.
func (s *Schema) parseAt(path, text string) (parts, error) {
	p, err := s.split(text)
	if err != nil {
		return nil, err
	}
	faults := Faults{}
	s.checkKeys(path, p, faults)
	if len(faults) > 0 {
		return nil, fmt.Errorf("format error\n%s", faults.Lines())
	}
	return p, nil
}

// checkKeys checks the parts of a property string.
func (s *Schema) checkKeys(path string, p parts, faults Faults) {
	for _, name := range s.indexed().required {
		if !p.has(name) {
			faults.add(join(path, name), "property is missing and it is not optional")
		}
	}
	inside := Faults{} // by the name of the key alone: most often there are none
	for _, part := range p {
		key := s.Keys[part.name]
		if key == nil {
			faults.add(join(path, part.name), "property is not defined in schema and the schema does not allow additional properties")
			continue
		}
		if key.Requires != "" && !p.has(key.Requires) {
			faults.add(join(path, key.Requires), "missing property required by '%s'", join(path, part.name))
		}
		key.checkText(part.name, part.value, inside)
	}
	for name, fault := range inside {
		faults.add(join(path, name), "%s", fault)
	}
}

// split takes a property string apart.
func (s *Schema) split(text string) (parts, error) {
	p := make(parts, 0, strings.Count(text, ",")+2) // one more for what a key may stand for
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, named := strings.Cut(part, "=")
		if named && (name == "" || value == "") {
			return nil, errors.New("missing key in comma-separated list property")
		}
		if !named {
			if name, value = s.DefaultName(), part; name == "" {
				return nil, errors.New("value without key, but schema does not define a default key")
			}
		}
		var err error
		if p, err = s.put(p, name, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// put adds one part, under the name it is an alias of where it is one.
func (s *Schema) put(p parts, name, value string) (parts, error) {
	if p.has(name) {
		return nil, fmt.Errorf("duplicate key in comma-separated list property: %s", name)
	}
	key := s.Keys[name]
	if key != nil && key.Alias != "" {
		if key.KeyAlias != "" {
			if p.has(key.KeyAlias) {
				return nil, fmt.Errorf("key alias '%s' is already defined", key.KeyAlias)
			}
			p = append(p, part{key.KeyAlias, name})
		}
		if p.has(key.Alias) {
			return nil, fmt.Errorf("'%s' is already defined (via alias)", key.Alias)
		}
		name, key = key.Alias, s.Keys[key.Alias]
	}
	if key != nil {
		value = key.normal(value)
	}
	return append(p, part{name, value}), nil
}

// normal returns text as it is kept: booleans as 1 and 0.
func (s *Schema) normal(text string) string {
	if s.Type == "boolean" {
		if value, ok := ParseBool(text); ok {
			return FormatBool(value)
		}
	}
	return text
}

// PrintString puts a property string together: the default key first and without
// its name, then those that have to be there, then the others, both sorted.
func (s *Schema) PrintString(p Params) string {
	var parts []string
	done := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(s.Keys)) {
		key := s.Keys[name]
		if key.KeyAlias == "" || p[key.KeyAlias] != name || done[key.Alias] {
			continue
		}
		if value, ok := p[key.Alias]; ok {
			parts = append(parts, name+"="+value)
			done[key.Alias], done[key.KeyAlias] = true, true
		}
	}
	if name := s.DefaultName(); name != "" && !done[name] {
		if value, ok := p[name]; ok {
			parts = append(parts, value)
			done[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(p))
	for _, optional := range []bool{false, true} {
		for _, name := range names {
			if key := s.Keys[name]; !done[name] && (key == nil || key.Optional) == optional {
				parts = append(parts, name+"="+p[name])
			}
		}
	}
	return strings.Join(parts, ",")
}
