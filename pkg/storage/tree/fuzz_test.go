package tree

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// FuzzParse: no name leads out of the folder, and the name of an image can be written
// again from what was read.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"100/vm-100-disk-0.qcow2", "9000/base-9000-disk-0.qcow2/110/vm-110-disk-0.qcow2", "iso/x.iso", "vztmpl/x.tar.gz",
		"backup/vzdump-qemu-100-2025_01_02-03_04_05.vma.zst", "import/a.ova/b c.vmdk", "snippets/..", "../x", "1/..raw", "rootdir/1",
	} {
		f.Add(seed)
	}
	tr := aTree("/srv/it")
	f.Fuzz(func(t *testing.T, name string) {
		n, err := tr.Parse(name)
		if err != nil {
			return
		}
		path, err := tr.Path(name, "")
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		dir, _ := tr.Subdir(n.Content)
		if !strings.HasPrefix(path, dir+"/") || filepath.Clean(path) != path {
			t.Errorf("%q lies at %q", name, path)
		}
		if n.Content == storage.Images && n.Guest != 0 && n.Base == "" {
			if again, err := Parse(imageVolume(n)); err != nil || again != n {
				t.Errorf("%q is %+v, again %+v, %v", name, n, again, err)
			}
		}
	})
}
