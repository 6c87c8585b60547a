package outside

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// API is the version of the protocol.
const API = 1

// A Description is what a program says of its type.
type Description struct {
	API        int                  `json:"api"`
	Name       string               `json:"name"`
	Contents   []storage.Content    `json:"contents"`
	Default    []storage.Content    `json:"default"`
	Formats    []string             `json:"formats"`
	Shared     bool                 `json:"shared"`
	Existing   bool                 `json:"existing"`
	Properties map[string]*Property `json:"properties"`
	Abilities  []Ability            `json:"abilities"`
	// Features are what volumes can do, and in which state: current, snap, base.
	Features map[storage.Feature][]string `json:"features"`
	Timeouts map[string]int               `json:"timeouts"` // seconds, by call
}

// A Property is an option of storage.cfg.
type Property struct {
	Type     string   `json:"type"` // string, integer, number, boolean
	Doc      string   `json:"doc"`
	Required bool     `json:"required"`
	Fixed    bool     `json:"fixed"`
	Secret   bool     `json:"secret"`
	Default  any      `json:"default"`
	Enum     []string `json:"enum"`
	Format   string   `json:"format"`
	Minimum  *float64 `json:"minimum"`
	Maximum  *float64 `json:"maximum"`
}

// An Ability is a group of calls that a program understands besides those that all do.
type Ability string

// The abilities.
const (
	Resize    Ability = "resize"
	Snapshot  Ability = "snapshot"
	Clone     Ability = "clone"
	Rename    Ability = "rename"
	Activate  Ability = "activate"  // volumes, one by one
	Configure Ability = "configure" // it wants to know of changes of its section
)

// property names are those of storage.cfg. Some are the same for all types.
var (
	propertyName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	reserved     = []string{"content", "nodes", "disable", "bwlimit", "type", "storage", "delete", "digest"}
)

// check says what is wrong with a description.
func (d *Description) check(name string) error {
	switch {
	case d.API != API:
		return fmt.Errorf("it speaks version %d of the protocol, not %d", d.API, API)
	case d.Name != name:
		return fmt.Errorf("it calls itself '%s'", d.Name)
	case len(d.Contents) == 0:
		return errors.New("it has no contents")
	}
	for _, c := range slices.Concat(d.Contents, d.Default) {
		if c != storage.None && !slices.Contains(storage.AllContents(), c) {
			return fmt.Errorf("content '%s' is unknown", c)
		}
	}
	for _, c := range d.Default {
		if !slices.Contains(d.Contents, c) {
			return fmt.Errorf("content '%s' is the default, but is not among those it can have", c)
		}
	}
	for _, format := range d.Formats {
		if !slices.Contains([]string{"raw", "qcow2", "vmdk", "subvol"}, format) {
			return fmt.Errorf("format '%s' is unknown", format)
		}
	}
	for _, a := range d.Abilities {
		if !slices.Contains([]Ability{Resize, Snapshot, Clone, Rename, Activate, Configure}, a) {
			return fmt.Errorf("ability '%s' is unknown", a)
		}
	}
	for option, p := range d.Properties {
		if err := p.check(option); err != nil {
			return fmt.Errorf("property '%s': %w", option, err)
		}
	}
	return nil
}

func (p *Property) check(name string) error {
	switch {
	case p == nil:
		return errors.New("it says nothing")
	case !propertyName.MatchString(name):
		return errors.New("the name is none for an option")
	case slices.Contains(reserved, name):
		return errors.New("the name has a meaning for all types")
	case !slices.Contains([]string{"string", "integer", "number", "boolean"}, p.Type):
		return fmt.Errorf("type '%s' is unknown", p.Type)
	case len(p.Enum) > 0 && p.Type != "string":
		return errors.New("only strings can be one of some words")
	case p.Secret && (p.Required || p.Fixed):
		return errors.New("a secret can be neither required nor fixed")
	}
	for _, word := range p.Enum {
		if word == "" || strings.ContainsAny(word, "|\n") {
			return fmt.Errorf("word %q cannot be written", word)
		}
	}
	return nil
}

