// Package schema is the language in which virtsmith says what a value may be.
//
// It derives API schemas from Go types, checks text against them in the wording
// that users of Proxmox VE know, and moves values between Go types and their
// textual forms: command-line options, HTTP parameters, configuration lines and
// property strings (text such as "virtio=BC:24:11:00:00:01,bridge=vmbr0").
//
// A field of a struct is described by its type and its tags:
//
//	Net map[int]Net `pve:"net[32]" doc:"Network device."`
//
// The tag words are listed at [Field]. Pointers, maps and slices are optional,
// everything else is required. Brackets make a family of options, here net0 to
// net31. A struct inside a struct is a property string.
//
// It does not know any option, nor what one does: those are declared where they
// act.
package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Schema describes one value in the JSON-schema dialect of the Proxmox API.
type Schema struct {
	Type        string             // string, boolean, integer, number, object, array, null; empty means string
	Description string             // one sentence
	Verbose     string             // more than a sentence, where the sentence is not enough
	Format      string             // a named format, see [CheckFormat]
	Keys        map[string]*Schema // the keys of a property string
	Enum        []string           // the words allowed
	Pattern     string             // RE2, anchored at both ends
	TypeText    string             // how the value is shown in a usage text, derived where empty
	Hint        string             // a short word for the kind of value, upstream's format_description
	Default     any                // what holds where nothing is given
	Minimum     *float64
	Maximum     *float64
	MinLength   *int
	MaxLength   *int
	Optional    bool
	Requires    string // another property that must be there too
	Alias       string // the property this is another name of
	KeyAlias    string // the property that takes the name of this one as its value
	Input       bool   // taken from callers but never stored nor shown
	DefaultKey  bool   // the key of a property string that may go without its name
	Renderer    string // how a value is shown to people
	PrintWidth  int    // the widest that a text table makes this column, 0 for no limit

	Properties map[string]*Schema
	Additional *Schema // what other properties must be; nil forbids them
	Items      *Schema

	OneOf        []*Schema // one of these holds, chosen by TypeProperty
	AllOf        []*Schema // all of these hold
	TypeProperty string    // the property that chooses
	TypeSchema   *Schema   // what that property may be
	Instance     []string  // the values of TypeProperty that choose this schema

	Count int // the size of a family, 0 for a single option

	index *keyIndex // of Keys, made once they are all there; nil where it was not

	// Verify refuses text that is well formed but wrong. Its error is what
	// upstream says of the format, and may name the value.
	Verify func(text string) error
}

// flag is a boolean as JSON schemas write them: true, 1, "1", "yes".
type flag bool

func (f *flag) UnmarshalJSON(raw []byte) error {
	switch strings.Trim(string(raw), `"`) {
	case "1", "true", "yes", "on":
		*f = true
	}
	return nil
}

// words are the words of an enumeration, some of which JSON may write as numbers.
type words []string

func (w *words) UnmarshalJSON(raw []byte) error {
	var values []any
	if err := json.Unmarshal(raw, &values); err != nil {
		return err
	}
	*w = make(words, len(values))
	for i, v := range values {
		(*w)[i] = scalar(v)
	}
	return nil
}

