package rbd

import (
	"bufio"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// boots: a VM starts from a linked clone. As long as it runs, its image stays; a state of
// it can be kept.
func boots(t *testing.T, c *testceph.Cluster) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	disk := filepath.Join(testguest.Dir(t), "guest.raw")
	w := external(t, c)
	made, err := w.Copy(w.ctx, storage.Copy{Source: disk, Storage: "it", Guest: 9000, Format: "raw"})
	w.ok(err)
	base, err := w.CreateBase(w.ctx, made)
	w.ok(err)
	v, err := w.Clone(w.ctx, base, 100, "")
	w.ok(err)
	node, err := w.Blockdev(w.ctx, v)
	w.ok(err)
	node["node-name"] = "disk"
	text, err := json.Marshal(node)
	w.ok(err)
	vm := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-display", "none", "-nodefaults",
		"-serial", "stdio", "-blockdev", string(text), "-device", "virtio-blk-pci,drive=disk")
	out, err := vm.StdoutPipe()
	w.ok(err)
	var said strings.Builder
	vm.Stderr = &said
	w.ok(vm.Start())
	dead := time.AfterFunc(2*time.Minute, func() { _ = vm.Process.Kill() })
	defer dead.Stop()
	ready := false
	for lines := bufio.NewScanner(out); !ready && lines.Scan(); {
		ready = strings.Contains(lines.Text(), testguest.Ready)
	}
	if !ready {
		_ = vm.Process.Kill()
		t.Fatalf("the guest does not start: %v\n%s", vm.Wait(), &said)
	}
	if err := w.Free(w.ctx, v); !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), "is in use by 127.0.0.1:") {
		t.Errorf("removing the disk of a running guest: %v", err)
	}
	w.ok(w.Snapshot(w.ctx, v, "running"))
	w.ok(w.DeleteSnapshot(w.ctx, v, "running", true))
	w.ok(vm.Process.Signal(syscall.SIGTERM))
	_ = vm.Wait()
	w.ok(w.Free(w.ctx, v))
	w.ok(w.Free(w.ctx, base))
}
