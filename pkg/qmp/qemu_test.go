package qmp_test

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// start runs a QEMU that never runs a guest unless told to, and returns its
// process and the path of its monitor socket.
func start(t testing.TB, args ...string) (*exec.Cmd, string) {
	t.Helper()
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("qemu-system-x86_64 is not installed")
	}
	socket := filepath.Join(t.TempDir(), "qmp")
	cmd := exec.Command(binary, append([]string{
		"-nodefaults", "-display", "none", "-accel", "tcg", "-qmp", "unix:" + socket + ",server=on,wait=off",
	}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() && stderr.Len() > 0 {
			t.Logf("qemu: %s", stderr.String())
		}
	})
	return cmd, socket
}

func dial(t testing.TB, socket string) *qmp.Monitor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := qmp.DialStarting(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// none is a QEMU without a machine: it starts fast and has a whole monitor.
func none(t testing.TB, args ...string) *qmp.Monitor {
	_, socket := start(t, append([]string{"-S", "-machine", "none"}, args...)...)
	return dial(t, socket)
}
