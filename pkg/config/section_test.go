package config_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// declared is how the suites say what a section config is.
type declared struct {
	Isolated bool                      `json:"property_isolation"`
	Base     map[string]*schema.Schema `json:"property_list"`
	Extra    map[string]*schema.Schema `json:"base_schema"`
	Plugins  []struct {
		Type       string
		Properties map[string]*schema.Schema
		Options    map[string]struct{ Optional, Fixed int }
		Data       struct {
			Isolate int             `json:"isolate-properties"`
			Expose  json.RawMessage `json:"expose-properties"`
		}
	}
}

func (d declared) sections(t *testing.T, isolated bool) *config.Sections {
	t.Helper()
	c := &config.Sections{Base: d.Base, Isolated: d.Isolated || isolated}
	for _, p := range d.Plugins {
		kind := config.SectionType{Name: p.Type, Properties: p.Properties, Isolated: p.Data.Isolate != 0, Options: map[string]config.Option{}}
		for name, o := range p.Options {
			kind.Options[name] = config.Option{Optional: o.Optional != 0, Fixed: o.Fixed != 0}
		}
		some := map[string]int{}
		if len(p.Data.Expose) > 0 && p.Data.Expose[0] == '{' {
			if err := json.Unmarshal(p.Data.Expose, &some); err != nil {
				t.Fatal(err)
			}
			kind.Exposed = func(name string) bool { return some[name] != 0 }
		} else if string(p.Data.Expose) == "1" {
			kind.Exposed = func(string) bool { return true }
		}
		c.Types = append(c.Types, kind)
	}
	return c
}

// compareSchemas compares what is expected, in JSON, with s. Prose is no part of it.
func compareSchemas(t *testing.T, want json.RawMessage, s *schema.Schema) {
	t.Helper()
	made, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(normal(t, want), normal(t, made)); diff != "" {
		t.Error(diff)
	}
}

