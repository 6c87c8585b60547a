package app_test

import (
	"path/filepath"
	"slices"
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

// TestSystemPrograms: what makes file systems and networks is found, also where it is not
// looked for, as by cron.
func TestSystemPrograms(t *testing.T) {
	for given, want := range map[string]string{
		"/own/bin:/usr/bin": "/own/bin:/usr/bin:/usr/sbin:/sbin",
		"/sbin:/usr/sbin":   "/sbin:/usr/sbin",
		"":                  "/usr/sbin:/usr/bin:/sbin:/bin",
	} {
		t.Setenv("PATH", given)
		h, err := app.FromOS()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(h.Env, "PATH="+want) {
			t.Errorf("PATH=%s: others do not get PATH=%s: %q", given, want, h.Env)
		}
	}
}
