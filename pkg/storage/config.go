package storage

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Definition is a section of storage.cfg.
type Definition struct {
	ID       id.Storage
	Type     string
	Options  schema.Params // everything that is written there, type and name aside
	Content  []Content
	Nodes    []id.Node // where it is available; none means everywhere
	Disabled bool
	Shared   bool
}

// Has tells whether the storage is used for a content.
func (d Definition) Has(c Content) bool { return slices.Contains(d.Content, c) }

// On tells whether the storage is available on a node.
func (d Definition) On(node id.Node) bool { return len(d.Nodes) == 0 || slices.Contains(d.Nodes, node) }

// Config is what storage.cfg says.
type Config struct {
	Storages []Definition // in the order of the file
	Warnings []string     // what could not be read
}

// Lookup finds a storage.
func (c *Config) Lookup(storeid id.Storage) (Definition, bool) {
	i := slices.IndexFunc(c.Storages, func(d Definition) bool { return d.ID == storeid })
	if i < 0 {
		return Definition{}, false
	}
	return c.Storages[i], true
}

// header opens a section.
var header = regexp.MustCompile(`^(\S+):\s*(\S+)\s*$`)

// Parse reads storage.cfg. What cannot be read is left out and told in the warnings,
// which call the file by the given name. Sections of a type that is not among types are
// kept: they can be looked at, but not used.
func Parse(types []Type, name, text string) *Config {
	p := reader{types: types, file: name, c: &Config{}}
	for line := range strings.Lines(text) {
		p.line++
		p.take(strings.TrimRight(line, "\r\n"))
	}
	p.end()
	return p.c
}

// A reader goes through the lines of storage.cfg.
type reader struct {
	types []Type
	file  string
	line  int
	last  int // the last line of the section
	c     *Config
	in    *Definition // the section, nil between sections
	skip  bool        // the section is of no use
}

func (r *reader) warn(format string, args ...any) {
	r.c.Warnings = append(r.c.Warnings, fmt.Sprintf(format, args...))
}

func (r *reader) take(line string) {
	trimmed := strings.TrimSpace(line)
	if strings.HasPrefix(trimmed, "#") {
		return
	}
	switch {
	case trimmed == "":
		r.end()
	case r.skip:
	case r.in == nil:
		r.open(line)
	default:
		r.last = r.line
		key, value := trimmed, ""
		if i := strings.IndexAny(trimmed, " \t"); i > 0 {
			key, value = trimmed[:i], strings.TrimSpace(trimmed[i:])
		}
		r.set(key, value)
	}
}

func (r *reader) open(line string) {
	m := header.FindStringSubmatch(line)
	if m == nil {
		r.warn("file %s line %d - ignore config line: %s", r.file, r.line, line)
		return
	}
	if err := checkID(m[2]); err != nil {
		r.warn("file %s line %d (skip section '%s'): %s", r.file, r.line, m[2], err)
		r.skip = true
		return
	}
	r.last = r.line
	r.in = &Definition{ID: id.Storage(m[2]), Type: m[1], Options: schema.Params{}}
}

// idText is how storages are named.
var idText = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]$`)

func checkID(text string) error {
	if len(text) < 2 {
		return fmt.Errorf("storage ID '%s' cannot be shorter than 2 characters", text)
	}
	if !idText.MatchString(text) {
		return fmt.Errorf("storage ID '%s' contains illegal characters", text)
	}
	return nil
}

func (r *reader) set(key, value string) {
	fail := func(why string) {
		r.warn("file %s line %d (section '%s') - unable to parse value of '%s': %s", r.file, r.line, r.in.ID, key, why)
	}
	if _, ok := r.in.Options[key]; ok {
		fail("duplicate attribute")
		return
	}
	if t, ok := find(r.types, r.in.Type); ok {
		f, _ := t.Config.Lookup(key)
		if f == nil {
			fail("unknown property type")
			return
		}
		if f.Schema.Type == "boolean" && value == "" {
			value = "1"
		}
		p := schema.Params{key: value}
		if err := t.check(p); err != nil {
			fail(strings.TrimSuffix(err.Error(), "\n"))
			return
		}
		value = p[key]
	} else if value == "" {
		value = "1"
	}
	r.in.Options[key] = value
}

// end closes a section, if there is one.
func (r *reader) end() {
	d := r.in
	r.in, r.skip = nil, false
	if d == nil {
		return
	}
	if err := r.complete(d); err != nil {
		r.warn("file %s line %d (skip section '%s'): %s", r.file, r.last, d.ID, err)
		return
	}
	// Of two with one name the last one counts.
	r.c.Storages = slices.DeleteFunc(r.c.Storages, func(o Definition) bool { return o.ID == d.ID })
	r.c.Storages = append(r.c.Storages, *d)
}

// complete reads what all types have.
func (r *reader) complete(d *Definition) error {
	t, known := find(r.types, d.Type)
	if known {
		for _, f := range t.Config.Fields {
			if _, ok := d.Options[f.Name]; !ok && !f.Schema.Optional {
				return fmt.Errorf("missing value for required option '%s'", f.Name)
			}
		}
	}
	return d.settle(t)
}

// settle fills the fields that the options say.
func (d *Definition) settle(t Type) error {
	d.Content = t.Default
	if text, ok := d.Options["content"]; ok {
		list, err := ParseContents(text)
		if err != nil {
			return err
		}
		for _, c := range list {
			if t.Name != "" && c != None && !t.Has(c) {
				return fmt.Errorf("storage does not support content type '%s'", c)
			}
		}
		d.Content = list
	}
	for _, node := range schema.SplitList(d.Options["nodes"]) {
		d.Nodes = append(d.Nodes, id.Node(node))
	}
	d.Disabled, _ = schema.ParseBool(d.Options["disable"])
	d.Shared, _ = schema.ParseBool(d.Options["shared"])
	d.Shared = d.Shared || t.Shared
	return nil
}

func find(types []Type, name string) (Type, bool) {
	i := slices.IndexFunc(types, func(t Type) bool { return t.Name == name })
	if i < 0 {
		return Type{}, false
	}
	return types[i], true
}

// check tells what is wrong with the options in p, alone.
func (t Type) check(p schema.Params) error {
	for key, text := range p {
		f, _ := t.Config.Lookup(key)
		if f == nil {
			return errors.New("unknown property type")
		}
		if f.Schema.Type == "boolean" {
			on, ok := schema.ParseBool(text)
			if !ok {
				return fmt.Errorf("type check ('boolean') failed - got '%s'", text)
			}
			p[key] = schema.FormatBool(on)
			continue
		}
		if faults := f.Schema.Check(text); faults != nil {
			return errors.New(strings.TrimPrefix(faults.Error(), "_root: "))
		}
	}
	return nil
}

// withLocal adds the storage that every node has.
func (c *Config) withLocal(types []Type, path string) {
	if i := slices.IndexFunc(c.Storages, func(d Definition) bool { return d.ID == "local" }); i >= 0 {
		c.Storages[i].Nodes = nil
		return
	}
	t, ok := find(types, "dir")
	if !ok {
		return
	}
	d := Definition{ID: "local", Type: "dir", Options: schema.Params{
		"path": path, "content": "backup,images,iso,rootdir,snippets,vztmpl", "prune-backups": "keep-all=1",
	}}
	if d.settle(t) == nil {
		c.Storages = slices.Insert(c.Storages, 0, d)
	}
}