// normal returns a schema in JSON as we write it.
func normal(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var s schema.Schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	strip(&s)
	text, err := json.MarshalIndent(&s, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// strip removes prose, and what the two ways to write a schema differ in: an object that says that
// it is one, and what may be there besides what is declared.
func strip(s *schema.Schema) {
	if s == nil {
		return
	}
	s.Description, s.Additional = "", nil
	for _, p := range s.Properties {
		strip(p)
	}
	for _, p := range s.Keys {
		strip(p)
	}
	for _, some := range [][]*schema.Schema{s.OneOf, s.AllOf} {
		for _, p := range some {
			strip(p)
		}
	}
	strip(s.Items)
	strip(s.TypeSchema)
}

func TestConformanceSectionSchema(t *testing.T) {
	var suite struct {
		Environment struct{ Configs map[string]declared }
		Cases       []struct {
			Name, Config, Kind string
			Force              bool   `json:"force_isolation"`
			SkipType           bool   `json:"skip_type"`
			Single             string `json:"single_type"`
			Error              string `json:"error_prefix"`
			Expected           json.RawMessage
		}
	}
	conformance.Load(t, "guest/common-section-schema", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			d := suite.Environment.Configs[c.Config]
			sections := d.sections(t, c.Force)
			err := sections.Validate()
			o := config.SchemaOptions{Base: d.Extra, NoType: c.SkipType, Only: c.Single}
			switch c.Kind {
			case "init":
				if err == nil || !strings.HasPrefix(err.Error()+"\n", c.Error) {
					t.Errorf("got %v, want %s", err, c.Error)
				}
				return
			case "create":
				compareSchemas(t, c.Expected, sections.CreateSchema(o))
			case "update":
				compareSchemas(t, c.Expected, sections.UpdateSchema(o))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConformanceSectionConfig(t *testing.T) {
	var suite struct {
		Environment struct{ Plugins map[string]declared }
		Cases       []struct {
			Name, Plugins, Kind, Raw string
			MustFail                 bool `json:"must_fail"`
			AllowUnknown             bool `json:"allow_unknown"`
			Expected                 json.RawMessage
		}
	}
	conformance.Load(t, "guest/common-section-config", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			sections := suite.Environment.Plugins[c.Plugins].sections(t, false)
			sections.KeepUnknown = c.AllowUnknown
			switch c.Kind {
			case "create-schema":
				compareSchemas(t, c.Expected, sections.CreateSchema(config.SchemaOptions{}))
				return
			case "update-schema":
				compareSchemas(t, c.Expected, sections.UpdateSchema(config.SchemaOptions{}))
				return
			}
			var faults []string
			doc := sections.Parse("test.cfg", []byte(c.Raw), func(text string) { faults = append(faults, text) })
			if c.MustFail != (faults != nil) {
				t.Fatalf("faults: %q", faults)
			}
			if c.MustFail {
				return
			}
			compareSections(t, c.Expected, sections, doc)
			text, err := sections.Print(doc)
			if err != nil {
				t.Fatal(err)
			}
			compareSections(t, c.Expected, sections, sections.Parse("test.cfg", text, nil))
		})
	}
}

func compareSections(t *testing.T, raw json.RawMessage, c *config.Sections, doc *config.SectionDoc) {
	t.Helper()
	var want struct {
		IDs   map[string]map[string]any
		Order map[string]int
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for i, s := range doc.Sections {
		expected := map[string]string{}
		for key, value := range want.IDs[s.ID] {
			if list, ok := value.([]any); ok {
				var words []string
				for _, word := range list {
					words = append(words, fmt.Sprint(word))
				}
				expected[key] = schema.Join(words)
				continue
			}
			expected[key] = fmt.Sprint(value)
		}
		got := map[string]string{"type": s.Type}
		for key, value := range s.Values {
			got[key] = value
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s: %s", s.ID, diff)
		}
		if want.Order[s.ID] != i+1 {
			t.Errorf("%s is section %d", s.ID, i+1)
		}
	}
	if len(doc.Sections) != len(want.IDs) {
		t.Errorf("%d sections", len(doc.Sections))
	}
}

// storages is as much of storage.cfg as the tests here need.
func storages() *config.Sections {
	options := map[string]config.Option{"path": {Fixed: true}, "content": {Optional: true}, "disable": {Optional: true}, "shared": {Optional: true}}
	return &config.Sections{
		Base: map[string]*schema.Schema{
			"path": {Type: "string", Optional: true}, "content": {Type: "string", Format: "pve-storage-content-list", Optional: true},
			"disable": {Type: "boolean", Optional: true}, "shared": {Type: "boolean", Optional: true},
		},
		Types: []config.SectionType{{Name: "dir", Options: options}},
		CheckID: func(name string) error {
			if len(name) < 2 {
				return fmt.Errorf("storage ID '%s' cannot be shorter than 2 characters", name)
			}
			return schema.CheckFormat("pve-storage-id", name)
		},
	}
}

// TestSectionNoise: nothing of a damaged file reaches a terminal that it would obey.
func TestSectionNoise(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"\x1b[2Jgone\xff", "file storage.cfg line 1 - ignore config line: ?[2Jgone?"},
		{"straße", "file storage.cfg line 1 - ignore config line: straße"},
		{strings.Repeat("x", 1<<20), "file storage.cfg line 1 - ignore config line: " + strings.Repeat("x", 500-len(" - ignore config line: ")) + "..."},
	} {
		var faults []string
		storages().Parse("storage.cfg", []byte(c.text), func(text string) { faults = append(faults, text) })
		if diff := cmp.Diff([]string{c.want}, faults); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSectionFaults(t *testing.T) {
	text := `dir: local
	path /var/lib/vz
	content iso,backup
	bogus 1

floppy: ab
	path /a

dir: nopath
	content iso

dir: 1bad
	path /x

 stray line
dir: twice
	disable
	path /srv/one
	path /srv/two

# a comment
dir: twice
	disable
	path /srv/three
not indented
`
	var faults []string
	c := storages()
	doc := c.Parse("storage.cfg", []byte(text), func(text string) { faults = append(faults, text) })
	want := []string{
		"file storage.cfg line 4 (section 'local') - unable to parse value of 'bogus': unknown property type",
		"file storage.cfg line 6 (skip section 'ab'): unsupported type 'floppy'",
		"file storage.cfg line 10 (skip section 'nopath'): missing value for required option 'path'",
		"file storage.cfg line 12 (skip section '1bad'): storage ID '1bad' contains illegal characters",
		"file storage.cfg line 15 - ignore config line:  stray line",
		"file storage.cfg line 19 (section 'twice') - unable to parse value of 'path': duplicate attribute",
		"file storage.cfg line 25 (section 'twice') - ignore config line: not indented",
	}
	if diff := cmp.Diff(want, faults); diff != "" {
		t.Error(diff)
	}
	written, err := c.Print(doc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("dir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n\ndir: twice\n\tdisable\n\tpath /srv/three\n\n", string(written)); diff != "" {
		t.Error(diff)
	}
	if doc.Find("local") == nil || doc.Find("nopath") != nil || doc.Digest == "" {
		t.Errorf("%+v", doc)
	}
}

func FuzzSections(f *testing.F) {
	f.Add("dir: local\n\tpath /a\n\tshared\n\n# x\nnfs:b\n\tx\n\tx 1\n")
	f.Add("a:b:c\n d\r\n\n:\n: x\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := storages()
		c.KeepUnknown = true
		doc := c.Parse("x", []byte(text), nil)
		written, err := c.Print(doc)
		if err != nil {
			t.Fatal(err)
		}
		again, err := c.Print(c.Parse("x", written, func(fault string) { t.Errorf("%q: %s", written, fault) }))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(written), string(again)); diff != "" {
			t.Error(diff)
		}
	})
}
