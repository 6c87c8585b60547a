package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	plan, err := ReadPlan(strings.NewReader(`
		floor 0 schema id
		floor 3 storage
		floor 4 qemu guest
		floor 6 app cli
		beside qemu guest
		home example.org/lib storage
		home example.org/diff tests`))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"down":              {"storage", "schema", ""},
		"up":                {"schema", "storage", "schema (floor 0) imports storage (floor 3)"},
		"same floor":        {"id", "schema", "id (floor 0) imports schema (floor 0)"},
		"parent":            {"storage/dir", "storage", ""},
		"child":             {"storage", "storage/dir", "storage (floor 3) imports storage/dir (floor 3)"},
		"listed beside":     {"qemu/cmdline", "guest", ""},
		"all from app":      {"app", "storage/all", ""},
		"all from others":   {"cli", "storage/all", "cli imports storage/all, which is for app alone"},
		"all to its kin":    {"storage/all", "storage/dir", ""},
		"all to others":     {"storage/all", "qemu", "storage/all (floor 3) imports qemu (floor 4)"},
		"unknown":           {"nowhere", "schema", "nowhere stands on no floor: add it to floors.txt"},
		"helpers for tests": {"storage", "internal/house", "storage imports internal/house, which is for tests"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := plan.Import(c.from, c.to); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	for name, c := range map[string]struct {
		from, to string
		test     bool
		want     string
	}{
		"at home":      {"storage/dir", "example.org/lib/deep", false, ""},
		"away":         {"qemu", "example.org/lib", false, "qemu imports example.org/lib, whose home is storage"},
		"in a test":    {"qemu", "example.org/diff", true, ""},
		"not a test":   {"qemu", "example.org/diff", false, "qemu imports example.org/diff, whose home is tests"},
		"without home": {"qemu", "example.org/new", false, "qemu imports example.org/new, which has no home in floors.txt"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := plan.Foreign(c.from, c.to, c.test); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanFaults(t *testing.T) {
	for name, text := range map[string]string{
		"too few words":     "floor 1",
		"no number":         "floor one schema",
		"unknown word":      "roof 1 schema",
		"exception, no why": "except size pkg/x/x.go",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadPlan(strings.NewReader(text)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func parseFunc(t *testing.T, body string) *ast.FuncDecl {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() {\n"+body+"\n}", parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return file.Decls[0].(*ast.FuncDecl)
}
