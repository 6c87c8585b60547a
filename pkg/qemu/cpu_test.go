package qemu

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestConformanceCustomCPUModels(t *testing.T) {
	var s struct {
		Cases []struct {
			Name, Check, Method string
			Params              schema.Params
			Valid               bool
			Error               struct{ Regex string }
		}
	}
	conformance.Load(t, "guest/custom-cpu-models", &s)
	for _, c := range s.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var m CustomCPUModel
			err := schema.Decode(c.Params, &m)
			if err == nil && c.Check == "call" {
				err = m.Check()
			}
			switch {
			case c.Valid && err != nil:
				t.Error(err)
			case !c.Valid && (err == nil || !regexp.MustCompile(c.Error.Regex).MatchString(err.Error())):
				t.Errorf("got %v, want an error like %s", err, c.Error.Regex)
			}
		})
	}
}

// TestCPUModels holds the tables to the interface specification.
func TestCPUModels(t *testing.T) {
	raw, err := os.ReadFile(conformance.Spec(t, "vm-config.json"))
	if err != nil {
		t.Skip("the interface specification is not on this machine")
	}
	var spec struct {
		CPU struct {
			Models  map[string]map[string]string
			Bits32  []string
			Builtin map[string]struct {
				Flags string
				Model string `json:"reported-model"`
			}
			Deprecated map[string]string `json:"deprecated_map"`
			Flags      []string
		}
	}
	if err := json.Unmarshal(raw, &spec); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(spec.CPU.Flags, CPUFlags()); diff != "" {
		t.Error(diff)
	}
	for arch, models := range spec.CPU.Models {
		for name, vendor := range models {
			m, ok := FindCPUModel(arch, name)
			if !ok || m.Vendor != vendor {
				t.Errorf("%s %s: got %+v", arch, name, m)
			}
		}
	}
	for _, name := range spec.CPU.Bits32 {
		if m, _ := FindCPUModel("x86_64", name); m.Bits != 32 {
			t.Errorf("%s: %d bits", name, m.Bits)
		}
	}
	for name, builtin := range spec.CPU.Builtin {
		if m, _ := FindCPUModel("x86_64", name); m.Flags != builtin.Flags || m.Base != builtin.Model {
			t.Errorf("%s: got %+v", name, m)
		}
	}
	for name, base := range spec.CPU.Deprecated {
		if m, _ := FindCPUModel("x86_64", name); m.Base != base {
			t.Errorf("%s: got %+v", name, m)
		}
	}
	if got, want := len(CPUModels("x86_64")), len(spec.CPU.Models["x86_64"])+len(spec.CPU.Builtin); got != want {
		t.Errorf("%d models, want %d", got, want)
	}
}
