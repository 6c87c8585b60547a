package schema

import (
	"fmt"
	"slices"
	"strings"
)

// checkOneOf checks value against the schema that its type property chooses.
func (s *Schema) checkOneOf(path string, value any, faults Faults) {
	values, ok := value.(map[string]any)
	if !ok {
		if value != nil || !s.Optional {
			faults.add(path, "type check ('object') failed")
		}
		return
	}
	s.checkChosen(path, values, faults, nil)
}

// checkChosen finds the schema that the type property of values chooses and
// checks them against it.
func (s *Schema) checkChosen(path string, values map[string]any, faults Faults, skip func(string) bool) {
	kind, given := values[s.TypeProperty]
	if !given {
		if !s.Optional {
			faults.add(join(path, s.TypeProperty), "property is missing and it is not optional")
		}
		return
	}
	chosen := s.Choose(scalar(kind))
	if chosen == nil {
		s.refuseType(path, scalar(kind), faults)
		return
	}
	inner := func(name string) bool { return name == s.TypeProperty || skip != nil && skip(name) }
	chosen.checkMembers(join(path, fmt.Sprintf("oneOf[%s]", scalar(kind))), values, faults, inner)
}

func (s *Schema) refuseType(path, kind string, faults Faults) {
	at := join(path, s.TypeProperty)
	if s.TypeSchema != nil {
		s.TypeSchema.checkText(at, kind, faults)
	}
	if _, told := faults[at]; !told {
		faults.add(at, "unknown type '%s'", kind)
	}
}

// Choose returns the alternative that s has for the given value of its type
// property, nil where it has none.
func (s *Schema) Choose(kind string) *Schema {
	for _, one := range s.OneOf {
		if slices.Contains(one.Instance, kind) {
			return one
		}
	}
	return nil
}

// checkMembers checks the properties of an object whose schema may itself be
// made of others.
func (s *Schema) checkMembers(path string, values map[string]any, faults Faults, skip func(string) bool) {
	switch {
	case len(s.OneOf) > 0:
		s.checkChosen(path, values, faults, skip)
	case len(s.AllOf) > 0:
		s.checkParts(path, values, faults, skip)
	default:
		s.checkObject(path, values, faults, skip)
	}
}

func (s *Schema) checkAllOf(path string, value any, faults Faults) {
	values, ok := value.(map[string]any)
	if !ok {
		faults.add(path, "type check ('object') failed")
		return
	}
	s.checkParts(path, values, faults, nil)
}

// checkParts checks values against each part of an allOf. A property is allowed
// where any part knows it, or where any part allows additional ones.
func (s *Schema) checkParts(path string, values map[string]any, faults Faults, skip func(string) bool) {
	known := func(name string) bool {
		if skip != nil && skip(name) {
			return true
		}
		return slices.ContainsFunc(s.AllOf, func(part *Schema) bool { return part.knows(name, values) })
	}
	for _, part := range s.AllOf {
		part.checkMembers(path, values, faults, known)
	}
}

// knows tells whether s has a say about a property of values.
func (s *Schema) knows(name string, values map[string]any) bool {
	switch {
	case len(s.AllOf) > 0:
		return slices.ContainsFunc(s.AllOf, func(part *Schema) bool { return part.knows(name, values) })
	case len(s.OneOf) > 0:
		if name == s.TypeProperty {
			return true
		}
		chosen := s.Choose(scalar(values[s.TypeProperty]))
		return chosen != nil && chosen.knows(name, values)
	}
	return s.Properties[name] != nil || s.Additional != nil
}

// Find returns what s says of the property of the given name, wherever in s that
// stands; several alternatives may each have a say.
func (s *Schema) Find(name string) (found []*Schema) {
	if p := s.Properties[name]; p != nil {
		found = append(found, p)
	}
	for _, parts := range [][]*Schema{s.AllOf, s.OneOf} {
		for _, part := range parts {
			found = append(found, part.Find(name)...)
		}
	}
	if s.TypeProperty == name && s.TypeSchema != nil {
		found = append(found, s.TypeSchema)
	}
	return found
}

// Member returns the name of the family that an option belongs to, and which
// member it is: net3 is member 3 of net. ok is false where name has no number, or
// one with a leading zero.
func Member(name string) (family string, index int, ok bool) {
	family = strings.TrimRight(name, "0123456789")
	digits := name[len(family):]
	if digits == "" || family == "" || len(digits) > 6 || len(digits) > 1 && digits[0] == '0' {
		return "", 0, false
	}
	for _, d := range digits {
		index = index*10 + int(d-'0')
	}
	return family, index, true
}
