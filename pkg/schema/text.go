package schema

import (
	"maps"
	"reflect"
)

// Texts are values in textual form that are known to fit struct T: as a result they
// are declared and typed as T is, but property strings stay as they were written.
type Texts[T any] struct {
	Params Params
	More   map[string]any // values that have no text form, as they are on the wire
}

// shaped is a result that is declared as another type.
type shaped interface {
	shape() reflect.Type
	plain() any
}

func (Texts[T]) shape() reflect.Type { return reflect.TypeFor[T]() }

func (t Texts[T]) plain() any {
	s := TypeOf(reflect.TypeFor[T]())
	m := make(map[string]any, len(t.Params)+len(t.More))
	maps.Copy(m, t.More)
	for name, text := range t.Params {
		m[name] = text
		f, _ := s.Lookup(name)
		if f == nil {
			continue
		}
		if kind := f.Schema.Type; kind == "integer" || kind == "boolean" {
			v := reflect.New(reflect.TypeFor[int64]()).Elem()
			if f.Schema.store(v, f.Schema.normal(text), nil) == nil {
				m[name] = v.Int()
			}
		}
	}
	return m
}

// Verify tells in what the texts do not fit T, as [Decode] does.
func (t Texts[T]) Verify() error { return Decode(t.Params, new(T)) }
