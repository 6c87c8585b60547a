package config

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// An Option says how a type of section has a property.
type Option struct {
	Optional bool
	Fixed    bool // cannot be changed later
}

// A SectionType is one type of section.
type SectionType struct {
	Name       string
	Properties map[string]*schema.Schema  // those it declares
	Options    map[string]Option          // those it has, of its own and of others
	Isolated   bool                       // its properties are its own: other types may have some of the same name
	Exposed    func(property string) bool // which of an isolated type others may have; nil is none
}

// Sections is a kind of section config, such as storage.cfg.
type Sections struct {
	Base     map[string]*schema.Schema // what sections of any type may have; "type" describes the type
	Types    []SectionType
	Isolated bool // all types are
	// CheckID says what is wrong with the name of a section; nil takes every name.
	CheckID func(name string) error
	// Complete looks at a section when it was read, and may change it.
	Complete func(*Section) error
	// KeepUnknown keeps sections of types that are not declared.
	KeepUnknown bool
}

// A Section is one section of a file.
type Section struct {
	Type, ID string
	Values   schema.Params // arrays are joined by [schema.Join]
	// Order has the names of the values as the file has them, where the type is not
	// declared: it is written again as it was.
	Order []string
}

// A SectionDoc is the content of a file made of sections.
type SectionDoc struct {
	Sections []*Section // as the file has them
	Digest   string     // SHA-1 of the file, in hex
}

// Find returns the section of the given name, nil where there is none.
func (d *SectionDoc) Find(name string) *Section {
	i := slices.IndexFunc(d.Sections, func(s *Section) bool { return s.ID == name })
	if i < 0 {
		return nil
	}
	return d.Sections[i]
}

// Remove removes the section of the given name.
func (d *SectionDoc) Remove(name string) {
	d.Sections = slices.DeleteFunc(d.Sections, func(s *Section) bool { return s.ID == name })
}

