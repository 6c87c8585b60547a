package all_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/all"
)

// gaps are options that are not declared yet, as nothing would act on them.
func gaps() map[string]string { return nil }

// TestSpec: what a type declares is what the interface specification has.
func TestSpec(t *testing.T) {
	raw, err := os.ReadFile(conformance.Spec(t, "storage.json"))
	if err != nil {
		t.Skip(err)
	}
	var spec struct {
		Types map[string]json.RawMessage
	}
	type specified struct {
		Options map[string]struct {
			Type     string
			Format   json.RawMessage
			Enum     []any // upstream has numbers too
			Minimum  *float64
			Optional bool
			Fixed    bool
		}
		Plugindata struct {
			Content []map[storage.Content]any
		}
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	for _, typ := range all.Types() {
		var want specified
		if err := json.Unmarshal(spec.Types[typ.Name], &want); err != nil {
			t.Errorf("type %s: %v", typ.Name, err)
			continue
		}
		for name, o := range want.Options {
			f, _ := typ.Config.Lookup(name)
			switch where := typ.Name + "." + name; {
			case f == nil && gaps()[where] == "":
				t.Errorf("%s is not declared", where)
			case f == nil:
			case gaps()[where] != "":
				t.Errorf("%s is declared: it is no gap", where)
			default:
				s := f.Schema
				if s.Type != o.Type && !(s.Type == "" && o.Type == "string") {
					t.Errorf("%s: type %s, not %s", where, s.Type, o.Type)
				}
				if s.Optional != o.Optional || (f.Tag.Get("fixed") != "") != o.Fixed || !slices.Equal(s.Enum, texts(o.Enum)) {
					t.Errorf("%s: optional %v, fixed %q, enum %q; want %+v", where, s.Optional, f.Tag.Get("fixed"), s.Enum, o)
				}
				var format string
				if json.Unmarshal(o.Format, &format) == nil && s.Format != format {
					t.Errorf("%s: format %q, not %q", where, s.Format, format)
				}
				if (s.Minimum == nil) != (o.Minimum == nil) || s.Minimum != nil && *s.Minimum != *o.Minimum {
					t.Errorf("%s: minimum %v, not %v", where, s.Minimum, o.Minimum)
				}
			}
		}
		for _, f := range typ.Config.Fields {
			if _, ok := want.Options[f.Name]; !ok {
				t.Errorf("%s.%s is not in the specification", typ.Name, f.Name)
			}
		}
		compareContents(t, typ, want.Plugindata.Content)
	}
}

func compareContents(t *testing.T, typ storage.Type, want []map[storage.Content]any) {
	t.Helper()
	for i, got := range [][]storage.Content{typ.Contents, typ.Default} {
		for c := range want[i] {
			if !slices.Contains(got, c) {
				t.Errorf("%s cannot hold %s", typ.Name, c)
			}
		}
		if len(got) != len(want[i]) {
			t.Errorf("%s holds %q, want %v", typ.Name, got, want[i])
		}
	}
}

func texts(list []any) []string {
	var found []string
	for _, v := range list {
		found = append(found, fmt.Sprint(v))
	}
	return found
}
