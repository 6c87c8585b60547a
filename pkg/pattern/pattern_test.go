package pattern_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

func TestPattern(t *testing.T) {
	p := pattern.New(`(\w+)=(\d+)`)
	if !p.MatchString("a=1") || p.MatchString("a=b") || !p.Match([]byte("x=2")) {
		t.Error("matches")
	}
	for name, got := range map[string][]string{
		"submatch": p.FindStringSubmatch("cores=2 swap=0"),
		"first":    {p.FindString("cores=2 swap=0"), "cores", "2"},
		"all":      append(p.FindAllString("cores=2", -1), "cores", "2"),
	} {
		if diff := cmp.Diff([]string{"cores=2", "cores", "2"}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := p.ReplaceAllString("a=1 b=2", "$2"); got != "1 2" {
		t.Error(got)
	}
	if p.String() != `(\w+)=(\d+)` || p.Regexp().NumSubexp() != 2 {
		t.Error(p)
	}
}

// TestLazy: a pattern that nobody needs costs nothing, not even its mistakes.
func TestLazy(t *testing.T) {
	p := pattern.New("(")
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	p.MatchString("")
}

// TestAllCompile tries the patterns of the whole program: nothing else does before they are needed.
func TestAllCompile(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "pattern.New(") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || !strings.Contains(string(text), "pattern.New("+literal.Value+")") {
				return true
			}
			if _, err := regexp.Compile(unquote(t, literal.Value)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func unquote(t *testing.T, literal string) string {
	t.Helper()
	text, err := strconv.Unquote(literal)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
