// Package conformance finds the recorded behaviour that tests hold the project to.
//
// The cases are data kept beside the project, not in it. They are looked for at
// $VIRTSMITH_CONFORMANCE, else at ../shared/conformance from the project root; a
// test that needs them skips where they are absent.
package conformance

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Load decodes the suite of the given name, such as "guest/common-upid", into
// the value into points to. It skips the test where the suite is absent.
func Load(t testing.TB, suite string, into any) {
	t.Helper()
	raw, err := os.ReadFile(Path(t, suite+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("conformance suite %s is not on this machine", suite)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("conformance suite %s: %v", suite, err)
	}
}

// Path returns where the file of the given name below the conformance folder
// is, or would be.
func Path(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("VIRTSMITH_CONFORMANCE"); dir != "" {
		return filepath.Join(dir, name)
	}
	return filepath.Join(Root(t), "..", "shared", "conformance", name)
}

// Spec returns where the file of the given name of the interface specification
// is, or would be: beside the conformance folder.
func Spec(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(filepath.Dir(Path(t, "")), "spec", name)
}

// Root returns the project root: the nearest folder upwards that holds go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = up
	}
}
