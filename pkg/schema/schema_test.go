package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

type nic struct {
	Model  string  `pve:"model,default_key" enum:"e1000|virtio"`
	MAC    *string `pve:"macaddr" format:"mac-addr" keyalias:"model"`
	Bridge *string `pve:"bridge" format:"pve-bridge-id"`
	Tag    *int    `pve:"tag" min:"1" max:"4094"`
	Queues *int    `pve:"queues" alias:"q"`
}

type machine struct {
	Memory *int        `pve:"memory" min:"16" doc:"Memory."`
	OnBoot *bool       `pve:"onboot" default:"0"`
	Rate   *float64    `pve:"rate"`
	Name   string      `pve:"name" format:"dns-name"`
	Net    map[int]nic `pve:"net[4]"`
	Tags   []string    `pve:"tags" format:"pve-tag-list"`
	Args   []string    `pve:"args"`
	Given  Given
}

func TestDecode(t *testing.T) {
	var got machine
	err := Decode(Params{
		"memory": "512", "onboot": "yes", "name": "a.b", "net1": "virtio=BC:24:11:00:00:01,q=2",
		"tags": "a;b c", "args": Join([]string{"x", "y,z"}), "rate": "12.5",
	}, &got)
	if err != nil {
		t.Fatal(err)
	}
	want := machine{
		Memory: new(512), OnBoot: new(true), Rate: new(12.5), Name: "a.b",
		Net:  map[int]nic{1: {Model: "virtio", MAC: new("BC:24:11:00:00:01"), Queues: new(2)}},
		Tags: []string{"a", "b", "c"}, Args: []string{"x", "y,z"},
	}
	want.Given = Given{
		"memory": "512", "onboot": "1", "name": "a.b", "net1": "virtio=BC:24:11:00:00:01,q=2",
		"tags": "a;b c", "args": "x\x00y,z", "rate": "12.5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Params{
		"memory": "512", "onboot": "1", "name": "a.b", "net1": "virtio=BC:24:11:00:00:01,queues=2",
		"tags": "a;b;c", "args": "x\x00y,z", "rate": "12.5",
	}, Encode(got)); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeFaults(t *testing.T) {
	var m machine
	err := Decode(Params{"memory": "15", "net0": "bridge=a b,tag=5000", "net4": "virtio", "onboot": "maybe"}, &m)
	want := strings.Join([]string{
		"memory: value must have a minimum value of 16",
		"name: property is missing and it is not optional",
		"net0: invalid format - format error",
		"net0.bridge: invalid format - invalid bridge ID 'a b'",
		"",
		"net0.model: property is missing and it is not optional",
		"net0.tag: value must have a maximum value of 4094",
		"",
		"net4: property is not defined in schema and the schema does not allow additional properties",
		"onboot: type check ('boolean') failed - got 'maybe'",
		"",
	}, "\n")
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff(want, faults.Lines()); diff != "" {
		t.Error(diff)
	}
}

func TestValue(t *testing.T) {
	got := Value(machine{Memory: new(512), OnBoot: new(false), Name: "n", Net: map[int]nic{0: {Model: "virtio", Tag: new(3)}}})
	want := map[string]any{"memory": int64(512), "onboot": int64(0), "name": "n", "net0": "virtio,tag=3"}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Error(diff)
	}
}

type schemaCase struct {
	Name, Kind    string
	Format        map[string]*Schema
	Schema        json.RawMessage
	Input, Output any
	Error         *pattern
	Errors        map[string]pattern
}

type pattern struct{ Regex string }

func (c schemaCase) run(t *testing.T) (output any, faults Faults, err error) {
	t.Helper()
	var s Schema
	switch c.Kind {
	case "property-string":
		p, err := (&Schema{Type: "string", Keys: c.Format}).ParseString(c.Input.(string))
		return p, nil, err
	case "check-object":
		s.Type = "object"
		if err := json.Unmarshal(c.Schema, &s.Properties); err != nil {
			t.Fatal(err)
		}
	default:
		if err := json.Unmarshal(c.Schema, &s); err != nil {
			t.Fatal(err)
		}
	}
	faults = s.Check(c.Input)
	return c.Input, faults, faults.Err()
}

func TestConformanceJSONSchema(t *testing.T) {
	var suite struct{ Cases []schemaCase }
	conformance.Load(t, "guest/common-json-schema", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			output, faults, err := c.run(t)
			switch {
			case c.Error != nil:
				if err == nil || !regexp.MustCompile("(?m)"+c.Error.Regex).MatchString(err.Error()) {
					t.Fatalf("got error %v, want %s", err, c.Error.Regex)
				}
			case c.Errors != nil:
				for path, want := range c.Errors {
					if !regexp.MustCompile(want.Regex).MatchString(faults[path]) {
						t.Errorf("%s: got %q, want %s", path, faults[path], want.Regex)
					}
				}
				if len(faults) != len(c.Errors) {
					t.Errorf("got faults %v", faults)
				}
			case err != nil:
				t.Fatal(err)
			}
			if c.Output != nil && flat(output) != flat(c.Output) {
				t.Errorf("got %s, want %s", flat(output), flat(c.Output))
			}
		})
	}
}

// flat prints data with its scalars in string form.
func flat(v any) string {
	if m, ok := v.(map[string]any); ok {
		p := Params{}
		for k, v := range m {
			p[k] = scalar(v)
		}
		return fmt.Sprint(p)
	}
	return fmt.Sprint(v)
}

func TestConformanceConfigID(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Kind string
			Value      any
			Valid      bool
		}
	}
	conformance.Load(t, "guest/common-format", &suite)
	for _, c := range suite.Cases {
		if c.Kind != "configid" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if got := CheckFormat("pve-configid", scalar(c.Value)) == nil; got != c.Valid {
				t.Errorf("%q: got %t, want %t", c.Value, got, c.Valid)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7")
	f.Add("model=e1000,,q=3")
	f.Fuzz(func(t *testing.T, text string) {
		var once, twice nic
		if Parse(text, &once) != nil {
			return
		}
		if err := Parse(Print(once), &twice); err != nil {
			t.Fatalf("%q does not read back: %v", Print(once), err)
		}
		if diff := cmp.Diff(once, twice); diff != "" {
			t.Error(diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	p := Params{"memory": "512", "onboot": "1", "name": "a", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7", "net1": "e1000,bridge=vmbr1"}
	for b.Loop() {
		var m machine
		if err := Decode(p, &m); err != nil {
			b.Fatal(err)
		}
	}
}
