package run_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// TestProgramEndsWithUs kills a process that runs a program: this test program, called
// again.
func TestProgramEndsWithUs(t *testing.T) {
	if os.Getenv("RUN_AND_WAIT") != "" {
		_ = run.Host{}.Run(t.Context(), run.Cmd{Path: "sh", Args: []string{"-c", "echo $$; while :; do sleep 1; done"}, Stdout: os.Stdout})
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestProgramEndsWithUs$")
	cmd.Env = append(os.Environ(), "RUN_AND_WAIT=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	pid, notNumber := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || notNumber != nil {
		t.Fatalf("%q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		// Where nobody reaps it, it stays as a zombie, without a command line.
		if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err != nil || len(text) == 0 {
			return
		}
	}
	t.Errorf("process %d goes on", pid)
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}
