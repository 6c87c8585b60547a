package volumes

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCopyTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes all kinds of files")
	}
	a, b := t.TempDir(), t.TempDir()
	plant(t, a)
	src, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	stats, err := copyTree(t.Context(), src, dst, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	sameTrees(t, a, b)
	if stats.files == 0 || stats.folders == 0 || stats.others == 0 {
		t.Errorf("%+v", stats)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(b, "holes"), &st); err != nil || st.Blocks > 1024 {
		t.Errorf("the file with holes takes %d blocks: %v", st.Blocks, err)
	}
}
