package schema

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Decode fills the struct that dst points to with p, whose texts it checks
// against the schema of the struct. Where p does not fit it returns [Faults], all
// of them, and what dst holds is of no use.
func Decode(p Params, dst any) error {
	v := reflect.ValueOf(dst).Elem()
	s, faults := TypeOf(v.Type()), Faults{}
	given := s.proper(p, faults)
	for name, text := range given {
		f, member := s.Lookup(name)
		if f == nil {
			faults.add(name, "property is not defined in schema and the schema does not allow additional properties")
			continue
		}
		if err := f.set(v, name, member, text); err != nil {
			mergeFaults(faults, name, err)
		}
		if need := f.Schema.Requires; need != "" {
			if _, ok := given[need]; !ok {
				faults.add(need, "missing property required by '%s'", name)
			}
		}
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		if _, ok := given[f.Name]; !ok && f.Count == 0 && !f.Schema.Optional {
			faults.add(f.Name, "property is missing and it is not optional")
		}
	}
	if s.given != nil {
		v.FieldByIndex(s.given).Set(reflect.ValueOf(Given(given)))
	}
	return faults.Err()
}

func mergeFaults(faults Faults, name string, err error) {
	if more, ok := errors.AsType[Faults](err); ok {
		for path, text := range more {
			faults.add(path, "%s", text)
		}
		return
	}
	faults.add(name, "invalid format - %s\n", strings.TrimSuffix(err.Error(), "\n"))
}

// proper returns p with aliases replaced by what they stand for and booleans
// written as 1 and 0.
func (s *Struct) proper(p Params, faults Faults) Params {
	given := make(Params, len(p))
	for name, text := range p {
		if target, ok := s.aliases[name]; ok {
			if _, both := p[target]; both {
				faults.add(name, "cannot set both '%s' and its alias target '%s'", name, target)
				continue
			}
			name = target
		}
		if f, _ := s.Lookup(name); f != nil {
			text = f.Schema.normal(text)
		}
		given[name] = text
	}
	return given
}

// Set checks text and gives it to the option of the given name in the struct
// that dst points to. The error is [Faults], or one of [ErrUnknown].
func Set(dst any, name, text string) error {
	v := reflect.ValueOf(dst).Elem()
	f, member := TypeOf(v.Type()).Lookup(name)
	if f == nil {
		return ErrUnknown
	}
	return f.set(v, name, member, text)
}

// ErrUnknown is the error of [Set] where there is no such option.
var ErrUnknown = errors.New("unknown setting")

// set checks text and stores it in field f of v.
func (f *Field) set(v reflect.Value, name string, member int, text string) error {
	faults := Faults{}
	parts := f.Schema.checkText(name, text, faults)
	if len(faults) > 0 {
		return faults
	}
	place := v.FieldByIndex(f.index)
	if member < 0 {
		return f.Schema.store(place, text, parts)
	}
	if place.IsNil() {
		place.Set(reflect.MakeMap(place.Type()))
	}
	value := reflect.New(place.Type().Elem()).Elem()
	if err := f.Schema.store(value, text, parts); err != nil {
		return err
	}
	place.SetMapIndex(reflect.ValueOf(member), value)
	return nil
}

// store parses text, which has been checked, into v. The parts are those of a property
// string, nil where it was not taken apart yet.
func (s *Schema) store(v reflect.Value, text string, p parts) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return s.store(v.Elem(), text, p)
	case reflect.Struct:
		if p != nil {
			return storeParts(v, p)
		}
		return s.storeKeys(v, text)
	case reflect.Slice:
		return s.storeList(v, text)
	case reflect.Bool:
		value, _ := ParseBool(text)
		v.SetBool(value)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(strings.TrimPrefix(text, "+"), 10, 64)
		if err != nil {
			return fmt.Errorf("value '%s' is out of range", text)
		}
		v.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 64)
		if err != nil {
			return fmt.Errorf("value '%s' is out of range", text)
		}
		v.SetUint(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("value '%s' is out of range", text)
		}
		v.SetFloat(n)
	case reflect.Interface:
		v.Set(reflect.ValueOf(text))
	default:
		v.SetString(text)
	}
	return nil
}

// storeKeys parses a property string into struct v.
func (s *Schema) storeKeys(v reflect.Value, text string) error {
	p, err := TypeOf(v.Type()).keys.split(text)
	if err != nil {
		return err
	}
	return storeParts(v, p)
}

// storeParts parses the parts of a property string into struct v.
func storeParts(v reflect.Value, p parts) error {
	t := TypeOf(v.Type())
	for _, part := range p {
		f, member := t.Lookup(part.name)
		if f == nil {
			return fmt.Errorf("unknown key '%s'", part.name)
		}
		if member >= 0 {
			return fmt.Errorf("key '%s' is a family", part.name)
		}
		if err := f.Schema.store(v.FieldByIndex(f.index), part.value, nil); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

func (s *Schema) storeList(v reflect.Value, text string) error {
	words := SplitList(text)
	item := s
	if s.Type == "array" {
		words, item = SplitArray(text), s.Items
		if text == "" {
			words = nil
		}
	}
	list := reflect.MakeSlice(v.Type(), len(words), len(words))
	for i, word := range words {
		if err := item.store(list.Index(i), word, nil); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}
