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

// ParseString takes apart text, a property string, and checks its parts. Aliases
// are replaced by what they stand for, booleans written as 1 and 0.
func (s *Schema) ParseString(text string) (Params, error) { return s.parseAt("", text) }

// parseAt is ParseString for the option of the given name, which the faults
// are then told by.
func (s *Schema) parseAt(path, text string) (Params, error) {
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
func (s *Schema) checkKeys(path string, p Params, faults Faults) {
	for _, name := range s.indexed().required {
		if _, given := p[name]; !given {
			faults.add(join(path, name), "property is missing and it is not optional")
		}
	}
	for name, text := range p {
		key := s.Keys[name]
		if key == nil {
			faults.add(join(path, name), "property is not defined in schema and the schema does not allow additional properties")
			continue
		}
		if key.Requires != "" {
			if _, ok := p[key.Requires]; !ok {
				faults.add(join(path, key.Requires), "missing property required by '%s'", join(path, name))
			}
		}
		key.checkText(join(path, name), text, faults)
	}
}

// split takes a property string apart.
func (s *Schema) split(text string) (Params, error) {
	p := Params{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, named := strings.Cut(part, "=")
		switch {
		case named && (key == "" || value == ""):
			return nil, errors.New("missing key in comma-separated list property")
		case named:
			if err := s.put(p, key, value); err != nil {
				return nil, err
			}
		default:
			name := s.DefaultName()
			if name == "" {
				return nil, errors.New("value without key, but schema does not define a default key")
			}
			if _, twice := p[name]; twice {
				return nil, fmt.Errorf("duplicate key in comma-separated list property: %s", name)
			}
			p[name] = s.Keys[name].normal(part)
		}
	}
	return p, nil
}

// put notes one named part, under the name it is an alias of where it is one.
func (s *Schema) put(p Params, name, value string) error {
	if _, twice := p[name]; twice {
		return fmt.Errorf("duplicate key in comma-separated list property: %s", name)
	}
	key := s.Keys[name]
	if key != nil && key.Alias != "" {
		if key.KeyAlias != "" {
			if _, twice := p[key.KeyAlias]; twice {
				return fmt.Errorf("key alias '%s' is already defined", key.KeyAlias)
			}
			p[key.KeyAlias] = name
		}
		if _, twice := p[key.Alias]; twice {
			return fmt.Errorf("'%s' is already defined (via alias)", key.Alias)
		}
		name, key = key.Alias, s.Keys[key.Alias]
	}
	if key != nil {
		value = key.normal(value)
	}
	p[name] = value
	return nil
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
// its name, the others sorted.
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
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !done[name] {
			parts = append(parts, name+"="+p[name])
		}
	}
	return strings.Join(parts, ",")
}
