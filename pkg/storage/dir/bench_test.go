package dir_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// BenchmarkStorage times a folder beside bare tools.
func BenchmarkStorage(b *testing.B) {
	top := b.TempDir()
	beside := filepath.Join(top, "beside")
	storagetest.Bench{
		Types:  []storage.Type{dir.Type()},
		Config: "dir: it\n\tpath " + top + "\n",
		Format: "qcow2",
		Alloc: []storagetest.Beside{
			storagetest.Tool("qemu-img_create", []string{"qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", beside, "4M"}, "rm", beside),
		},
		Clone: func(base id.Volume) []storagetest.Beside {
			of := filepath.Join(top, "images", base.Name)
			return []storagetest.Beside{storagetest.Tool("qemu-img_create_-b", []string{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", of, beside}, "rm", beside)}
		},
		Copies: []string{"qcow2", "raw"},
		Copy:   storagetest.FolderCopies(top),
		Fill:   func(b *testing.B, from, to int) { fill(b, top, from, to) },
		Lists:  []int{1000, 10000},
		List:   []storagetest.Beside{storagetest.Tool("ls_-lR", []string{"ls", "-lR", filepath.Join(top, "images")})},
	}.Run(b)
}

// fill makes disks of as many guests.
func fill(b *testing.B, top string, from, to int) {
	b.Helper()
	one := filepath.Join(b.TempDir(), "one")
	if out, err := exec.CommandContext(b.Context(), "qemu-img", "create", "-f", "qcow2", one, "1G").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	content, err := os.ReadFile(one)
	if err != nil {
		b.Fatal(err)
	}
	for i := from; i < to; i++ {
		name := filepath.Join(top, fmt.Sprintf("images/%d/vm-%d-disk-0.qcow2", 1000+i, 1000+i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, content[:512], 0o600); err != nil {
			b.Fatal(err)
		}
	}
}
