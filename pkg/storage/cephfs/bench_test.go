package cephfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// BenchmarkStorage lists the files of a file system of Ceph, which ceph-fuse mounts. There
// are no volumes to make, clone or copy.
func BenchmarkStorage(b *testing.B) {
	if _, err := exec.LookPath("ceph-fuse"); err != nil {
		b.Skip(err)
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		b.Skip(err)
	}
	c := testceph.Start(b)
	c.FS()
	options := section(b, c, "")
	at := strings.TrimPrefix(options[len(c.Section())], "path ")
	folder := filepath.Join(at, "template/iso")
	storagetest.Bench{
		Types:   []storage.Type{Type()},
		Config:  "cephfs: it\n\tcontent iso\n\t" + strings.Join(options, "\n\t") + "\n",
		Secrets: map[string]string{"keyring": c.Secret()},
		Content: storage.ISO,
		Fill: func(b *testing.B, from, to int) {
			for i := from; i < to; i++ {
				f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%d.iso", i)))
				if err != nil {
					b.Fatal(err)
				}
				_ = f.Close()
			}
		},
		Lists: []int{1000, 10000},
		List:  []storagetest.Beside{storagetest.Tool("ls_-l", []string{"ls", "-l", folder})},
	}.Run(b)
}
