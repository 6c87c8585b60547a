package dir_test

import (
	"testing"

	"github.com/virtsmith/virtsmith/pkg/storage/dir"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

func TestContract(t *testing.T) {
	storagetest.Run(t, storagetest.Options{
		Type:    dir.Type(),
		Section: func(t *testing.T) []string { return []string{"path " + t.TempDir()} },
		Small:   func(t *testing.T) []string { return []string{"path " + storagetest.Tmpfs(t, 32)} },
	})
}
