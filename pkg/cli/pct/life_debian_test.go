package pct

import (
	"os"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testct"
)

// TestLifeDebian goes with a container of Debian, which systemd brings up, from its template to
// its end.
func TestLifeDebian(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("takes long: set VIRTSMITH_TEST_ALL")
	}
	testct.Require(t)
	life(t, lived{
		template: testct.Debian(t), memory: 256, ready: "systemctl is-active multi-user.target",
		hog: []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=600M", "count=1"},
	})
}
