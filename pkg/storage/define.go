package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Define adds a storage to storage.cfg, with the options given as text, secrets among
// them. It is made ready first, unless it is disabled or not for this node, and it is not
// added when that fails.
func (s *Service) Define(ctx context.Context, storeid id.Storage, kind string, options schema.Params) (Definition, error) {
	t, ok := s.kind(ctx, kind)
	if !ok {
		return Definition{}, fmt.Errorf("unknown section type '%s'", kind)
	}
	options = maps.Clone(options)
	if t.Complete != nil {
		t.Complete(storeid, s.o.Root, options)
	}
	d, secrets, err := s.settled(ctx, t, storeid, options)
	if err != nil {
		return d, err
	}
	err = s.change(ctx, func(ctx context.Context, c *Config) error {
		if _, ok := c.Lookup(storeid); ok {
			return fmt.Errorf("storage ID '%s' already defined", storeid)
		}
		return s.add(ctx, c, d, secrets)
	})
	if err != nil {
		return d, fmt.Errorf("create storage failed: %w", err)
	}
	return d, nil
}

// settled checks the options of a new section and tells the secrets from the others.
func (s *Service) settled(ctx context.Context, t Type, storeid id.Storage, options schema.Params) (Definition, map[string]string, error) {
	d := Definition{ID: storeid, Type: t.Name, Options: schema.Params{}}
	secrets := map[string]string{}
	sections := Sections(s.kinds())
	for _, name := range slices.Sorted(maps.Keys(options)) {
		switch {
		case t.secret(name):
			secrets[name] = options[name]
			continue
		case options[name] == "" && name == "content":
			d.Options[name] = string(None)
			continue
		}
		text, err := sections.CheckValue(t.Name, name, options[name])
		if err != nil {
			return d, nil, err
		}
		d.Options[name] = text
	}
	if err := sections.Missing(t.Name, d.Options); err != nil {
		return d, nil, err
	}
	return d, secrets, s.settle(ctx, &d, t)
}

// settle fills the fields of a definition and writes its lists as they are read.
func (s *Service) settle(ctx context.Context, d *Definition, t Type) error {
	for _, name := range []string{"content", "nodes"} {
		if text, ok := d.Options[name]; ok {
			d.Options[name] = strings.Join(schema.SplitList(text), ",")
		}
	}
	return d.settle(t, func(text string) { tell(ctx, text) })
}

// add has the storage make itself ready and takes it into the configuration.
func (s *Service) add(ctx context.Context, c *Config, d Definition, secrets map[string]string) error {
	fresh := d
	if _, said := d.Options["content"]; !said {
		fresh.Content = nil // as upstream, the folders of the usual contents are made when they are used
	}
	p, err := s.open(fresh)
	if err != nil {
		return err
	}
	if f, ok := p.(Finder); ok {
		for name, text := range f.Found(ctx) {
			if _, said := d.Options[name]; !said {
				d.Options[name] = text
			}
		}
	}
	undo := revert.New(ctx, func(err error) { tell(ctx, err.Error()) })
	defer undo.Fail()
	if a, ok := p.(Configurer); ok {
		undo.Add("forget storage "+string(d.ID), a.Removed)
		if err := a.Added(ctx, secrets); err != nil {
			return err
		}
	}
	if !d.Disabled && d.On(s.o.Node) {
		if err := p.Activate(ctx); err != nil {
			return err
		}
	}
	c.Storages = append(c.Storages, d)
	if err := s.save(ctx, c); err != nil {
		return err
	}
	undo.Success()
	return nil
}

// A Finder finds on the storage what the options of a new section are that were not given.
// It is an optional ability of a [Pool].
type Finder interface {
	// Found looks in bounded time. What is not there yet it cannot tell, which is no error.
	Found(ctx context.Context) map[string]string
}

// A Change says what to change of a storage.
type Change struct {
	Set    schema.Params // options to set, secrets among them
	Delete []string      // options to remove
	Digest string        // of the file as the caller has seen it; empty for any
}

// Redefine changes the options of a storage.
func (s *Service) Redefine(ctx context.Context, storeid id.Storage, change Change) (d Definition, err error) {
	err = s.change(ctx, func(ctx context.Context, c *Config) error {
		if change.Digest != "" && change.Digest != c.Digest {
			return errModified
		}
		i := slices.IndexFunc(c.Storages, func(d Definition) bool { return d.ID == storeid })
		if i < 0 {
			return fmt.Errorf("storage '%s' does not exist", storeid)
		}
		t, ok := find(s.kinds(), c.Storages[i].Type)
		if !ok {
			return fmt.Errorf("storage '%s' is of type '%s', which cannot be changed yet", storeid, c.Storages[i].Type)
		}
		d = Definition{ID: storeid, Type: t.Name, Options: maps.Clone(c.Storages[i].Options)}
		secrets, err := s.redefine(&d, t, change)
		if err != nil {
			return err
		}
		if err := s.settle(ctx, &d, t); err != nil {
			return err
		}
		p, err := s.open(d)
		if err != nil {
			return err
		}
		if a, ok := p.(Configurer); ok {
			if err := a.Changed(ctx, secrets); err != nil {
				return err
			}
		}
		c.Storages[i] = d
		return s.save(ctx, c)
	})
	if err != nil {
		return d, fmt.Errorf("update storage failed: %w", err)
	}
	return d, nil
}

