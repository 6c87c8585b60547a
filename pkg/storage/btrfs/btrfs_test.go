package btrfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// volume makes a btrfs once for a test and gives out folders of it.
func folders(t *testing.T) func(t *testing.T) []string {
	top := storagetest.Loop(t, 1024, "mkfs.btrfs", "-q")
	return func(t *testing.T) []string {
		dir, err := os.MkdirTemp(top, "it")
		if err != nil {
			t.Fatal(err)
		}
		return []string{"path " + dir}
	}
}

func TestContract(t *testing.T) {
	storagetest.Run(t, storagetest.Options{
		Type:    btrfs.Type(),
		Formats: []string{"raw", "qcow2", "vmdk"},
		Section: folders(t),
		Small: func(t *testing.T) []string {
			return []string{"path " + filepath.Join(storagetest.Loop(t, 48, "mkfs.btrfs", "-q", "--mixed"), "s")}
		},
		Unlinked: true,
	})
}
