package testguest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
)

func TestDir(t *testing.T) {
	dir := testguest.Dir(t)
	for _, name := range []string{"vmlinuz", "initrd.img", "guest.raw", "guest.iso"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() < 1<<20 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}
