package guest_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// document reads a configuration as the suite has it: an object with an object "pending".
func document(t *testing.T, raw json.RawMessage) *config.Doc {
	t.Helper()
	var values map[string]any
	if err := json.Unmarshal(raw, &values); err != nil {
		t.Fatal(err)
	}
	doc := &config.Doc{Values: schema.Params{}}
	for key, value := range values {
		if pending, ok := value.(map[string]any); ok {
			doc.Pending = schema.Params{}
			for key, value := range pending {
				doc.Pending[key] = fmt.Sprint(value)
			}
			continue
		}
		doc.Values[key] = fmt.Sprint(value)
	}
	return doc
}

func TestConformanceAbstractConfig(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Method string
			Params       []json.RawMessage
			Expected     json.RawMessage
		}
	}
	conformance.Load(t, "guest/guest-abstract-config", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			if c.Method == "parse_pending_delete" {
				var text string
				if err := json.Unmarshal(c.Params[0], &text); err != nil {
					t.Fatal(err)
				}
				var want map[string]struct{ Force int }
				if err := json.Unmarshal(c.Expected, &want); err != nil {
					t.Fatal(err)
				}
				got := map[string]struct{ Force int }{}
				for key, force := range guest.ParseDelete(text) {
					entry := got[key]
					if force {
						entry.Force = 1
					}
					got[key] = entry
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			doc, want := document(t, c.Params[0]), document(t, c.Expected)
			switch c.Method {
			case "add_to_pending_delete":
				var key string
				if err := json.Unmarshal(c.Params[1], &key); err != nil {
					t.Fatal(err)
				}
				guest.AddDelete(doc, key, len(c.Params) > 2)
			case "cleanup_pending":
				guest.CleanPending(doc)
			default:
				t.Fatalf("unknown method %s", c.Method)
			}
			if diff := cmp.Diff(want, doc); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	doc := &config.Doc{
		Values:  schema.Params{"balloon": "512", "cores": "4", "name": "a", "memory": "1"},
		Pending: schema.Params{"cores": "8", "tags": "x", "delete": "balloon,!startup"},
	}
	want := []guest.Change{
		{Key: "balloon", Value: new("512"), Delete: true},
		{Key: "cores", Value: new("4"), Pending: new("8")},
		{Key: "memory", Value: new("1")},
		{Key: "name", Value: new("a")},
		{Key: "startup", Delete: true, Force: true},
		{Key: "tags", Pending: new("x")},
	}
	if diff := cmp.Diff(want, guest.Changes(doc)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(schema.Params{"cores": "8", "memory": "1", "name": "a", "tags": "x"}, guest.Merged(doc)); diff != "" {
		t.Error(diff)
	}
	guest.AddPending(doc, "balloon", "1024")
	guest.AddDelete(doc, "cores", false)
	if !guest.Revert(doc, "startup") || guest.Revert(doc, "memory") {
		t.Error("revert tells wrong what there was to revert")
	}
	if diff := cmp.Diff(schema.Params{"balloon": "1024", "tags": "x", "delete": "cores"}, doc.Pending); diff != "" {
		t.Error(diff)
	}
}

func FuzzDelete(f *testing.F) {
	f.Add("memory;cpu,!mp0")
	f.Add(" ! ,!!a,\x00b")
	f.Fuzz(func(t *testing.T, text string) {
		list := guest.ParseDelete(text)
		again := guest.ParseDelete(guest.PrintDelete(list))
		for key := range list {
			if key[0] == '!' { // the mark before the mark is part of no name
				return
			}
		}
		if diff := cmp.Diff(list, again); diff != "" {
			t.Error(diff)
		}
	})
}
