package schema

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// A Describer is a type used as a standard option: it completes the schema that
// its fields get. Its text form is that of its kind, or its
// encoding.TextUnmarshaler.
type Describer interface{ Describe(*Schema) }

// Given is the type of a field that [Decode] fills with the texts of all options
// that were given, booleans written as 1 and 0, aliases by their proper name.
type Given Params

// A Field is one option of a struct, or one family of options. Its tags are
//
//	pve      name, name[count] for a family; then ",default_key", ",optional" (as
//	         pointers, maps and slices are anyway), ",input" (see [Schema])
//	doc      what the option is, in a sentence
//	alias    other names of the option, separated by blanks
//	keyalias the key that takes the place of this one's name: keyalias:"model" on
//	         macaddr reads virtio=MAC as model=virtio,macaddr=MAC
//	format enum min max minlen maxlen pattern default requires hint typetext
//	         renderer width: as in [Schema]; the words of enum are separated by |
type Field struct {
	Name   string
	Count  int // size of the family, 0 for a single option
	Schema *Schema
	Tag    tags // for tags that mean something to others
	index  []int
}

// Names lists the option names of f.
func (f *Field) Names() []string {
	if f.Count == 0 {
		return []string{f.Name}
	}
	names := make([]string, f.Count)
	for i := range names {
		names[i] = f.Name + strconv.Itoa(i)
	}
	return names
}

// Pattern is the name of f as specifications write it: net[n] for a family.
func (f *Field) Pattern() string {
	if f.Count == 0 {
		return f.Name
	}
	return f.Name + "[n]"
}

// A Struct is what a Go struct type declares.
type Struct struct {
	Fields []Field
	Schema *Schema // an object of all fields

	single, family map[string]int // name → place in Fields
	aliases        map[string]string
	keys           *Schema // the struct as a property string
	given          []int   // the field of type Given, if there is one
}

var structs sync.Map // reflect.Type → *Struct: derived once in a process

// TypeOf returns what struct type t declares. It panics where a tag is
// malformed: that is a mistake in the program.
func TypeOf(t reflect.Type) *Struct {
	if known, ok := structs.Load(t); ok {
		return known.(*Struct)
	}
	made, _ := structs.LoadOrStore(t, derive(t))
	return made.(*Struct)
}

// Lookup finds the field that an option belongs to. member is its number in the
// family, or -1 where it is a single option.
func (s *Struct) Lookup(name string) (f *Field, member int) {
	if proper, ok := s.aliases[name]; ok {
		name = proper
	}
	if i, ok := s.single[name]; ok {
		return &s.Fields[i], -1
	}
	if family, n, ok := Member(name); ok {
		if i, ok := s.family[family]; ok && n < s.Fields[i].Count {
			return &s.Fields[i], n
		}
	}
	return nil, -1
}

// Keys returns the struct as the schema of a property string.
func (s *Struct) Keys() *Schema { return s.keys }

// derive reads the fields of t, embedded structs included.
func derive(t reflect.Type) *Struct {
	s := &Struct{single: map[string]int{}, family: map[string]int{}, aliases: map[string]string{}}
	keys := map[string]*Schema{}
	for _, sf := range reflect.VisibleFields(t) {
		if sf.Type == reflect.TypeFor[Given]() {
			s.given = sf.Index
			continue
		}
		tag := readTags(sf.Tag)
		if _, tagged := tag["pve"]; !tagged {
			continue
		}
		f := field(sf, tag)
		where := s.single
		if f.Count > 0 {
			where = s.family
		}
		where[f.Name] = len(s.Fields)
		s.Fields = append(s.Fields, f)
		keys[f.Pattern()] = f.Schema
	}
	s.addAliases(keys)
	s.Schema = &Schema{Type: "object", Properties: keys}
	s.keys = &Schema{Type: "string", Keys: keys}
	s.keys.complete()
	return s
}

func field(sf reflect.StructField, tag tags) Field {
	words := strings.Split(tag["pve"], ",")
	name, size, isFamily := strings.Cut(strings.TrimSuffix(words[0], "]"), "[")
	f := Field{Name: name, Schema: of(sf.Type, tag), Tag: tag, index: sf.Index}
	if isFamily {
		f.Count = number(size)
		f.Schema.Count = f.Count
	}
	for _, word := range words[1:] {
		switch word {
		case "default_key":
			f.Schema.DefaultKey = true
		case "optional":
			f.Schema.Optional = true
		case "required": // for a list, which is optional otherwise
			f.Schema.Optional = false
		case "input":
			f.Schema.Input = true
		default:
			panic(fmt.Sprintf("schema: field %s: unknown tag word %q", sf.Name, word))
		}
	}
	return f
}

