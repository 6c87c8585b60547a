package nodeboot

import (
	"os"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// mapped lists the images of Ceph that the kernel has as devices.
func mapped(t testing.TB) []string {
	t.Helper()
	found, err := os.ReadDir("/sys/bus/rbd/devices")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range found {
		name, _ := os.ReadFile("/sys/bus/rbd/devices/" + d.Name() + "/name") // it may go
		names = append(names, strings.TrimSpace(string(name)))
	}
	return names
}

// TestKRBD boots a VM from an image in Ceph that the kernel maps. It is mapped as long as
// the VM runs; a state of it can be kept, and gone back to.
func TestKRBD(t *testing.T) {
	long(t)
	testnode.Need(t, "rbd")
	c := testceph.Start(t)
	w := New(t)
	w.PVESM("add", "rbd", "mine", "--monhost", c.Legacy, "--krbd", "1", "--keyring", c.Keyring, "--content", "images")
	w.Cleanup(func() {
		for _, name := range mapped(t) {
			t.Errorf("mapped still: %s", name)
			c.RBD("unmap", testceph.Pool+"/"+name)
		}
	})
	w.Create(imported(Sector(t)))
	if names := mapped(t); len(names) > 0 {
		t.Errorf("mapped while nothing runs: %q", names)
	}
	console := up(w, "100", "-")
	if names := mapped(t); len(names) != 1 || names[0] != "vm-100-disk-0" {
		t.Errorf("mapped while it runs: %q", names)
	}
	console.Type("x")
	w.QM("snapshot", "100", "one")
	console.Type("y")
	w.QM("disk", "resize", "100", "scsi0", "+4M")
	down(w, console, "100")
	if names := mapped(t); len(names) > 0 {
		t.Errorf("mapped after it was stopped: %q", names)
	}
	w.QM("rollback", "100", "one")
	console = up(w, "100", "x")
	down(w, console, "100")
	w.QM("destroy", "100")
	if left := strings.TrimSpace(c.RBD("ls")); left != "" {
		t.Errorf("left: %s", left)
	}
}
