package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

const module = "github.com/virtsmith/virtsmith"

// listed is one package as `go list` tells of it.
type listed struct {
	Dir, ImportPath, Name              string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

// room is the path below pkg/, or from the root for what is not there.
func (l *listed) room() string {
	return strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, module+"/"), "pkg/")
}

// source is one parsed Go file that is not a test.
type source struct {
	pkg   *listed
	path  string // from the project root
	lines int
	fset  *token.FileSet
	file  *ast.File
}

func (s *source) at(n ast.Node) string {
	return s.fset.Position(n.Pos()).String()
}

// tree is the whole project.
type tree struct {
	root     string
	plan     *Plan
	packages []*listed
	sources  []*source
}

func readTree(t *testing.T) *tree {
	t.Helper()
	plan, err := os.Open("floors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	w := &tree{root: conformance.Root(t)}
	if w.plan, err = ReadPlan(plan); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=Dir,ImportPath,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = w.root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		pkg := new(listed)
		if err := dec.Decode(pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		w.packages = append(w.packages, pkg)
		for _, name := range pkg.GoFiles {
			w.sources = append(w.sources, w.parse(t, pkg, name))
		}
	}
	return w
}

func (w *tree) parse(t *testing.T, pkg *listed, name string) *source {
	t.Helper()
	full := filepath.Join(pkg.Dir, name)
	text, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	rel, err := filepath.Rel(w.root, full)
	if err != nil {
		t.Fatal(err)
	}
	s := &source{pkg: pkg, path: rel, lines: bytes.Count(text, []byte("\n")), fset: token.NewFileSet()}
	if s.file, err = parser.ParseFile(s.fset, rel, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		t.Fatal(err)
	}
	return s
}
