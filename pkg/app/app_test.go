package app_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/app"
)

// TestRootOfOthers checks that the processes we start live in the same root as we do,
// also where it was given relative to our folder.
func TestRootOfOthers(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("VIRTSMITH_ROOT", "there")
	h, err := app.FromOS()
	if err != nil {
		t.Fatal(err)
	}
	// The folder may be known by another name.
	dir, err = filepath.Abs("there")
	if err != nil {
		t.Fatal(err)
	}
	if h.Root != dir {
		t.Errorf("root %s, want %s", h.Root, dir)
	}
	var told []string
	for _, pair := range h.Env {
		if value, ok := strings.CutPrefix(pair, "VIRTSMITH_ROOT="); ok {
			told = append(told, value)
		}
	}
	if len(told) != 1 || told[0] != dir {
		t.Errorf("others are told %q, want %s", told, dir)
	}
}

// TestNodeName: the name of the node is part of paths, which must not leave the root.
func TestNodeName(t *testing.T) {
	for name, ok := range map[string]bool{"pve1": true, "..": false, "../../etc": false, "a/b": false, "a.b": false, "a b": false} {
		t.Setenv("VIRTSMITH_NODE", name)
		if _, err := app.FromOS(); (err == nil) != ok || !ok && !strings.Contains(err.Error(), "VIRTSMITH_NODE") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
