package process_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/qemu/process"
)

// TestClear clears one VM's files, below a root whose name would mean something in a
// pattern.
func TestClear(t *testing.T) {
	dir := process.Below(filepath.Join(t.TempDir(), "[a]*"))
	if err := dir.Clear(100); err != nil {
		t.Errorf("nothing is there: %v", err)
	}
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir.PID(100), dir.QMP(100), dir.PID(1000), dir.PID(10)} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := dir.Clear(100); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(string(dir))
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{"10.pid", "1000.pid"}, left); diff != "" {
		t.Error(diff)
	}
}
