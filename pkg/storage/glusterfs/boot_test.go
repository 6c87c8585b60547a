package glusterfs_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
)

// TestBoot: a VM boots from a disk of a Gluster volume, and leaves nothing there.
func TestBoot(t *testing.T) {
	start(t)
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("boots a guest: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip(err)
	}
	guest := filepath.Join(testguest.Dir(t), "guest.raw")
	root := testroot.New(t)
	program := filepath.Join(root, "qm")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", conformance.Root(t), "-o", program, "./cmd/qm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := append(section(t, "gv0"), "content images")
	at := strings.TrimPrefix(lines[2], "path ")
	if err := os.MkdirAll(filepath.Join(root, "etc/pve"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/pve/storage.cfg"), []byte("glusterfs: gl\n\t"+strings.Join(lines, "\n\t")+"\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE=pve1")
		return cmd
	}
	qm := func(args ...string) {
		t.Helper()
		if out, err := command(args...).CombinedOutput(); err != nil {
			t.Fatalf("qm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	qm("create", "100", "--memory", "256", "--ostype", "l26", "--serial0", "socket", "--vga", "serial0", "--scsi0", "gl:0,format=qcow2,import-from="+guest)
	t.Cleanup(func() { _ = command("stop", "100").Run() })
	qm("start", "100")
	terminal := command("terminal", "100")
	keys, err := terminal.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	screen, err := terminal.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := terminal.Start(); err != nil {
		t.Fatal(err)
	}
	dead := time.AfterFunc(2*time.Minute, func() { _ = terminal.Process.Kill() })
	defer dead.Stop()
	var said strings.Builder
	up := false
	for lines := bufio.NewScanner(screen); !up && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		up = strings.Contains(lines.Text(), testguest.Ready)
	}
	_, err = io.WriteString(keys, "\x0f") // Ctrl+O leaves
	_, _ = io.Copy(io.Discard, screen)
	if err := errors.Join(err, terminal.Wait()); err != nil || !up {
		t.Fatalf("the guest does not say that it is up: %v\n%s", err, &said)
	}
	qm("stop", "100")
	qm("destroy", "100")
	if left, err := filepath.Glob(at + "/images/*"); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
