package transcript

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Main is the TestMain of a package whose test binary is a tool too: when it is called by the
// tool's name, or, as tools call themselves for their tasks, with a hidden word that begins
// with two dashes.
func Main(m *testing.M, name string, main func() int) {
	if filepath.Base(os.Args[0]) == name || len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "--") && !strings.HasPrefix(os.Args[1], "--test.") {
		os.Exit(main())
	}
	os.Exit(m.Run())
}

// Program gives the test binary the name of the tool that it is, and returns the path.
func Program(t testing.TB, name string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	return link
}
