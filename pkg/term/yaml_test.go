package term_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/virtsmith/virtsmith/pkg/term"
)

func TestYAMLText(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", " ''\n"},
		{"number", "4096", " '4096'\n"},
		{"exponent", "1e5", " '1e5'\n"},
		{"word", "true", " 'true'\n"},
		{"colon and blank", "a: b", " 'a: b'\n"},
		{"colon", "a:b", " a:b\n"},
		{"comment", "a #b", " 'a #b'\n"},
		{"dash", "- a", " '- a'\n"},
		{"negative", "-a", " -a\n"},
		{"single quote first", "'a", " '''a'\n"},
		{"brace", "{a}", " '{a}'\n"},
		{"short lines", " a\n", " \" a\\n\"\n"},
		{"long lines", "0123456789 0123456789\n0123456789", " |-\n  0123456789 0123456789\n  0123456789\n"},
		{"ends in lines", "0123456789 0123456789\n\n0123456789\n\n", " |+\n  0123456789 0123456789\n\n  0123456789\n\n"},
		{"begins with a blank", " 123456789 0123456789\n0123456789\n", " |2\n   123456789 0123456789\n  0123456789\n"},
		{"tab", "a\tb", " \"a\\tb\"\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff("---"+tt.want, term.EncodeYAML(tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"", "4096", "a: b", " lead\nand more than thirty bytes of it", "- x", "ü\x00\u2028", "a\n\n\nb, which goes on for quite some while\n\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || len(s) > 100 {
			t.Skip("text is UTF-8; a longer key would need another form")
		}
		out := term.EncodeYAML(map[string]any{"k" + s: []any{s, map[string]any{"deep": s}}})
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		top := doc.Content[0]
		list := top.Content[1]
		got := []string{top.Content[0].Value, list.Content[0].Value, list.Content[1].Content[1].Value}
		if diff := cmp.Diff([]string{"k" + s, s, s}, got); diff != "" {
			t.Fatalf("%s%s", strings.ReplaceAll(out, " ", "·"), diff)
		}
	})
}
