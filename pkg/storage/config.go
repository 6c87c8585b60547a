package storage

import (
	"errors"
	"fmt"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/config"
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

	order []string // of the options of a type that is not known, as the file has them
}

// Has tells whether the storage is used for a content.
func (d Definition) Has(c Content) bool { return slices.Contains(d.Content, c) }

// On tells whether the storage is available on a node.
func (d Definition) On(node id.Node) bool { return len(d.Nodes) == 0 || slices.Contains(d.Nodes, node) }

// Config is what storage.cfg says.
type Config struct {
	Storages []Definition // in the order of the file
	Warnings []string     // what could not be read
	Digest   string       // SHA-1 of the file, in hex
	damaged  bool         // something could not be read that would be lost if it were written
}

// Lookup finds a storage.
func (c *Config) Lookup(storeid id.Storage) (Definition, bool) {
	i := slices.IndexFunc(c.Storages, func(d Definition) bool { return d.ID == storeid })
	if i < 0 {
		return Definition{}, false
	}
	return c.Storages[i], true
}

// Parse reads storage.cfg. What cannot be read is left out and told in the warnings,
// which call the file by the given name. Sections of a type that is not among types are
// kept: they can be looked at, but not used.
func Parse(types []Type, name, text string) *Config {
	c := &Config{}
	warn := func(text string) { c.Warnings = append(c.Warnings, text) }
	sections := Sections(types)
	sections.Complete = func(s *config.Section) error {
		t, _ := find(types, s.Type)
		return (&Definition{Options: s.Values}).settle(t, warn)
	}
	doc := sections.Parse(name, []byte(text), warn)
	c.Digest, c.damaged = doc.Digest, len(c.Warnings) > 0
	for _, s := range doc.Sections {
		d := Definition{ID: id.Storage(s.ID), Type: s.Type, Options: s.Values, order: s.Order}
		t, _ := find(types, s.Type)
		_ = d.settle(t, func(string) {}) // it was told already
		c.Storages = append(c.Storages, d)
	}
	return c
}

// Sections describes storage.cfg with storages of the given types.
func Sections(types []Type) *config.Sections {
	c := &config.Sections{
		CheckID: func(name string) error {
			if len(name) < 2 {
				return fmt.Errorf("storage ID '%s' cannot be shorter than 2 characters", name)
			}
			return schema.CheckFormat("pve-storage-id", name)
		},
		KeepUnknown: true,
	}
	for _, t := range types {
		st := config.SectionType{Name: t.Name, Properties: map[string]*schema.Schema{}, Options: map[string]config.Option{}}
		for _, f := range t.Config.Fields {
			st.Properties[f.Name] = f.Schema
			st.Options[f.Name] = config.Option{Optional: f.Schema.Optional, Fixed: f.Tag.Get("fixed") != ""}
		}
		c.Types = append(c.Types, st)
	}
	return c
}

// settle fills the fields that the options say. What is left out is told to warn.
func (d *Definition) settle(t Type, warn func(string)) error {
	d.Content = t.Default
	if text, ok := d.Options["content"]; ok {
		list, err := t.contents(text, warn)
		if err != nil {
			return err
		}
		d.Content = list
	}
	d.Nodes = nil
	for _, node := range schema.SplitList(d.Options["nodes"]) {
		d.Nodes = append(d.Nodes, id.Node(node))
	}
	d.Disabled = d.is("disable")
	d.Shared = d.is("shared") || t.Shared || t.Name == "" && slices.Contains(remote, d.Type)
	return nil
}

// contents reads the list of contents of a storage.
func (t Type) contents(text string, warn func(string)) ([]Content, error) {
	all, err := ParseContents(text)
	if err != nil || t.Name == "" {
		return all, err
	}
	var list []Content
	for _, c := range all {
		if !t.Has(c) {
			warn(fmt.Sprintf("storage does not support content type '%s'", c))
			continue
		}
		list = append(list, c)
	}
	switch {
	case len(list) > 1 && slices.Contains(list, None):
		return nil, errors.New("unable to combine 'none' with other content types")
	case len(list) == 0 && !t.Has(None):
		return nil, errors.New("storage does not support content type 'none'")
	}
	return list, nil
}

// remote are upstream's types that lie on another host and that we do not have: their
// sections can be looked at.
var remote = []string{"esxi", "pbs"}

// is tells whether a boolean option is on. Sections of unknown types have their text as
// it was written, where a name alone is on.
func (d *Definition) is(option string) bool {
	text, ok := d.Options[option]
	on, _ := schema.ParseBool(text)
	return on || ok && text == ""
}

func find(types []Type, name string) (Type, bool) {
	i := slices.IndexFunc(types, func(t Type) bool { return t.Name == name })
	if i < 0 {
		return Type{}, false
	}
	return types[i], true
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
	if d.settle(t, func(string) {}) == nil {
		c.Storages = slices.Insert(c.Storages, 0, d)
	}
}
