package schema_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func TestSize(t *testing.T) {
	tests := []struct {
		in   string
		size schema.Size
		out  string // empty for a refusal
	}{
		{"0", 0, "0T"},
		{"512", 512, "512"},
		{"1024", schema.KiB, "1K"},
		{"528K", 528 * schema.KiB, "528K"},
		{"4096M", 4 * schema.GiB, "4G"},
		{"1.5T", 1536 * schema.GiB, "1536G"},
		{"32GiB", 32 * schema.GiB, "32G"},
		{"0.3K", 307, "307"},
		{"8388607T", 8388607 * schema.TiB, "8388607T"},
		{"8388608T", 0, ""},
		{"", 0, ""},
		{"K", 0, ""},
		{"1.", 0, ""},
		{".5G", 0, ""},
		{"-1G", 0, ""},
		{"1k", 0, ""},
		{"1iB", 0, ""},
		{"1 G", 0, ""},
		{"1e3", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			size, err := schema.ParseSize(tt.in)
			if tt.out == "" {
				if !errors.Is(err, schema.ErrSize) {
					t.Errorf("%d, %v", size, err)
				}
				return
			}
			if err != nil || size != tt.size || size.String() != tt.out {
				t.Errorf("%d, %s, %v", size, size, err)
			}
		})
	}
}

func TestConformanceConvertSize(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, From, To, Value, Expected string
			ErrorPrefix                     string `json:"error_prefix"`
			NoRoundUp                       bool   `json:"no_round_up"`
		}
	}
	conformance.Load(t, "guest/common-convert-size", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			got, err := schema.ConvertSize(c.Value, c.From, c.To, !c.NoRoundUp)
			if c.ErrorPrefix != "" {
				if err == nil || !strings.HasPrefix(err.Error(), c.ErrorPrefix) {
					t.Errorf("error %v, want %s", err, c.ErrorPrefix)
				}
				return
			}
			if err != nil || got.String() != c.Expected {
				t.Errorf("%v, %v, want %s", got, err, c.Expected)
			}
		})
	}
}

func FuzzSize(f *testing.F) {
	for _, seed := range []string{"0", "32G", "1.5T", "528KiB", "99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := schema.ParseSize(s)
		if err != nil {
			return
		}
		again, err := schema.ParseSize(size.String())
		if err != nil || again != size {
			t.Errorf("%q: %d became %d, %v", s, size, again, err)
		}
	})
}
