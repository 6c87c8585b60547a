package lvmthin_test

import (
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/storage/lvmthin"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

func options(t *testing.T) []string {
	lvmtest.Empty(t)
	return []string{"vgname " + lvmtest.VG, "thinpool data", "content images,rootdir"}
}

func TestContract(t *testing.T) {
	lvmtest.Pool(t, "", "3g")
	storagetest.Run(t, storagetest.Options{Type: lvmthin.Type(), Unlinked: true, Section: options, Slow: true})
}
