package status_test

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/status"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// TestAskHungQEMU asks a QEMU that takes connections and never answers, as one that
// waits for a dead storage does.
func TestAskHungQEMU(t *testing.T) {
	root := t.TempDir()
	dir := process.Below(root)
	if err := os.MkdirAll(string(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir.QMP(100))
	if err != nil {
		t.Skipf("no socket can be made here: %v", err)
	}
	defer l.Close()
	// What tells a QEMU is that its command line names its pid file.
	qemu := exec.Command("sh", "-c", "sleep 60; :", "-pidfile", dir.PID(100), "-")
	if err := qemu.Start(); err != nil {
		t.Skipf("no process to stand for QEMU: %v", err)
	}
	defer func() {
		_ = qemu.Process.Kill()
		_ = qemu.Wait()
	}()
	if err := os.WriteFile(dir.PID(100), []byte(strconv.Itoa(qemu.Process.Pid)), 0o644); err != nil {
		t.Fatal(err)
	}
	st, err := status.Of(100, schema.Params{}, dir, time.Now())
	if err != nil || !st.Running() {
		t.Fatalf("status %+v, %v", st, err)
	}
	asked := make(chan error, 1)
	go func() { asked <- st.Ask(t.Context(), dir) }()
	select {
	case err := <-asked:
		if err == nil || !strings.Contains(err.Error(), "got timeout") {
			t.Errorf("error %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for good")
	}
}
