package lvm_test

import (
	"os"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

func section(options ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		lvmtest.Empty(t)
		return append([]string{"vgname " + lvmtest.VG, "content images,rootdir"}, options...)
	}
}

func TestContract(t *testing.T) {
	lvmtest.Group(t, "")
	storagetest.Run(t, storagetest.Options{Type: lvm.Type(), Formats: []string{"raw"}, Section: section(), Slow: true})
}

func TestContractChain(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("the contract with images of another format: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	lvmtest.Group(t, "")
	storagetest.Run(t, storagetest.Options{
		Type: lvm.Type(), Formats: []string{"qcow2", "raw"}, Section: section("snapshot-as-volume-chain 1"), Slow: true,
	})
}