// wire is Schema as it is written in JSON.
type wire struct {
	Type        string             `json:"type,omitempty"`
	Description string             `json:"description,omitempty"`
	Verbose     string             `json:"verbose_description,omitempty"`
	Format      json.RawMessage    `json:"format,omitempty"`
	FormatName  string             `json:"format_name,omitempty"`
	Expanded    map[string]*Schema `json:"format_properties,omitempty"`
	Enum        words              `json:"enum,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	TypeText    string             `json:"typetext,omitempty"`
	Hint        string             `json:"format_description,omitempty"`
	Default     any                `json:"default,omitempty"`
	Minimum     *float64           `json:"minimum,omitempty"`
	Maximum     *float64           `json:"maximum,omitempty"`
	MinLength   *int               `json:"minLength,omitempty"`
	MaxLength   *int               `json:"maxLength,omitempty"`
	Optional    flag               `json:"optional,omitempty"`
	Requires    string             `json:"requires,omitempty"`
	Alias       string             `json:"alias,omitempty"`
	KeyAlias    string             `json:"keyAlias,omitempty"`
	DefaultKey  flag               `json:"default_key,omitempty"`
	Renderer    string             `json:"renderer,omitempty"`
	PrintWidth  int                `json:"print_width,omitempty"`
	Properties  map[string]*Schema `json:"properties,omitempty"`
	Additional  json.RawMessage    `json:"additionalProperties,omitempty"`
	Items       *Schema            `json:"items,omitempty"`

	OneOf        []*Schema       `json:"oneOf,omitempty"`
	AllOf        []*Schema       `json:"allOf,omitempty"`
	TypeProperty string          `json:"type-property,omitempty"`
	TypeSchema   *Schema         `json:"type-property-schema,omitempty"`
	Instance     json.RawMessage `json:"instance-type,omitempty"`
	Count        int             `json:"count,omitempty"`
}

// MarshalJSON writes s in the shape of the API viewer's data.
func (s *Schema) MarshalJSON() ([]byte, error) {
	w := wire{
		Type: s.Type, Description: s.Description, Verbose: s.Verbose, Enum: s.Enum, Pattern: s.Pattern,
		TypeText: s.TypeText, Hint: s.Hint, Default: s.Default, Minimum: s.Minimum, Maximum: s.Maximum,
		MinLength: s.MinLength, MaxLength: s.MaxLength, Optional: flag(s.Optional), Requires: s.Requires,
		Alias: s.Alias, KeyAlias: s.KeyAlias, DefaultKey: flag(s.DefaultKey), Renderer: s.Renderer,
		PrintWidth: s.PrintWidth, Properties: s.Properties, Items: s.Items, OneOf: s.OneOf, AllOf: s.AllOf,
		TypeProperty: s.TypeProperty, TypeSchema: s.TypeSchema, Count: s.Count,
	}
	var err error
	switch {
	case s.Keys != nil:
		w.FormatName = s.Format
		w.Format, err = json.Marshal(s.Keys)
	case s.Format != "":
		w.Format, err = json.Marshal(s.Format)
	}
	if err != nil {
		return nil, err
	}
	if s.Type == "object" && s.Additional == nil {
		w.Additional = json.RawMessage("false")
	}
	if len(s.Instance) > 0 {
		if w.Instance, err = json.Marshal(s.Instance); err != nil {
			return nil, err
		}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads s in any of the shapes that upstream's data has.
func (s *Schema) UnmarshalJSON(raw []byte) error {
	var w wire
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	*s = Schema{
		Type: w.Type, Description: w.Description, Verbose: w.Verbose, Format: w.FormatName, Keys: w.Expanded,
		Enum: w.Enum, Pattern: w.Pattern, TypeText: w.TypeText, Hint: w.Hint, Default: w.Default,
		Minimum: w.Minimum, Maximum: w.Maximum, MinLength: w.MinLength, MaxLength: w.MaxLength,
		Optional: bool(w.Optional), Requires: w.Requires, Alias: w.Alias, KeyAlias: w.KeyAlias,
		DefaultKey: bool(w.DefaultKey), Renderer: w.Renderer, PrintWidth: w.PrintWidth, Properties: w.Properties,
		Items: w.Items, OneOf: w.OneOf, AllOf: w.AllOf, TypeProperty: w.TypeProperty, TypeSchema: w.TypeSchema,
		Count: w.Count,
	}
	if len(w.Format) > 0 && w.Format[0] == '{' {
		if err := json.Unmarshal(w.Format, &s.Keys); err != nil {
			return fmt.Errorf("format: %w", err)
		}
	} else if len(w.Format) > 0 {
		if err := json.Unmarshal(w.Format, &s.Format); err != nil {
			return fmt.Errorf("format: %w", err)
		}
	}
	switch additional := strings.Trim(string(w.Additional), `"`); {
	case strings.HasPrefix(additional, "{"):
		s.Additional = new(Schema)
		if err := json.Unmarshal(w.Additional, s.Additional); err != nil {
			return fmt.Errorf("additionalProperties: %w", err)
		}
	case additional == "", additional == "1", additional == "true":
		s.Additional = &Schema{Optional: true} // anything goes
	}
	return s.readInstance(w.Instance)
}

// readInstance reads instance-type, which is a word or a list of words.
func (s *Schema) readInstance(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	if raw[0] == '[' {
		return json.Unmarshal(raw, &s.Instance)
	}
	var word string
	err := json.Unmarshal(raw, &word)
	s.Instance = []string{word}
	return err
}

// A keyIndex is what every check of a property string asks for.
type keyIndex struct {
	required    []string
	defaultName string
}

// indexed returns the index of the keys of s.
func (s *Schema) indexed() keyIndex {
	if s.index != nil {
		return *s.index
	}
	var x keyIndex
	for name, key := range s.Keys {
		if !key.Optional && key.Alias == "" { // an alias is no key of its own
			x.required = append(x.required, name)
		}
		if key.DefaultKey {
			x.defaultName = name
		}
	}
	return x
}

// complete makes the index of s, whose keys do not change any more.
func (s *Schema) complete() {
	if s.Keys != nil {
		s.index = new(s.indexed())
	}
}

// DefaultName returns the key of property string s that may go without its name,
// or the empty string.
func (s *Schema) DefaultName() string { return s.indexed().defaultName }

// IsList tells whether s is a string that holds a list of words.
func (s *Schema) IsList() bool {
	return s.Keys == nil && strings.HasSuffix(s.Format, "-list")
}
