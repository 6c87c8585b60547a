package rbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// TestKernelNode is what the kernel does with images.
func TestKernelNode(t *testing.T) {
	testnode.Need(t, "rbd")
	slow(t)
	c := testceph.Start(t)
	t.Run("Mapped", func(t *testing.T) { mappedByKernel(t, c) })
	t.Run("Contract", func(t *testing.T) {
		t.Setenv("VIRTSMITH_TEST_ALL", "") // where all is emulated, few rounds are enough
		spaces := 0
		storagetest.Run(t, storagetest.Options{
			Type: Type(),
			Section: func(t *testing.T) []string {
				spaces++
				space := fmt.Sprintf("kernel%d", spaces)
				c.RBD("namespace", "create", testceph.Pool+"/"+space)
				t.Cleanup(func() { unmapAll(t, c) })
				return []string{"monhost " + c.Legacy, "krbd 1", "namespace " + space}
			},
			Secrets: map[string]string{"keyring": c.Secret()},
			Slow:    true,
		})
	})
}

// unmapAll takes away what a test has left mapped.
func unmapAll(t *testing.T, c *testceph.Cluster) {
	t.Helper()
	devices, _ := os.ReadDir("/sys/bus/rbd/devices")
	for _, d := range devices {
		c.RBD("unmap", "/dev/rbd"+d.Name())
	}
}

// mappedByKernel: an image is a block device as long as it is active; one that is open
// stays.
func mappedByKernel(t *testing.T, c *testceph.Cluster) {
	w := opened(t, c, c.Legacy, "krbd 1")
	t.Cleanup(func() { unmapAll(t, c) })
	v := w.alloc(100)
	for range 2 {
		w.ok(w.ActivateVolumes(w.ctx, "", v))
	}
	path, err := w.Path(w.ctx, v, "")
	w.ok(err)
	if want := "/dev/rbd/rbd/mapped/" + v.Name; path != want {
		t.Errorf("the device is %s, want %s", path, want)
	}
	w.ok(os.WriteFile(path, []byte("data"), 0o600))
	w.ok(w.Snapshot(w.ctx, v, "one"))
	w.ok(w.ActivateVolumes(w.ctx, "one", v))
	state, err := w.Path(w.ctx, v, "one")
	w.ok(err)
	if text, err := os.ReadFile(state); err != nil || !strings.HasPrefix(string(text), "data") {
		t.Errorf("%s: %v, %.10q", state, err, text)
	}
	w.ok(w.DeactivateVolumes(w.ctx, "one", v))
	w.ok(os.WriteFile(path, []byte("more"), 0o600))
	open, err := os.Open(path)
	w.ok(err)
	if err := w.Rollback(w.ctx, v, "one"); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("rolling back what is open: %v", err)
	}
	if err := w.Free(w.ctx, v); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("removing what is open: %v", err)
	}
	w.ok(open.Close())
	w.ok(w.Rollback(w.ctx, v, "one"))
	w.ok(w.ActivateVolumes(w.ctx, "", v))
	if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), "data") {
		t.Errorf("after a rollback: %v, %.10q", err, text)
	}
	w.ok(w.Resize(w.ctx, v, 8<<20, true))
	text, err := os.ReadFile(path)
	if err != nil || len(text) != 8<<20 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	// What was mapped through another name of the host is found as well.
	w.ok(os.RemoveAll(filepath.Dir(path)))
	w.ok(w.ActivateVolumes(w.ctx, "", v))
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	w.ok(w.DeactivateVolumes(w.ctx, "", v))
	if devices, _ := os.ReadDir("/sys/bus/rbd/devices"); len(devices) > 0 {
		t.Errorf("mapped still: %v", devices)
	}
	w.ok(w.Free(context.WithoutCancel(w.ctx), v))
}