// typeOf returns the declaration of a type, nil where there is none.
func (c *Sections) typeOf(name string) *SectionType {
	i := slices.IndexFunc(c.Types, func(t SectionType) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Types[i]
}

// isolated tells whether any type has properties of its own.
func (c *Sections) isolated() bool {
	return c.Isolated || slices.ContainsFunc(c.Types, func(t SectionType) bool { return t.Isolated })
}

// Validate returns an error where a type has a property that another one keeps to itself.
func (c *Sections) Validate() error {
	for _, t := range c.Types {
		for _, name := range slices.Sorted(maps.Keys(t.Options)) {
			if t.Properties[name] != nil || c.Base[name] != nil {
				continue
			}
			if owner := c.ownerOf(name, t.Name); owner != nil && !owner.shows(name) && c.isIsolated(owner) {
				return fmt.Errorf("cannot use property '%s' from isolated plugin '%s'", name, owner.Name)
			}
		}
	}
	return nil
}

func (c *Sections) isIsolated(t *SectionType) bool { return c.Isolated || t.Isolated }

func (t *SectionType) shows(property string) bool { return t.Exposed != nil && t.Exposed(property) }

// ownerOf returns the type, other than the one named, that declares a property. One
// that lets others have it comes first.
func (c *Sections) ownerOf(property, not string) (owner *SectionType) {
	for i := range c.Types {
		t := &c.Types[i]
		if t.Name == not || t.Properties[property] == nil {
			continue
		}
		if !c.isIsolated(t) || t.shows(property) {
			return t
		}
		owner = t
	}
	return owner
}

// property returns what a property of a type may be, nil where there is no such
// property at all.
func (c *Sections) property(t *SectionType, name string) *schema.Schema {
	if own := t.Properties[name]; own != nil {
		return own
	}
	if base := c.Base[name]; base != nil {
		return base
	}
	if _, has := t.Options[name]; !has && c.isIsolated(t) {
		return nil
	}
	if owner := c.ownerOf(name, t.Name); owner != nil {
		return owner.Properties[name]
	}
	return nil
}

// has tells whether sections of the type have a property. An isolated type has all
// that it declares.
func (c *Sections) has(t *SectionType, name string) bool {
	if _, ok := t.Options[name]; ok {
		return true
	}
	return c.isIsolated(t) && t.Properties[name] != nil
}

// required lists the properties that a section of the type must have.
func (c *Sections) required(t *SectionType) (names []string) {
	for name, o := range t.Options {
		if !o.Optional {
			names = append(names, name)
		}
	}
	if c.isIsolated(t) {
		for name, p := range t.Properties {
			if _, said := t.Options[name]; !said && !p.Optional {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// CheckValue checks the value of a property and returns it as it is kept. A boolean without a
// value is true.
func (c *Sections) CheckValue(kind, name, value string) (string, error) {
	t := c.typeOf(kind)
	if t == nil {
		return "", fmt.Errorf("unknown section type '%s'", kind)
	}
	p := c.property(t, name)
	if p == nil {
		return "", errors.New("unknown property type")
	}
	if !c.has(t, name) {
		return "", fmt.Errorf("unexpected property '%s'", name)
	}
	if p.Type == "array" && p.Items != nil {
		p = p.Items
	}
	switch {
	case value == "" && p.Type == "boolean":
		return "1", nil
	case value == "":
		return "", errors.New("got undefined value")
	}
	if faults := p.Check(value); faults != nil {
		return "", errors.New(strings.TrimSuffix(faults[slices.Sorted(maps.Keys(faults))[0]], "\n"))
	}
	return plain(p, value), nil
}

// plain returns the shortest text of a boolean or a number.
func plain(p *schema.Schema, value string) string {
	switch p.Type {
	case "boolean":
		if on, ok := schema.ParseBool(value); ok {
			return schema.FormatBool(on)
		}
	case "integer", "number":
		if n, err := strconv.ParseFloat(value, 64); err == nil && n < 1<<53 && n > -1<<53 {
			return strconv.FormatFloat(n, 'f', -1, 64)
		}
	}
	return value
}

// Parse reads a file, which messages call by the given name. What is wrong is left out and told to
// warn, which may be nil.
func (c *Sections) Parse(name string, text []byte, warn func(string)) *SectionDoc {
	sum := sha1.Sum(text)
	r := sectionReader{Sections: c, name: name, warn: warn, doc: &SectionDoc{Digest: hex.EncodeToString(sum[:])}}
	// A NUL is what keeps the values of an array apart.
	for rest := strings.ReplaceAll(string(text), "\x00", ""); rest != ""; {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		r.number++
		if !strings.HasPrefix(strings.TrimLeft(line, blanks), "#") {
			r.line(strings.TrimSuffix(line, "\r"))
		}
	}
	r.end()
	return r.doc
}

// sectionReader is the state between two lines.
type sectionReader struct {
	*Sections
	name   string
	warn   func(string)
	number int // of the line
	last   int // the line that the section was read up to
	doc    *SectionDoc

	in    *Section // nil between sections
	skip  bool     // the section is left out
	known *SectionType
}

func (r *sectionReader) fault(line int, format string, args ...any) {
	if r.warn != nil {
		r.warn(fmt.Sprintf("file %s line %d", r.name, line) + readable(strings.TrimSuffix(fmt.Sprintf(format, args...), "\n")))
	}
}

// mostShown is how much of a line that cannot be read is shown.
const mostShown = 500

// readable is a text from a damaged file as a terminal can show it.
func readable(text string) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case b.Len() >= mostShown:
			return b.String() + "..."
		case c == '\t' || unicode.IsPrint(c) && c != utf8.RuneError:
			b.WriteRune(c)
		default:
			b.WriteByte('?')
		}
	}
	return b.String()
}

func (r *sectionReader) line(line string) {
	switch {
	case line == "":
		r.end()
	case r.in == nil:
		r.header(line)
	case !r.skip:
		r.last = r.number
		r.pair(line)
	}
}

func (r *sectionReader) header(line string) {
	kind, name, ok := cutHeader(line)
	if !ok {
		r.fault(r.number, " - ignore config line: %s", line)
		return
	}
	r.in, r.known, r.skip, r.last = &Section{Type: kind, ID: name, Values: schema.Params{}}, r.typeOf(kind), false, r.number
	var err error
	if r.CheckID != nil {
		err = r.CheckID(name)
	}
	if err == nil && r.known == nil && !r.KeepUnknown {
		err = fmt.Errorf("unsupported type '%s'", kind)
	}
	if err != nil {
		r.fault(r.number, " (skip section '%s'): %s", name, err)
		r.skip = true
	}
}

// cutHeader reads a line such as "dir: local".
func cutHeader(line string) (kind, name string, ok bool) {
	line = strings.TrimRight(line, blanks)
	at := strings.LastIndexAny(line, ":"+blanks)
	if at < 0 {
		return "", "", false
	}
	name = line[at+1:]
	kind, ok = strings.CutSuffix(strings.TrimRight(line[:at+1], blanks), ":")
	if line[at] == ':' { // a name may have a colon in it; what is before the first one is the type
		kind, name, ok = strings.Cut(line, ":")
	}
	return kind, name, ok && kind != "" && name != "" && !strings.ContainsAny(kind, blanks) && !strings.ContainsAny(name, blanks)
}

func (r *sectionReader) pair(line string) {
	text := strings.Trim(line, blanks)
	if !strings.ContainsRune(blanks, rune(line[0])) || text == "" {
		r.fault(r.number, " (section '%s') - ignore config line: %s", r.in.ID, line)
		return
	}
	key, value := text, ""
	if at := strings.IndexAny(text, blanks); at >= 0 {
		key, value = text[:at], strings.TrimLeft(text[at:], blanks)
	}
	if err := r.set(key, value); err != nil {
		r.fault(r.number, " (section '%s') - unable to parse value of '%s': %s", r.in.ID, key, err)
	}
}

// set gives the section a value. A second one makes an array, where there may be one.
func (r *sectionReader) set(key, value string) error {
	old, twice := r.in.Values[key]
	if r.known == nil {
		if twice {
			value = schema.Join([]string{old, value})
		} else {
			r.in.Order = append(r.in.Order, key)
		}
		r.in.Values[key] = value
		return nil
	}
	p := r.property(r.known, key)
	array := p != nil && p.Type == "array"
	if twice && !array {
		return errors.New("duplicate attribute")
	}
	value, err := r.CheckValue(r.in.Type, key, value)
	if err != nil {
		return err
	}
	if twice {
		value = schema.Join([]string{old, value})
	}
	r.in.Values[key] = value
	return nil
}

// end takes a section that was read into the document. Of two with one name the last one
// counts.
func (r *sectionReader) end() {
	in := r.in
	if r.in = nil; in == nil || r.skip {
		return
	}
	if err := r.complete(in); err != nil {
		r.fault(r.last, " (skip section '%s'): %s", in.ID, err)
		return
	}
	r.doc.Remove(in.ID)
	r.doc.Sections = append(r.doc.Sections, in)
}

func (r *sectionReader) complete(s *Section) error {
	if r.known == nil {
		return nil
	}
	if err := r.missing(r.known, s); err != nil {
		return err
	}
	if r.Complete != nil {
		return r.Complete(s)
	}
	return nil
}

// Missing returns an error where a section of the given type lacks what it must have.
func (c *Sections) Missing(kind string, values schema.Params) error {
	t := c.typeOf(kind)
	if t == nil {
		return fmt.Errorf("unknown section type '%s'", kind)
	}
	return c.missing(t, &Section{Values: values})
}

// missing returns an error where a section lacks what it must have.
func (c *Sections) missing(t *SectionType, s *Section) error {
	for _, name := range c.required(t) {
		if _, ok := s.Values[name]; !ok {
			return fmt.Errorf("missing value for required option '%s'", name)
		}
	}
	return nil
}

// Print returns the text of a document: of each section the comment first, then whether it is
// disabled, what it must have, and what it may have.
func (c *Sections) Print(d *SectionDoc) ([]byte, error) {
	var b strings.Builder
	for _, s := range d.Sections {
		t := c.typeOf(s.Type)
		if t == nil && !c.KeepUnknown {
			return nil, fmt.Errorf("unknown section type '%s'", s.Type)
		}
		b.WriteString(s.Type + ": " + s.ID + "\n")
		for _, name := range c.order(t, s) {
			if name == "disable" {
				if s.Values[name] != "0" {
					b.WriteString("\tdisable\n")
				}
				continue
			}
			for _, value := range schema.SplitArray(s.Values[name]) {
				b.WriteString(strings.TrimRight("\t"+name+" "+value, " ") + "\n")
			}
		}
		b.WriteString("\n")
		if t == nil {
			continue
		}
		if err := c.missing(t, s); err != nil {
			return nil, fmt.Errorf("section '%s' - %w", s.ID, err)
		}
	}
	return []byte(b.String()), nil
}

// order returns the properties of a section as they are written.
func (c *Sections) order(t *SectionType, s *Section) []string {
	if t == nil && len(s.Order) == len(s.Values) {
		return s.Order
	}
	names := slices.Sorted(maps.Keys(s.Values))
	var required []string
	if t != nil {
		required = c.required(t)
	}
	rank := func(name string) int {
		switch {
		case name == "comment":
			return 0
		case name == "disable":
			return 1
		case slices.Contains(required, name):
			return 2
		}
		return 3
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

// Values returns the values of a section as JSON has them: numbers as numbers, booleans
// as 1 and 0. Those of a type that is not declared are text.
func (c *Sections) Values(kind string, p schema.Params) map[string]any {
	t := c.typeOf(kind)
	values := make(map[string]any, len(p))
	for name, text := range p {
		values[name] = text
		if t == nil {
			continue
		}
		property := c.property(t, name)
		if property == nil {
			continue
		}
		switch property.Type {
		case "boolean":
			on, _ := schema.ParseBool(text)
			values[name] = int64(0)
			if on {
				values[name] = int64(1)
			}
		case "integer":
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				values[name] = n
			}
		case "number":
			if n, err := strconv.ParseFloat(text, 64); err == nil {
				values[name] = n
			}
		case "array":
			values[name] = schema.SplitArray(text)
		}
	}
	return values
}
