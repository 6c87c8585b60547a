package schema_test

import (
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestRender(t *testing.T) {
	tests := []struct {
		name, renderer string
		value          any
		want           string
	}{
		{"zero bytes", "bytes", 0, "0.00 B"},
		{"text", "bytes", "1536", "1.50 KiB"},
		{"local time", "timestamp", 1612776831, "2021-02-08 10:33:51"},
		{"long", "duration", 7*24*3600*2 + 3600*5 + 1, "2w 5h 1s"},
		{"negative", "duration", -5, "0s"},
		{"not a number", "bytes", "many", ""},
		{"unknown", "colour", 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := schema.Render(tt.renderer, tt.value, time.FixedZone("UTC-1", 3600))
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("%q, %v, want %q", got, ok, tt.want)
			}
		})
	}
}

// The cases on identifiers belong to TestConformanceFormat.
func TestConformanceFormatRender(t *testing.T) {
	var suite struct {
		Environment struct {
			Offset int `json:"utc_offset_seconds"`
		}
		Cases []struct {
			Name, Kind, Renderer, Expected string
			Precision                      *int
			Value                          any
		}
	}
	conformance.Load(t, "guest/common-format", &suite)
	zone := time.FixedZone("", suite.Environment.Offset)
	for _, c := range suite.Cases {
		if c.Kind != "render" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			got, ok := schema.Render(c.Renderer, c.Value, zone)
			if c.Precision != nil {
				got = schema.Bytes(c.Value.(float64), *c.Precision)
			}
			if !ok || got != c.Expected {
				t.Errorf("%q, want %q", got, c.Expected)
			}
		})
	}
}