var errModified = errors.New("detected modified configuration - file changed by other user? Try again.") //nolint:staticcheck // as upstream says it

// redefine changes the options of d and returns the secrets that change.
func (s *Service) redefine(d *Definition, t Type, change Change) (map[string]*string, error) {
	secrets := map[string]*string{}
	sections := Sections(s.kinds())
	for _, name := range slices.Sorted(maps.Keys(change.Set)) {
		text := change.Set[name]
		switch {
		case t.secret(name):
			secrets[name] = &text
			continue
		case t.fixed(name):
			return nil, fmt.Errorf("can't change value of fixed parameter '%s'", name)
		case text == "" && name == "content":
			d.Options[name] = string(None)
			continue
		case text == "" && name == "nodes":
			delete(d.Options, name)
			continue
		}
		text, err := sections.CheckValue(t.Name, name, text)
		if err != nil {
			return nil, err
		}
		d.Options[name] = text
	}
	for _, name := range change.Delete {
		f, ok := t.field(name)
		switch _, set := change.Set[name]; {
		case !ok:
			return nil, fmt.Errorf("no such option '%s'", name)
		case !f.Schema.Optional:
			return nil, fmt.Errorf("unable to delete required option '%s'", name)
		case t.fixed(name):
			return nil, fmt.Errorf("unable to delete fixed option '%s'", name)
		case set:
			return nil, fmt.Errorf("cannot set and delete property '%s' at the same time!", name)
		case t.secret(name):
			secrets[name] = nil
		}
		delete(d.Options, name)
	}
	return secrets, nil
}

// Undefine removes a storage from storage.cfg. What lies on it stays.
func (s *Service) Undefine(ctx context.Context, storeid id.Storage) error {
	err := s.change(ctx, func(ctx context.Context, c *Config) error {
		d, ok := c.Lookup(storeid)
		if !ok {
			return fmt.Errorf("storage '%s' does not exist", storeid)
		}
		for _, other := range c.Storages {
			if base, err := id.ParseVolume(other.Options["base"]); err == nil && base.Storage == storeid {
				return fmt.Errorf("can't remove storage - storage is used as base of another storage")
			}
		}
		c.Storages = slices.DeleteFunc(c.Storages, func(d Definition) bool { return d.ID == storeid })
		if err := s.save(ctx, c); err != nil {
			return err
		}
		// After it: a password that is gone too early cannot be had back.
		if p, err := s.open(d); err == nil {
			if a, ok := p.(Configurer); ok {
				return a.Removed(ctx)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete storage failed: %w", err)
	}
	return nil
}

// change runs fn with the configuration as it is, under the lock of its file.
func (s *Service) change(ctx context.Context, fn func(context.Context, *Config) error) error {
	if s.o.Save == nil {
		return errors.New("storage.cfg is read-only here")
	}
	locked := func(ctx context.Context) error {
		c, err := s.Config(ctx)
		if err != nil {
			return err
		}
		if c.damaged {
			// Upstream's own files have come to this: what is not understood would be gone.
			return fmt.Errorf("%s has lines that cannot be read, as told above: writing it would lose them; mend or remove them first", s.file())
		}
		mine := *c
		mine.Storages = slices.Clone(c.Storages)
		return fn(ctx, &mine)
	}
	if s.o.Lock == nil || plan.From(ctx) != nil {
		return locked(ctx)
	}
	return s.o.Lock(ctx, "file-storage_cfg", locked)
}

func (s *Service) file() string { return filepath.Join(s.o.Root, "etc/pve/storage.cfg") }

// save writes the configuration.
func (s *Service) save(ctx context.Context, c *Config) error {
	doc := &config.SectionDoc{}
	for _, d := range c.Storages {
		doc.Sections = append(doc.Sections, &config.Section{Type: d.Type, ID: string(d.ID), Values: d.Options, Order: d.order})
	}
	text, err := Sections(s.kinds()).Print(doc)
	if err != nil {
		return err
	}
	return s.o.Save(ctx, string(text))
}

// field returns what a type says of an option.
func (t Type) field(name string) (*schema.Field, bool) {
	i := slices.IndexFunc(t.Config.Fields, func(f schema.Field) bool { return f.Name == name })
	if i < 0 {
		return nil, false
	}
	return &t.Config.Fields[i], true
}

func (t Type) secret(name string) bool {
	f, ok := t.field(name)
	return ok && f.Tag.Get("secret") != ""
}

func (t Type) fixed(name string) bool {
	f, ok := t.field(name)
	return ok && f.Tag.Get("fixed") != ""
}
