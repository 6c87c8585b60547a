package dir_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

func TestContract(t *testing.T) {
	storagetest.Run(t, storagetest.Options{
		Type:    dir.Type(),
		Section: func(t *testing.T) []string { return []string{"path " + t.TempDir()} },
		Small:   func(t *testing.T) []string { return []string{"path " + storagetest.Tmpfs(t, 32)} },
	})
}

// TestContractOfChains: the same with snapshots that are files of their own.
func TestContractOfChains(t *testing.T) {
	const on = "snapshot-as-volume-chain 1"
	storagetest.Run(t, storagetest.Options{
		Type:    dir.Type(),
		Section: func(t *testing.T) []string { return []string{"path " + t.TempDir(), on} },
		Small:   func(t *testing.T) []string { return []string{"path " + storagetest.Tmpfs(t, 32), on} },
		Formats: []string{"qcow2"},
	})
}

func TestChain(t *testing.T) {
	storagetest.Chain(t, storagetest.Options{
		Type:    dir.Type(),
		Section: func(t *testing.T) []string { return []string{"path " + t.TempDir(), "snapshot-as-volume-chain 1"} },
	})
}

func serve(cfg string) *storage.Service {
	return storage.New(storage.Options{
		Types: []storage.Type{dir.Type()}, Runner: run.Host{},
		Config: func(context.Context) (string, error) { return cfg, nil },
	})
}

// TestFolders: which folders activation makes.
func TestFolders(t *testing.T) {
	for _, c := range []struct {
		name, options string
		want          []string
	}{
		{"default", "", []string{"it", "it/images", "it/private"}},
		{"contents", "\tcontent iso,backup\n", []string{"it", "it/dump", "it/template", "it/template/iso"}},
		{"none", "\tcontent none\n", []string{"it"}},
		{"elsewhere", "\tcontent images\n\tcontent-dirs images=disks/vm\n", []string{"it", "it/disks", "it/disks/vm"}},
		{"only the folder", "\tcreate-subdirs 0\n", []string{"it"}},
		{"nothing", "\tmkdir 0\n", nil},
		{"nothing, newer word", "\tcreate-base-path no\n", nil},
		{"newer word wins", "\tmkdir 0\n\tcreate-base-path 1\n", []string{"it"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			err := serve("dir: it\n\tpath "+root+"/it\n"+c.options).Activate(t.Context(), "it")
			if (err == nil) != (c.want != nil) {
				t.Errorf("activate: %v", err)
			}
			var got []string
			_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, _ error) error {
				if rel, _ := filepath.Rel(root, path); rel != "." {
					got = append(got, rel)
				}
				return nil
			})
			if !slices.Equal(got, c.want) {
				t.Errorf("made %q, want %q", got, c.want)
			}
		})
	}
}

func TestTwoContentsInOneFolder(t *testing.T) {
	root := t.TempDir()
	err := serve("dir: it\n\tpath "+root+"\n\tcontent iso,vztmpl\n\tcontent-dirs iso=x,vztmpl=x\n").Activate(t.Context(), "it")
	if err == nil {
		t.Error("two contents share a folder")
	}
}

func TestMountpoint(t *testing.T) {
	mounted := storagetest.Tmpfs(t, 1)
	plain := t.TempDir()
	for _, c := range []struct {
		name, path, option string
		ok                 bool
	}{
		{"itself", mounted, "yes", true},
		{"above", mounted + "/sub", mounted, true},
		{"not mounted", plain, "yes", false},
		{"above not mounted", plain + "/sub", plain, false},
		{"not asked", plain, "no", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := serve("dir: it\n\tpath "+c.path+"\n\tis_mountpoint "+c.option+"\n").Activate(t.Context(), "it")
			if (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}
