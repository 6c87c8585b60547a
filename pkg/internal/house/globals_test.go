package house

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// globals: a package-level variable is a constant that Go cannot spell. It is
// never assigned to after its declaration, and it is no lock, counter or cache.
func globals(t *testing.T, w *tree) {
	byPackage := map[*listed][]*source{}
	for _, s := range w.sources {
		byPackage[s.pkg] = append(byPackage[s.pkg], s)
	}
	for pkg, sources := range byPackage {
		vars := map[string]bool{}
		for _, s := range sources {
			for _, spec := range packageVars(s.file) {
				for _, name := range spec.Names {
					place := pkg.room() + "." + name.Name
					if w.plan.Excepted("global", place) {
						continue
					}
					vars[name.Name] = true
					if kind := stateful(spec); kind != "" {
						t.Errorf("%s: %s is a %s: state belongs into a struct", s.at(spec), place, kind)
					}
				}
			}
		}
		delete(vars, "_")
		for _, s := range sources {
			for _, decl := range s.file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || f.Body == nil {
					continue
				}
				for _, at := range writes(f, vars) {
					t.Errorf("%s: a package-level variable is changed", s.at(at))
				}
			}
		}
	}
}

func packageVars(file *ast.File) []*ast.ValueSpec {
	var specs []*ast.ValueSpec
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			specs = append(specs, spec.(*ast.ValueSpec))
		}
	}
	return specs
}

// stateful names the type of a variable that can have no other use than to
// change: what sync and atomic offer, and maps that start empty.
func stateful(spec *ast.ValueSpec) string {
	candidates := append([]ast.Expr{spec.Type}, spec.Values...)
	for _, e := range candidates {
		switch e := e.(type) {
		case *ast.SelectorExpr:
			if x, ok := e.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
				return x.Name + "." + e.Sel.Name
			}
		case *ast.IndexExpr:
			if inner := stateful(&ast.ValueSpec{Type: e.X}); inner != "" {
				return inner
			}
		case *ast.CompositeLit:
			if inner := stateful(&ast.ValueSpec{Type: e.Type}); inner != "" && len(e.Elts) == 0 {
				return inner
			}
			if _, ok := e.Type.(*ast.MapType); ok && len(e.Elts) == 0 {
				return "map that starts empty"
			}
		case *ast.CallExpr:
			if f, ok := e.Fun.(*ast.Ident); ok && f.Name == "make" {
				return "make(…)"
			}
		case *ast.MapType:
			if len(spec.Values) == 0 {
				return "map that starts empty"
			}
		}
	}
	return ""
}

// writes returns where a function changes one of the given package-level
// variables. A name that the function declares itself anywhere is left out: this
// reads syntax, not types.
func writes(f *ast.FuncDecl, vars map[string]bool) []ast.Node {
	local := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				local[name.Name] = true
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					local[rootName(e)] = true
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				for _, e := range []ast.Expr{n.Key, n.Value} {
					if e != nil {
						local[rootName(e)] = true
					}
				}
			}
		}
		return true
	})
	var found []ast.Node
	changed := func(at ast.Node, e ast.Expr) {
		if name := rootName(e); vars[name] && !local[name] {
			found = append(found, at)
		}
	}
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					changed(n, e)
				}
			}
		case *ast.IncDecStmt:
			changed(n, n.X)
		case *ast.CallExpr:
			if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "delete" || fn.Name == "clear") && len(n.Args) > 0 {
				changed(n, n.Args[0])
			}
		}
		return true
	})
	return found
}

// rootName is the variable at the left end of a.b[c].d, or nothing.
func rootName(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}

func TestWrites(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"assign":           {"x = 1", 1},
		"index":            {"x[1] = 2", 1},
		"field":            {"x.a.b = 2", 1},
		"delete":           {"delete(x, 1)", 1},
		"counter":          {"x++", 1},
		"read":             {"y := x; _ = y", 0},
		"shadowed":         {"x := 1; x = 2", 0},
		"shadowed by loop": {"for x := range 3 { x++ }", 0},
		"in a closure":     {"func() { x = 1 }()", 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := parseFunc(t, c.body)
			if got := len(writes(f, map[string]bool{"x": true})); got != c.want {
				t.Errorf("%s: %d writes seen, want %d", strings.TrimSpace(c.body), got, c.want)
			}
		})
	}
}