// addAliases notes the other names that the fields of s have.
func (s *Struct) addAliases(keys map[string]*Schema) {
	for i := range s.Fields {
		f := &s.Fields[i]
		for _, alias := range strings.Fields(f.Tag.Get("alias")) {
			s.aliases[alias] = f.Name
			keys[alias] = &Schema{Alias: f.Name}
		}
		model, ok := f.Tag.Lookup("keyalias")
		if !ok {
			continue
		}
		for _, word := range keys[model].Enum {
			keys[word] = &Schema{Alias: f.Name, KeyAlias: model}
		}
	}
}

// Of returns the schema of T: an object where T is a struct.
func Of[T any]() *Schema { return OfType(reflect.TypeFor[T]()) }

// OfType returns the schema of t: an object where t is a struct.
func OfType(t reflect.Type) *Schema {
	if other, ok := reflect.Zero(t).Interface().(shaped); ok {
		return OfType(other.shape())
	}
	switch {
	case t.Kind() == reflect.Struct && !isText(t) && t.NumField() == 0:
		return &Schema{Type: "null"}
	case t.Kind() == reflect.Struct && !isText(t):
		return TypeOf(t).Schema
	case t.Kind() == reflect.Slice && !isText(t):
		return &Schema{Type: "array", Items: OfType(t.Elem())}
	case t.Kind() == reflect.Map:
		return &Schema{Type: "object", Additional: &Schema{Optional: true}}
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && !isText(t.Elem()):
		return OfType(t.Elem())
	}
	return of(t, nil)
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// of returns the schema of a field of type t with the given tags.
func of(t reflect.Type, tag tags) *Schema {
	s := kind(t, tag)
	s.Description = or(tag.Get("doc"), s.Description)
	s.Format = or(tag.Get("format"), s.Format)
	s.Pattern = or(tag.Get("pattern"), s.Pattern)
	s.Requires = or(tag.Get("requires"), s.Requires)
	s.Hint = or(tag.Get("hint"), s.Hint)
	s.TypeText = or(tag.Get("typetext"), s.TypeText)
	s.Renderer = or(tag.Get("renderer"), s.Renderer)
	if words, ok := tag.Lookup("enum"); ok {
		s.Enum = strings.Split(words, "|")
	}
	if text, ok := tag.Lookup("default"); ok {
		s.Default = s.defaultValue(text)
	}
	s.Minimum = bound(tag, "min", s.Minimum)
	s.Maximum = bound(tag, "max", s.Maximum)
	s.MinLength = length(tag, "minlen", s.MinLength)
	s.MaxLength = length(tag, "maxlen", s.MaxLength)
	if text, ok := tag.Lookup("width"); ok {
		s.PrintWidth = number(text)
	}
	return s
}

// kind returns the schema that follows from the type alone.
func kind(t reflect.Type, tag tags) *Schema {
	s := &Schema{Type: "string"}
	if !isText(t) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Map:
			s = kind(t.Elem(), tag)
			s.Optional = true
			return s
		case reflect.Slice:
			if _, list := tag.Lookup("format"); list {
				s.Optional = true // a list in a string
				return s
			}
			return &Schema{Type: "array", Optional: true, Items: OfType(t.Elem())}
		case reflect.Struct:
			s.Keys = maps.Clone(TypeOf(t).keys.Keys) // a Describer may leave some out
		}
	}
	switch t.Kind() {
	case reflect.Bool:
		s.Type = "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		s.Type = "integer"
	case reflect.Float64:
		s.Type = "number"
	case reflect.Interface:
		s.Type = "any"
	}
	if d, ok := reflect.New(t).Interface().(Describer); ok {
		d.Describe(s)
	}
	s.complete()
	return s
}

// defaultValue reads the default tag as the type of s has it.
func (s *Schema) defaultValue(text string) any {
	switch s.Type {
	case "boolean":
		value, _ := ParseBool(text)
		return value
	case "integer", "number":
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n
		}
	}
	return text
}

func or(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func bound(tag tags, name string, otherwise *float64) *float64 {
	text, ok := tag.Lookup(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("schema: bad tag: " + err.Error()) // a mistake in the program
	}
	return &n
}

func length(tag tags, name string, otherwise *int) *int {
	text, ok := tag.Lookup(name)
	if !ok {
		return otherwise
	}
	return new(number(text))
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("schema: bad tag: " + err.Error()) // a mistake in the program
	}
	return n
}
