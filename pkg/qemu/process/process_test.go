package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// The test binary is the supervisor too, told so by its environment. When it is,
// it leaves a note of how QEMU went.
func TestMain(m *testing.M) {
	if note := os.Getenv("VIRTSMITH_TEST_SUPERVISOR"); note != "" {
		err := Supervise(os.Stdin, os.NewFile(3, "report"), func(_ context.Context, _ Spec, end End) error {
			return os.WriteFile(note, fmt.Appendf(nil, "%+v", end), 0o600)
		})
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type bench struct {
	spec Spec
	note string
	l    Launcher
}

func newBench(t *testing.T, more ...string) bench {
	t.Helper()
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("no qemu-system-x86_64 on this machine")
	}
	root := testroot.New(t)
	dir := Below(root)
	argv := append([]string{
		program, "-machine", "none", "-nodefaults", "-display", "none", "-pidfile", dir.PID(100), "-no-shutdown",
		"-chardev", "socket,id=qmp,path=" + dir.QMP(100) + ",server=on,wait=off", "-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=ev,path=" + dir.Events(100) + ",reconnect=5", "-mon", "chardev=ev,mode=control",
	}, more...)
	note := filepath.Join(root, "note")
	return bench{
		spec: Spec{VM: 100, Argv: argv, Dir: dir, Log: filepath.Join(root, "log", "100.log")},
		note: note,
		l:    Launcher{Argv: []string{os.Args[0]}, Env: append(os.Environ(), "VIRTSMITH_TEST_SUPERVISOR="+note)},
	}
}

// end waits for the note that the supervisor writes.
func (b bench) end(t *testing.T) string {
	t.Helper()
	for range 500 {
		if text, err := os.ReadFile(b.note); err == nil && len(text) > 0 {
			return string(text)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("nothing was cleared up")
	return ""
}

func (b bench) launch(t *testing.T) *qmp.Monitor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := b.l.Launch(ctx, b.spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLife(t *testing.T) {
	b := newBench(t)
	m := b.launch(t)
	pid, err := b.spec.Dir.Running(100)
	if err != nil || pid == 0 {
		t.Fatalf("running: %d, %v", pid, err)
	}
	if err := m.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.spec.Dir.AwaitEnd(t.Context(), 100); err != nil {
		t.Error(err)
	}
	if got := b.end(t); got != "{Clean:true Guest:false}" {
		t.Errorf("ended %s", got)
	}
}

func TestKilled(t *testing.T) {
	b := newBench(t)
	m := b.launch(t)
	defer m.Close()
	pid, err := b.spec.Dir.Running(100)
	if err != nil || pid == 0 {
		t.Fatalf("running: %d, %v", pid, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := b.end(t); got != "{Clean:false Guest:false}" {
		t.Errorf("ended %s", got)
	}
	if pid, err := b.spec.Dir.Running(100); pid != 0 || err != nil {
		t.Errorf("after its death: %d, %v", pid, err)
	}
}

func TestDiesStarting(t *testing.T) {
	b := newBench(t, "-device", "nonsense")
	_, err := b.l.Launch(t.Context(), b.spec)
	if !errors.Is(err, ErrDied) || !strings.Contains(err.Error(), "'nonsense' is not a valid device model name") {
		t.Errorf("got %v", err)
	}
	b.end(t)
}

func TestNoProgram(t *testing.T) {
	b := newBench(t)
	b.spec.Argv[0] = "/nonexistent/qemu"
	if _, err := b.l.Launch(t.Context(), b.spec); !errors.Is(err, ErrDied) || !strings.Contains(err.Error(), "/nonexistent/qemu") {
		t.Errorf("got %v", err)
	}
}

func TestGivenUp(t *testing.T) {
	b := newBench(t)
	b.spec.Argv = []string{"/bin/sleep", "1000"} // never answers
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := b.l.Launch(ctx, b.spec); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	b.end(t)
}

func TestSupervisorKilled(t *testing.T) {
	b := newBench(t)
	m := b.launch(t)
	pid, _ := b.spec.Dir.Running(100)
	parent, err := parentOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Status(t.Context()); err != nil {
		t.Errorf("QEMU without its supervisor: %v", err)
	}
	if err := m.Quit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.spec.Dir.AwaitEnd(t.Context(), 100); err != nil {
		t.Error(err)
	}
}

func parentOf(pid int) (parent int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	_, err = fmt.Sscanf(rest, "%*c %d", &parent)
	if err != nil {
		var state string
		_, err = fmt.Sscan(rest, &state, &parent)
	}
	return parent, err
}

func TestLongPath(t *testing.T) {
	d := Below("/" + strings.Repeat("x", 120))
	if err := d.CheckPaths(100); err == nil || !strings.Contains(err.Error(), "VIRTSMITH_ROOT") {
		t.Errorf("got %v", err)
	}
}
