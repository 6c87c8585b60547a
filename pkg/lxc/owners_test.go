package lxc_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// fakedVariable tells the test's own program which socket to make, as a user who is nobody.
const fakedVariable = "LXC_TEST_FAKED"

// TestFaked: a socket that some user has made is no container, one of root is.
func TestFaked(t *testing.T) {
	if name := os.Getenv(fakedVariable); name != "" {
		l, err := net.Listen("unix", "@"+name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("ready")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until nobody needs it any more
		l.Close()
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	path := filepath.Join(t.TempDir(), "lxc")
	real, err := net.Listen("unix", "@"+path+"/100/command")
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "vs") // where everybody gets to
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, "fake")
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestFaked$")
	cmd.Env, cmd.Dir = append(os.Environ(), fakedVariable+"="+path+"/101/command"), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		_ = cmd.Wait()
	}()
	if n, err := out.Read(make([]byte, 5)); n == 0 {
		t.Fatalf("the other user's socket: %v", err)
	}
	active, err := lxc.Active("/proc", path)
	if err != nil {
		t.Fatal(err)
	}
	if !active["100"] || active["101"] {
		t.Errorf("active: %v, want 100 alone", active)
	}
}
