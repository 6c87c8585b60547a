package nodeboot

import (
	"os"
	"os/exec"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// TestSector: the small guest, on any machine.
func TestSector(t *testing.T) {
	if testnode.Inside() {
		t.Skip("others do that here")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no qemu-system-x86_64 on this machine")
	}
	if os.Getuid() != 0 {
		t.Skip("starting a VM needs root")
	}
	w := New(t)
	w.Create("local:0,import-from=" + Sector(t))
	c := up(w, "100", "-")
	c.Type("x")
	down(w, c, "100")
	c = up(w, "100", "x")
	down(w, c, "100")
	w.QM("destroy", "100")
}
