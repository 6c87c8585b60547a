package cmdline_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// beside runs a program beside QEMU until the test ends, and waits for its socket.
func beside(t *testing.T, socket, program string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s made no %s", program, socket)
		}
	}
}

func TestSidecars(t *testing.T) {
	for _, c := range []struct {
		name, config string
		help         func(t *testing.T, w *world)
	}{
		{"tpm", "tpmstate0: local:100/t.raw,version=v2.0\nmachine: q35\nbios: ovmf", func(t *testing.T, w *world) {
			beside(t, w.Paths.TPM, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+w.dir, "--ctrl", "type=unixio,path="+w.Paths.TPM, "--terminate")
		}},
		{"virtiofs", "virtiofs0: share\nmemory: 256", func(t *testing.T, w *world) {
			w.DirMapping = func(string) (string, error) { return w.dir, nil }
			program := "/usr/lib/qemu/virtiofsd"
			beside(t, w.Paths.VirtioFS(0), program, "--socket-path="+w.Paths.VirtioFS(0), "-o", "source="+w.dir, "-o", "sandbox=chroot", "-f")
		}},
		{"virtiofs with numa", "virtiofs0: share\nmemory: 256\nnuma: 1\nsockets: 2\nmachine: q35", func(t *testing.T, w *world) {
			w.DirMapping = func(string) (string, error) { return w.dir, nil }
			program := "/usr/lib/qemu/virtiofsd"
			beside(t, w.Paths.VirtioFS(0), program, "--socket-path="+w.Paths.VirtioFS(0), "-o", "source="+w.dir, "-o", "sandbox=chroot", "-f")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if err := os.WriteFile(filepath.Join(w.dir, "t.raw"), make([]byte, 4<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			c.help(t, w)
			m := w.start(t, append(w.compose(t, c.config).Argv, "-S"))
			if _, err := m.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := m.Quit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
