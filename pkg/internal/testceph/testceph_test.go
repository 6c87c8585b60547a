package testceph_test

import (
	"os"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
)

// TestStart: a cluster comes up and answers. It is for work on this package alone, as
// others start one.
func TestStart(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("needs VIRTSMITH_TEST_ALL=1: the tests of the storages start a Ceph as well")
	}
	c := testceph.Start(t)
	c.RBD("create", "--size", "1", "x")
	if got := strings.TrimSpace(c.RBD("ls")); got != "x" {
		t.Errorf("listed %q", got)
	}
}
