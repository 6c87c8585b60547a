package house

import (
	"go/ast"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestHouse(t *testing.T) {
	w := readTree(t)
	for name, rule := range map[string]func(*testing.T, *tree){
		"imports":          imports,
		"package comments": packageComments,
		"no init":          noInit,
		"doors only":       doorsOnly,
		"environment":      environment,
		"globals":          globals,
		"sizes":            sizes,
		"names":            names,
		"top level":        topLevel,
	} {
		t.Run(name, func(t *testing.T) { rule(t, w) })
	}
}

// imports: lower floors only, and third-party modules at home.
func imports(t *testing.T, w *tree) {
	check := func(pkg *listed, list []string, test bool) {
		for _, to := range list {
			inner, ours := strings.CutPrefix(to, module+"/")
			var fault string
			switch {
			case !strings.Contains(strings.SplitN(to, "/", 2)[0], "."):
				// the standard library
			case !ours:
				fault = w.plan.Foreign(pkg.room(), to, test)
			case test || pkg.room() == "internal/conformance":
				// tests may look anywhere
			case strings.HasPrefix(pkg.room(), "cmd/"):
				if to := strings.TrimPrefix(inner, "pkg/"); !below(to, "cli") && !below(to, "daemon") && !below(to, "pmxcfs") {
					fault = pkg.room() + " imports " + to + ": a command is one call of its door"
				}
			default:
				fault = w.plan.Import(pkg.room(), strings.TrimPrefix(inner, "pkg/"))
			}
			if fault != "" {
				t.Error(fault)
			}
		}
	}
	for _, pkg := range w.packages {
		check(pkg, pkg.Imports, forTests(pkg.room()))
		check(pkg, pkg.TestImports, true)
		check(pkg, pkg.XTestImports, true)
	}
}

// forTests tells whether a package only helps tests: those below an internal folder, but for
// what makes the documents, and those like storagetest.
func forTests(room string) bool {
	switch room {
	case "internal/gendocs", "internal/coverage":
		return false
	}
	return strings.HasPrefix(room, "internal/") || strings.HasPrefix(room, "cmd/internal/") || strings.HasSuffix(room, "test")
}

// packageComments: in the file named after the package, and only there.
func packageComments(t *testing.T, w *tree) {
	for _, pkg := range w.packages {
		if len(pkg.GoFiles) == 0 {
			continue
		}
		var with []string
		for _, s := range w.sources {
			if s.pkg == pkg && s.file.Doc != nil {
				with = append(with, path.Base(s.path))
			}
		}
		want := pkg.Name + ".go"
		if !slices.Equal(with, []string{want}) {
			t.Errorf("%s: the package comment belongs into %s, it is in %q", pkg.room(), want, with)
		}
	}
}

func noInit(t *testing.T, w *tree) {
	for _, s := range w.sources {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init", s.at(f))
			}
		}
	}
}

// doorsOnly: the process's own streams and its end are the doors' business.
func doorsOnly(t *testing.T, w *tree) {
	forbidden := map[string][]string{
		"fmt": {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
		"os":  {"Stdout", "Stderr", "Stdin", "Exit"},
		"log": {"Print", "Printf", "Println", "Fatal", "Fatalf", "Fatalln", "Panic", "Panicf"},
	}
	w.selectors(t, "print", forbidden, func(s *source) bool {
		floor, ok := w.plan.Floor(s.pkg.room())
		return ok && floor < 6
	})
}

// environment: only app reads it, as what it says must not differ by depth.
func environment(t *testing.T, w *tree) {
	forbidden := map[string][]string{"os": {"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv"}}
	w.selectors(t, "environment", forbidden, func(s *source) bool {
		room := s.pkg.room()
		return room != "app" && !forTests(room) && !strings.HasPrefix(room, "internal/")
	})
}

// selectors reports uses of the given names of standard packages.
func (w *tree) selectors(t *testing.T, rule string, forbidden map[string][]string, in func(*source) bool) {
	for _, s := range w.sources {
		if !in(s) || w.plan.Excepted(rule, s.path) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(forbidden[x.Name], sel.Sel.Name) {
				t.Errorf("%s: %s.%s", s.at(n), x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

func sizes(t *testing.T, w *tree) {
	const most = 800
	for _, s := range w.sources {
		if s.lines > most && !w.plan.Excepted("size", s.path) {
			t.Errorf("%s has %d lines, more than %d", s.path, s.lines, most)
		}
	}
}

// names: a file called for what it is not about anything has no home.
func names(t *testing.T, w *tree) {
	homeless := regexp.MustCompile(`^(.*_)?(utils?|common|helpers?|misc|shared|stuff)(_.*)?$`)
	for _, pkg := range w.packages {
		for _, name := range slices.Concat(pkg.GoFiles, pkg.TestGoFiles, pkg.XTestGoFiles, []string{path.Base(pkg.Dir)}) {
			if homeless.MatchString(strings.TrimSuffix(strings.TrimSuffix(name, ".go"), "_test")) {
				t.Errorf("%s: %s: what is it about?", pkg.room(), name)
			}
		}
	}
}

// topLevel: what is committed there is what the design lists.
func topLevel(t *testing.T, w *tree) {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files")
	cmd.Dir = w.root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	allowed := []string{
		"cmd", "pkg", "man", "completions", "contrib", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "CHANGELOG.md",
		".ci", ".gitignore", ".gitattributes", ".golangci.yml",
	}
	seen := map[string]bool{}
	for file := range strings.Lines(string(out)) {
		top, _, _ := strings.Cut(strings.TrimSpace(file), "/")
		if seen[top] {
			continue
		}
		seen[top] = true
		if _, err := os.Lstat(filepath.Join(w.root, top)); err == nil && !slices.Contains(allowed, top) {
			t.Errorf("%s does not belong to the top level", top)
		}
	}
}