// config declares the options as a struct would, which is made here: whatever works with
// the options of other types works with these.
func (d *Description) config() *schema.Struct {
	var fields []reflect.StructField
	for _, t := range []reflect.Type{reflect.TypeFor[storage.Common](), reflect.TypeFor[storage.Limited]()} {
		fields = append(fields, reflect.VisibleFields(t)...)
	}
	names := make([]string, 0, len(d.Properties))
	for name := range d.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		p := d.Properties[name]
		kind := map[string]reflect.Type{
			"string": reflect.TypeFor[string](), "integer": reflect.TypeFor[int](), "number": reflect.TypeFor[float64](), "boolean": reflect.TypeFor[bool](),
		}[p.Type]
		if !p.Required {
			kind = reflect.PointerTo(kind)
		}
		fields = append(fields, reflect.StructField{Name: "Option" + strconv.Itoa(i), Type: kind, Tag: p.tag(name)})
	}
	for i := range fields {
		fields[i].Index, fields[i].Offset = nil, 0
	}
	return schema.TypeOf(reflect.StructOf(fields))
}

// tag describes a property as package schema reads it.
func (p *Property) tag(name string) reflect.StructTag {
	var words []string
	put := func(key, value string) {
		if value != "" {
			words = append(words, key+":"+strconv.Quote(value))
		}
	}
	put("pve", name)
	put("doc", p.Doc)
	put("format", p.Format)
	put("enum", strings.Join(p.Enum, "|"))
	if p.Fixed {
		put("fixed", "1")
	}
	if p.Secret {
		put("secret", "1")
	}
	if p.Default != nil {
		put("default", fmt.Sprint(p.Default))
	}
	if p.Minimum != nil {
		put("min", strconv.FormatFloat(*p.Minimum, 'g', -1, 64))
	}
	if p.Maximum != nil {
		put("max", strconv.FormatFloat(*p.Maximum, 'g', -1, 64))
	}
	return reflect.StructTag(strings.Join(words, " "))
}

// typeOf makes a type of a program.
func (p *program) typeOf(d *Description) storage.Type {
	t := storage.Type{
		Name: d.Name, Contents: d.Contents, Default: d.Default, Formats: d.Formats, Shared: d.Shared, Existing: d.Existing,
	}
	if len(t.Default) == 0 {
		t.Default = d.Contents[:1]
	}
	return storage.NewOpenType(t, d.config(), func(options schema.Params, env storage.Env) (storage.Pool, error) {
		own := *p
		own.runner = env.Runner
		return able(&pool{Env: env, program: &own, described: d, options: options}), nil
	})
}

// mostCache bounds the size of a description.
const mostCache = 1 << 20

// A cached description holds for a program that has not changed.
type cached struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Said     Description
}

// describe asks a program for its description, and keeps it in a folder until the
// program is another.
func (p *program) describe(ctx context.Context, folder string) (*Description, error) {
	name := filepath.Join(folder, p.name+".json")
	is := cached{Path: p.path, Size: p.stat.Size(), Modified: p.stat.ModTime().UTC()}
	if text, err := file.ReadOptional(name, mostCache); err == nil && len(text) > 0 {
		var c cached
		if json.Unmarshal(text, &c) == nil && c.Path == is.Path && c.Size == is.Size && c.Modified.Equal(is.Modified) && c.Said.check(p.name) == nil {
			return &c.Said, nil
		}
	}
	out, err := p.call(ctx, request{API: API, Call: "describe"}, limit("describe"), true)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields() // a word that is misspelled would be passed over
	if err := d.Decode(&is.Said); err != nil {
		return nil, fmt.Errorf("%s: its description cannot be read: %w", p.path, err)
	}
	if err := is.Said.check(p.name); err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	if text, err := json.Marshal(is); err == nil && os.MkdirAll(folder, 0o755) == nil {
		_ = file.Write(name, text, 0o644) // next time it is asked again, then
	}
	return &is.Said, nil
}
