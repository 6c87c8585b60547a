package all_test

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/virtsmith/virtsmith/pkg/container/setup"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// Each archive of testdata holds a configuration, a root ("in NAME", "in NAME -> TARGET" for a
// link, "in NAME x" for a program, "in NAME/" for a folder) and what the set-up changes in it ("out …", with the mode
// where it is not 0644, and "gone NAME").
func TestTrees(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var nodes []node
			var config string
			kept := archive.Files[:0:0]
			for _, f := range archive.Files {
				name, in := strings.CutPrefix(f.Name, "in ")
				if f.Name == "config" {
					config = string(f.Data)
				}
				if in {
					nodes = append(nodes, nodeOf(name, string(f.Data)))
				}
				if in || f.Name == "config" {
					kept = append(kept, f)
				}
			}
			root, dir := build(t, nodes)
			before := tree(t, dir)
			for n := range 2 {
				ct, err := setup.Open(root, configOf(t, config), envOf(t))
				if err != nil {
					t.Fatal(err)
				}
				if err := ct.PostCreate(t.Context(), setup.Account{Hash: "$6$salt$hash", SSHKeys: "ssh-ed25519 AAAA me\n"}); err != nil {
					t.Fatal(err)
				}
				if err := ct.PreStart(t.Context()); err != nil {
					t.Fatal(err)
				}
				got := &txtar.Archive{Comment: archive.Comment, Files: append(slices.Clip(kept), changes(before, tree(t, dir))...)}
				if *update && n == 0 {
					if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
						t.Fatal(err)
					}
					archive = got
				}
				if diff := cmp.Diff(string(txtar.Format(archive)), string(txtar.Format(got))); diff != "" {
					t.Fatalf("run %d: %s", n+1, diff)
				}
			}
			// What is right already is not even written.
			was := tree(t, dir)
			ct, err := setup.Open(root, configOf(t, config), envOf(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := ct.PreStart(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, e := range tree(t, dir) {
				if e.inode != was[name].inode {
					t.Errorf("%s was written again", name)
				}
			}
		})
	}
}

func nodeOf(name, data string) node {
	if path, target, ok := strings.Cut(name, " -> "); ok {
		return node{Path: path, Type: "symlink", Target: target}
	}
	if path, ok := strings.CutSuffix(name, "/"); ok {
		return node{Path: path, Type: "dir"}
	}
	if path, ok := strings.CutSuffix(name, " x"); ok {
		return node{Path: path, Type: "file", Content: data, Mode: "0755"}
	}
	return node{Path: name, Type: "file", Content: data}
}

type entry struct {
	name, text string
	inode      uint64
}

// tree returns what is in a root, by name.
func tree(t *testing.T, dir string) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		e := entry{name: name, inode: info.Sys().(*syscall.Stat_t).Ino}
		switch {
		case d.IsDir():
			e.name += "/"
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			e.name += " -> " + to
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			e.text = string(data)
		}
		if perm := info.Mode().Perm(); d.Type()&fs.ModeSymlink == 0 && perm != 0o644 && (!d.IsDir() || perm != 0o755) {
			e.name += fmt.Sprintf(" %04o", perm)
		}
		all[name] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// changes lists what differs between two trees.
func changes(before, after map[string]entry) []txtar.File {
	var files []txtar.File
	for _, name := range slices.Sorted(maps.Keys(after)) {
		was, is := before[name], after[name]
		if was.name != is.name || was.text != is.text {
			text := is.text
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n(no line end)\n"
			}
			files = append(files, txtar.File{Name: "out " + is.name, Data: []byte(text)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, there := after[name]; !there {
			files = append(files, txtar.File{Name: "gone " + name})
		}
	}
	return files
}
