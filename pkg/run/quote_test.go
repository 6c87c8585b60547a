package run_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
)

func TestQuote(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"assignment", "a=b", "'a=b'"},
		{"path", "/dev/x:y@z,1", "/dev/x:y@z,1"},
		{"one quote", "it's", `'it'\''s'`},
		{"leading quote", "'s", `\''s'`},
		{"run of quotes", "a'''b", `'a'"'''"'b'`},
		{"not ascii", "ü", "'ü'"},
		{"newline", "a\nb", "'a\nb'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := run.Quote(tt.in); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		bad      bool
	}{
		{"blanks", "  a \t b\n", []string{"a", "b"}, false},
		{"quotes", `-x 'a b' "c d"e`, []string{"-x", "a b", "c de"}, false},
		{"empty word", `a ''`, []string{"a", ""}, false},
		{"backslash", `a\ b "c\"d" 'e\f'`, []string{"a b", `c"d`, `e\f`}, false},
		{"unbalanced", `a 'b`, nil, true},
		{"lone backslash", `a \`, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := run.Split(tt.in)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConformanceShellQuote(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Function  string
			Input, Expected any
		}
	}
	conformance.Load(t, "guest/common-shell-quote", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			var got any
			switch c.Function {
			case "shell_quote":
				got = run.Quote(c.Input.(string))
			case "to_string":
				// A command that is one string is a shell line already.
				got = c.Input
			case "split_args":
				got = split(t, c.Input.(string))
			case "roundtrip":
				var args []string
				for _, arg := range c.Input.([]any) {
					args = append(args, arg.(string))
				}
				got = split(t, run.Quote(args...))
			default:
				t.Fatalf("unknown function %s", c.Function)
			}
			if diff := cmp.Diff(c.Expected, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func split(t *testing.T, line string) any {
	t.Helper()
	words, err := run.Split(line)
	if err != nil {
		t.Fatal(err)
	}
	list := []any{}
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "a b", "it's", "''", `\`, "a=b", "$x", "ü\n"} {
		f.Add(seed, "x")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			t.Skip("no argument can hold it")
		}
		line := run.Quote(a, b)
		words, err := run.Split(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if diff := cmp.Diff([]string{a, b}, words); diff != "" {
			t.Fatalf("%s: %s", line, diff)
		}
	})
}

func TestShellAgrees(t *testing.T) {
	args := []string{"", "it's", "a  b", "$HOME", "`x`", "a=b", `\n`, "''", "*", "!x", "~", "a\nb"}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+run.Quote(args...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Join(args, "\x00")+"\x00", string(out)); diff != "" {
		t.Error(diff)
	}
}
