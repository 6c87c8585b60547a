package main

import (
	_ "embed"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/coverage"
)

//go:embed testdata/deviations.txt
var deviations string

// TestConformanceSpec counts how much of the specified interface is declared and finds
// what contradicts it, but for the known deviations: a place, a colon, the reason.
func TestConformanceSpec(t *testing.T) {
	spec, err := coverage.Load(conformance.Spec(t, ""))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the interface specification is not on this machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(deviations) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		place, reason, ok := strings.Cut(line, ": ")
		if !ok {
			t.Errorf("deviation without a reason: %s", line)
		}
		known[place] = reason
	}
	report := spec.Compare(methods(), tools())
	t.Log(report)
	for _, place := range slices.Sorted(maps.Keys(report.Contradictions)) {
		if known[place] == "" {
			t.Errorf("%s: %s", place, report.Contradictions[place])
		}
		delete(known, place)
	}
	for place := range known {
		t.Errorf("%s: is no deviation any more, remove it from the list", place)
	}
}
