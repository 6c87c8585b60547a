package schema

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Check tells all that is wrong with value, nil where nothing is. Values are
// strings, booleans, numbers, nil, []any and map[string]any, as they come from
// JSON; text stands for the booleans and numbers it spells. Aliases inside objects
// are replaced by what they stand for.
func (s *Schema) Check(value any) Faults {
	faults := Faults{}
	s.check("", value, faults)
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// check adds to faults what is wrong with the value at path.
func (s *Schema) check(path string, value any, faults Faults) {
	switch {
	case len(s.OneOf) > 0:
		s.checkOneOf(path, value, faults)
		return
	case len(s.AllOf) > 0:
		s.checkAllOf(path, value, faults)
		return
	case s.Type == "null" && value == nil:
		return
	case value == nil:
		if !s.Optional {
			faults.add(path, "property is missing and it is not optional")
		}
		return
	}
	switch v := value.(type) {
	case map[string]any:
		if s.Type != "object" && s.Properties == nil {
			faults.add(path, "type check ('%s') failed", s.Type)
			return
		}
		s.checkObject(path, v, faults, nil)
	case []any:
		s.checkArray(path, v, faults)
	default:
		s.checkText(path, scalar(v), faults)
	}
}

func (s *Schema) checkArray(path string, values []any, faults Faults) {
	if s.Type != "array" {
		faults.add(path, "type check ('%s') failed - got array", s.Type)
		return
	}
	if s.Items == nil {
		return
	}
	for i, v := range values {
		s.Items.check(fmt.Sprintf("%s[%d]", path, i), v, faults)
	}
}

// scalar spells a value that JSON delivered as text would.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// checkText adds to faults what is wrong with text as the value at path. Of a property
// string it returns the parts, so that nobody takes it apart twice.
func (s *Schema) checkText(path, text string, faults Faults) (p parts) {
	switch s.Type {
	case "boolean":
		if _, ok := ParseBool(text); !ok {
			faults.add(path, "type check ('boolean') failed - got '%s'", text)
			return nil
		}
	case "integer":
		if !isInteger(text) {
			faults.add(path, "type check ('integer') failed - got '%s'", text)
			return nil
		}
	case "number":
		if !isNumber(text) {
			faults.add(path, "type check ('number') failed - got '%s'", text)
			return nil
		}
	case "array":
		if s.Items != nil && text != "" {
			for i, item := range SplitArray(text) {
				s.Items.checkText(fmt.Sprintf("%s[%d]", path, i), item, faults)
			}
		}
		return nil
	case "object":
		faults.add(path, "type check ('object') failed - got '%s'", text)
		return nil
	}
	p, err := s.checkFormat(path, text)
	if err != nil {
		faults.add(path, "invalid format - %s", err)
		return nil
	}
	s.checkBounds(path, text, faults)
	return p
}

// checkBounds checks what comes after type and format: pattern, length, range and
// enumeration. The first that fails is told.
func (s *Schema) checkBounds(path, text string, faults Faults) {
	if s.Pattern != "" && !Matches(s.Pattern, text) {
		faults.add(path, "value does not match the regex pattern")
		return
	}
	if s.MaxLength != nil && utf8.RuneCountInString(text) > *s.MaxLength {
		faults.add(path, "value may only be %d characters long", *s.MaxLength)
		return
	}
	if s.MinLength != nil && utf8.RuneCountInString(text) < *s.MinLength {
		faults.add(path, "value must be at least %d characters long", *s.MinLength)
		return
	}
	if s.Minimum != nil || s.Maximum != nil {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			if s.Minimum != nil && n < *s.Minimum {
				faults.add(path, "value must have a minimum value of %s", scalar(*s.Minimum))
				return
			}
			if s.Maximum != nil && n > *s.Maximum {
				faults.add(path, "value must have a maximum value of %s", scalar(*s.Maximum))
				return
			}
		}
	}
	if s.Enum != nil && !slices.Contains(s.Enum, text) {
		faults.add(path, "value '%s' does not have a value in the enumeration '%s'", text, strings.Join(s.Enum, ", "))
	}
}

// checkFormat checks text against the property string, the named format and the
// check of s. The text of the error ends in a newline, as upstream's do.
func (s *Schema) checkFormat(path, text string) (p parts, err error) {
	switch {
	case s.Keys != nil:
		p, err = s.parseAt(path, text)
	case s.Format != "":
		if err = checkListed(s.Format, text, s.Verify); err != nil {
			return nil, withNewline(err)
		}
		return nil, nil
	}
	if err == nil && s.Verify != nil {
		err = s.Verify(text)
	}
	if err != nil {
		return nil, withNewline(err)
	}
	return p, nil
}

func withNewline(err error) error { return errors.New(strings.TrimSuffix(err.Error(), "\n") + "\n") }

// checkListed checks text against a named format, or against check where there
// is one: each word where the name ends in -list, and nothing where the text is
// empty and the name ends in -opt.
func checkListed(format, text string, check func(string) error) error {
	one := func(text string) error {
		if check != nil {
			return check(text)
		}
		return CheckFormat(format, text)
	}
	if base, ok := strings.CutSuffix(format, "-list"); ok {
		format = base
		for _, word := range SplitList(text) {
			if err := one(word); err != nil {
				return err
			}
		}
		return nil
	}
	if base, ok := strings.CutSuffix(format, "-opt"); ok {
		if format = base; text == "" {
			return nil
		}
	}
	return one(text)
}

// checkObject checks the properties of values. A property in skip is someone
// else's business.
func (s *Schema) checkObject(path string, values map[string]any, faults Faults, skip func(name string) bool) {
	s.unalias(path, values, faults)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		if p.Alias != "" {
			continue
		}
		at := join(path, name)
		value, given := values[name]
		if !given || value == nil {
			if !p.Optional {
				faults.add(at, "property is missing and it is not optional")
			}
			continue
		}
		if p.Requires != "" && values[p.Requires] == nil {
			faults.add(join(path, p.Requires), "missing property required by '%s'", at)
		}
		p.check(at, value, faults)
	}
	for name, value := range values {
		if s.Properties[name] != nil || skip != nil && skip(name) {
			continue
		}
		if s.Additional == nil {
			faults.add(join(path, name), "property is not defined in schema and the schema does not allow additional properties")
		} else {
			s.Additional.check(join(path, name), value, faults)
		}
	}
}

// unalias gives the values their proper names.
func (s *Schema) unalias(path string, values map[string]any, faults Faults) {
	for name, p := range s.Properties {
		value, given := values[name]
		if p.Alias == "" || !given {
			continue
		}
		if _, both := values[p.Alias]; both {
			faults.add(join(path, name), "cannot set both '%s' and its alias target '%s'", name, p.Alias)
			continue
		}
		values[p.Alias] = value
		delete(values, name)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// isInteger and isNumber are upstream's idea of numbers: text that looks like
// one, of any length.
func isInteger(text string) bool {
	digits := strings.TrimLeft(text[:min(1, len(text))], "+-") + text[min(1, len(text)):]
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

func isNumber(text string) bool {
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return false
	}
	return strings.Trim(text, "0123456789+-.eE") == ""
}

var patterns sync.Map // pattern → *regexp.Regexp: compiling one costs more than all else in a check

// Matches tells whether the whole of text matches pattern.
func Matches(pattern, text string) bool {
	re, ok := patterns.Load(pattern)
	if !ok {
		re, _ = patterns.LoadOrStore(pattern, regexp.MustCompile(`^(?:`+pattern+`)$`))
	}
	return re.(*regexp.Regexp).MatchString(text)
}
