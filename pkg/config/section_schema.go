package config

import (
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// SchemaOptions say what the schema of a section's parameters is for.
type SchemaOptions struct {
	Base   map[string]*schema.Schema // further parameters
	NoType bool                      // the type is known already
	Only   string                    // the one type it is about, where it is about one
}

// CreateSchema returns the schema of the parameters that make a section.
func (c *Sections) CreateSchema(o SchemaOptions) *schema.Schema {
	if c.isolated() {
		return c.union(o, c.createProperties)
	}
	props := maps.Clone(o.Base)
	if props == nil {
		props = map[string]*schema.Schema{}
	}
	for name, p := range c.all() {
		if p.Optional && c.requiredByAll(name) {
			p = withOptional(p, false)
		}
		props[name] = p
	}
	if !o.NoType {
		props["type"] = c.typeSchema()
	}
	return &schema.Schema{Type: "object", Properties: props}
}

// UpdateSchema returns the schema of the parameters that change a section.
func (c *Sections) UpdateSchema(o SchemaOptions) *schema.Schema {
	if c.isolated() {
		s := c.union(o, c.updateProperties)
		parts := s.AllOf
		if parts == nil {
			parts = []*schema.Schema{s}
		}
		return &schema.Schema{AllOf: slices.Insert(parts, 0, &schema.Schema{Properties: changeProperties()})}
	}
	props := changeProperties()
	maps.Copy(props, o.Base)
	for name, p := range c.all() {
		if !p.Optional && (o.Only == "" || c.uses(o.Only, name)) || c.changeable(name, o.Only) {
			props[name] = p
		}
	}
	return &schema.Schema{Type: "object", Properties: props}
}

// changeProperties are parameters of every change.
func changeProperties() map[string]*schema.Schema {
	return map[string]*schema.Schema{
		"delete": {
			Type: "string", Format: "pve-configid-list", MaxLength: new(4096), Optional: true,
			Description: "Settings to delete.",
		},
		"digest": {
			Type: "string", MaxLength: new(64), Optional: true,
			Description: "Refuse the change where the file has another SHA-1 digest.",
		},
	}
}

// typeSchema is the schema of the type of a section.
func (c *Sections) typeSchema() *schema.Schema {
	s := schema.Schema{}
	if base := c.Base["type"]; base != nil {
		s = *base
	}
	s.Type = "string"
	s.Enum = nil
	for _, t := range c.Types {
		s.Enum = append(s.Enum, t.Name)
	}
	slices.Sort(s.Enum)
	return &s
}

func withOptional(p *schema.Schema, optional bool) *schema.Schema {
	changed := *p
	changed.Optional = optional
	return &changed
}

// all returns the properties of all types. What a type declares is optional, as other
// types go without.
func (c *Sections) all() map[string]*schema.Schema {
	props := map[string]*schema.Schema{}
	for _, t := range c.Types {
		for name, p := range t.Properties {
			props[name] = withOptional(p, true)
		}
	}
	maps.Copy(props, c.Base)
	delete(props, "type")
	return props
}

func (c *Sections) requiredByAll(name string) bool {
	return !slices.ContainsFunc(c.Types, func(t SectionType) bool {
		o, has := t.Options[name]
		return !has || o.Optional
	})
}

func (c *Sections) uses(kind, name string) bool {
	t := c.typeOf(kind)
	return t != nil && c.has(t, name)
}

// changeable tells whether a property can be changed in sections of the one type, or of any where
// only is empty.
func (c *Sections) changeable(name, only string) bool {
	return slices.ContainsFunc(c.Types, func(t SectionType) bool {
		o, has := t.Options[name]
		return has && !o.Fixed && (only == "" || t.Name == only)
	})
}

// union returns the schema of parameters that each type has its own way.
func (c *Sections) union(o SchemaOptions, properties func(*SectionType) map[string]*schema.Schema) *schema.Schema {
	common := maps.Clone(o.Base)
	if common == nil {
		common = map[string]*schema.Schema{}
	}
	for name, p := range c.Base {
		if name != "type" && !p.Optional && !c.usedByAny(name) {
			common[name] = p
		}
	}
	kinds := c.choice(o, properties)
	if len(common) == 0 {
		return kinds
	}
	return &schema.Schema{AllOf: []*schema.Schema{{Properties: common}, kinds}}
}

func (c *Sections) usedByAny(name string) bool {
	return slices.ContainsFunc(c.Types, func(t SectionType) bool { _, has := t.Options[name]; return has })
}

// choice returns the schemas of the types, or that of the one that is meant.
func (c *Sections) choice(o SchemaOptions, properties func(*SectionType) map[string]*schema.Schema) *schema.Schema {
	if o.Only == "" && o.NoType && len(c.Types) == 1 {
		o.Only = c.Types[0].Name
	}
	if t := c.typeOf(o.Only); t != nil {
		return &schema.Schema{Properties: properties(t)}
	}
	s := &schema.Schema{TypeProperty: "type", TypeSchema: c.typeSchema()}
	for _, name := range s.TypeSchema.Enum {
		s.OneOf = append(s.OneOf, &schema.Schema{Instance: []string{name}, Properties: properties(c.typeOf(name))})
	}
	return s
}

// createProperties returns the properties of a type in a new section.
func (c *Sections) createProperties(t *SectionType) map[string]*schema.Schema {
	props := map[string]*schema.Schema{}
	for name, o := range t.Options {
		if p := c.property(t, name); p != nil {
			props[name] = withOptional(p, p.Optional || o.Optional)
		}
	}
	if c.isIsolated(t) {
		for name, p := range t.Properties {
			if props[name] == nil {
				props[name] = p
			}
		}
	}
	return props
}

// updateProperties returns the properties of a type that can be changed.
func (c *Sections) updateProperties(t *SectionType) map[string]*schema.Schema {
	props := c.createProperties(t)
	for name, p := range props {
		if t.Options[name].Fixed {
			delete(props, name)
			continue
		}
		props[name] = withOptional(p, true)
	}
	return props
}
