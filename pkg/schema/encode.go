package schema

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Encode is the inverse of [Decode]: it returns the text of what is set in the
// struct src. Pointers, maps and slices that are nil are not set.
func Encode(src any) Params {
	v := indirect(reflect.ValueOf(src))
	s, p := TypeOf(v.Type()), Params{}
	s.each(v, func(name string, f *Field, value reflect.Value) { p[name] = f.Schema.print(value) })
	return p
}

// Print returns the text form of value: of a struct, its property string.
func Print(value any) string {
	v := indirect(reflect.ValueOf(value))
	if !v.IsValid() {
		return ""
	}
	if v.Kind() == reflect.Struct && !isText(v.Type()) {
		return TypeOf(v.Type()).keys.print(v)
	}
	return OfType(v.Type()).print(v)
}

// Parse reads text, a property string, into the struct that dst points to. The
// error is that of [Schema.ParseString].
func Parse(text string, dst any) error {
	v := reflect.ValueOf(dst).Elem()
	keys := TypeOf(v.Type()).keys
	if _, err := keys.ParseString(text); err != nil {
		return err
	}
	return keys.storeKeys(v, text)
}

// Value returns src as the plain data that JSON has: maps, slices, strings,
// booleans as 1 and 0, and numbers. Structs inside structs are property strings
// where they are options and objects where they are elements of a slice.
func Value(src any) any { return plain(reflect.ValueOf(src)) }

func indirect(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

// each calls f for every option that is set in v.
func (s *Struct) each(v reflect.Value, do func(name string, f *Field, value reflect.Value)) {
	for i := range s.Fields {
		f := &s.Fields[i]
		place, err := v.FieldByIndexErr(f.index)
		switch {
		case err != nil:
		case f.Count > 0:
			for it := place.MapRange(); it.Next(); {
				do(f.Name+strconv.FormatInt(it.Key().Int(), 10), f, it.Value())
			}
		case isSet(place) && (!f.Schema.Optional || place.Kind() == reflect.Pointer || !place.IsZero()):
			do(f.Name, f, place)
		}
	}
}

func isSet(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return !v.IsNil()
	}
	return true
}

// print returns the text form of v.
func (s *Schema) print(v reflect.Value) string {
	v = indirect(v)
	if !v.IsValid() {
		return ""
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return fmt.Sprint(v.Interface())
		}
		return string(text)
	}
	switch v.Kind() {
	case reflect.Bool:
		return FormatBool(v.Bool())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case reflect.Struct:
		t, p := TypeOf(v.Type()), Params{}
		t.each(v, func(name string, f *Field, value reflect.Value) { p[name] = f.Schema.print(value) })
		return t.keys.PrintString(p)
	case reflect.Slice:
		words := make([]string, v.Len())
		for i := range words {
			words[i] = s.print(v.Index(i))
		}
		if s.Type == "array" {
			return Join(words)
		}
		if s.IsList() && strings.HasPrefix(s.Format, "pve-tag") {
			return strings.Join(words, ";")
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(v.Interface())
}

func plain(v reflect.Value) any {
	v = indirect(v)
	if !v.IsValid() {
		return nil
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok && v.Kind() != reflect.Int {
		text, _ := m.MarshalText()
		return string(text)
	}
	if s, ok := v.Interface().(shaped); ok {
		return s.plain()
	}
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return int64(1)
		}
		return int64(0)
	case reflect.Int, reflect.Int64:
		return v.Int()
	case reflect.Uint64:
		return v.Uint()
	case reflect.Float64:
		return v.Float()
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	case reflect.Map:
		m := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			m[fmt.Sprint(it.Key().Interface())] = plain(it.Value())
		}
		return m
	case reflect.Struct:
		return object(v)
	case reflect.String:
		return v.String()
	}
	return fmt.Sprint(v.Interface())
}

// object returns struct v as a map, its property strings as text.
func object(v reflect.Value) any {
	t := TypeOf(v.Type())
	if len(t.Fields) == 0 && v.NumField() == 0 {
		return nil
	}
	m := make(map[string]any, len(t.Fields))
	t.each(v, func(name string, f *Field, value reflect.Value) {
		if f.Schema.Keys != nil {
			m[name] = f.Schema.print(value)
		} else {
			m[name] = plain(value)
		}
	})
	return m
}
