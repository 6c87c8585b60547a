package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

func TestCommittedIsFresh(t *testing.T) {
	files, err := derived()
	if err != nil {
		t.Fatal(err)
	}
	root := conformance.Root(t)
	for name, want := range files {
		t.Run(name, func(t *testing.T) {
			got, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatalf("%v: run make generate", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("stale: run make generate\n%s", cmp.Diff(string(got), string(want)))
			}
		})
	}
	for _, pattern := range []string{"man/*", "completions/*/*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			name, _ := filepath.Rel(root, path)
			if files[name] == nil {
				t.Errorf("%s is generated no more: remove it", name)
			}
		}
	}
}

func TestManualPagesHaveNoWarnings(t *testing.T) {
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("man is not installed")
	}
	files, err := derived()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if !strings.HasPrefix(name, "man/") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			page := filepath.Join(t.TempDir(), filepath.Base(name))
			if err := os.WriteFile(page, text, 0o644); err != nil {
				t.Fatal(err)
			}
			var warnings, shown bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
			cmd.Stdout, cmd.Stderr = &shown, &warnings
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, warnings.String())
			}
			if warnings.Len() > 0 || shown.Len() == 0 {
				t.Errorf("man says %q", warnings.String())
			}
		})
	}
}
