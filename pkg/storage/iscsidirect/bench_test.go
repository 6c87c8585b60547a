package iscsidirect

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testiscsi"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// BenchmarkStorage times the LUNs of tgtd: lists, and copies of one to a folder.
func BenchmarkStorage(b *testing.B) {
	needs(b)
	s := testiscsi.New(b)
	target, top := s.Target(), b.TempDir()
	beside := filepath.Join(top, "beside")
	const size = 128 << 20
	copies := s.Target() // its own, so that lists count no others
	lun, file := 0, ""
	storagetest.Bench{
		Types:    []storage.Type{Type(), dir.Type()},
		Config:   "iscsidirect: it\n\tportal " + s.Portal + "\n\ttarget " + target.Name + "\n\niscsidirect: copies\n\tportal " + s.Portal + "\n\ttarget " + copies.Name + "\n\ndir: here\n\tpath " + top + "\n",
		Copies:   []string{"raw"},
		CopyTo:   "here",
		CopySize: size,
		CopyFrom: func(b *testing.B, source string) id.Volume {
			lun, file = copies.LUN(size)
			// Into the file that the target has open.
			if out, err := exec.CommandContext(b.Context(), "cp", "--sparse=always", source, file).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			return id.Volume{Storage: "copies", Name: "lun" + strconv.Itoa(lun)}
		},
		Copy: func(source, format string) []storagetest.Beside {
			from := "iscsi://" + s.Portal + "/" + copies.Name + "/" + strconv.Itoa(lun)
			return []storagetest.Beside{
				storagetest.Tool("qemu-img_convert", []string{"qemu-img", "convert", "-f", "raw", "-O", format, from, beside}, "rm", beside),
				storagetest.Tool("cp_of_its_file", []string{"cp", "--reflink=never", file, beside}, "rm", beside),
			}
		},
		Fill: func(b *testing.B, from, to int) {
			if to > 1000 {
				b.Skip("to give tgtd so many LUNs takes minutes")
			}
			for range to - from {
				target.LUN(1 << 20)
			}
		},
		Lists: []int{100, 1000, 10000},
		List:  []storagetest.Beside{storagetest.Tool("iscsi-ls_-s", []string{"iscsi-ls", "-s", "iscsi://" + s.Portal})},
	}.Run(b)
}
