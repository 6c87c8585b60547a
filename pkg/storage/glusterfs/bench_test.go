package glusterfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/glusterfs"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// BenchmarkStorage times a Gluster of one host, whose brick is in memory, through its mount.
func BenchmarkStorage(b *testing.B) {
	start(b)
	options := section(b, "gv0")
	at := strings.TrimPrefix(options[2], "path ")
	beside := filepath.Join(at, "beside")
	storagetest.Bench{
		Types:  []storage.Type{glusterfs.Type()},
		Config: "glusterfs: it\n\t" + strings.Join(options, "\n\t") + "\n",
		Format: "qcow2",
		Alloc:  []storagetest.Beside{storagetest.Tool("qemu-img_create", []string{"qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", beside, "4M"}, "rm", beside)},
		Clone: func(base id.Volume) []storagetest.Beside {
			of := filepath.Join(at, "images", base.Name)
			return []storagetest.Beside{storagetest.Tool("qemu-img_create_-b", []string{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", of, beside}, "rm", beside)}
		},
		Copies:   []string{"qcow2", "raw"},
		Copy:     storagetest.FolderCopies(at),
		CopySize: 64 << 20,
		Fill:     func(b *testing.B, from, to int) { fill(b, at, from, to) },
		Lists:    []int{1000},
		List:     []storagetest.Beside{storagetest.Tool("ls_-lR", []string{"ls", "-lR", filepath.Join(at, "images")})},
	}.Run(b)
}

// fill makes disks of as many guests, which are raw and empty.
func fill(b *testing.B, top string, from, to int) {
	b.Helper()
	for i := from; i < to; i++ {
		name := filepath.Join(top, fmt.Sprintf("images/%d/vm-%d-disk-0.raw", 1000+i, 1000+i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.Repeat("\x00", 512)), 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
