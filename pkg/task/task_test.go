package task

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// TestMain makes the test program its own worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "task-worker" {
		h := &Host{Root: os.Args[2], Node: "pve1", Stderr: os.Stderr}
		os.Exit(h.Work(context.Background(), os.Stdin, labour))
	}
	os.Exit(m.Run())
}

// labour is the work that workers of these tests can do.
func labour(ctx context.Context, o Order, log io.Writer) error {
	switch o.Method {
	case "say":
		fmt.Fprint(log, o.Params["text"])
	case "say and wait":
		fmt.Fprint(log, o.Params["text"])
		<-ctx.Done()
		return ctx.Err()
	case "read":
		fmt.Fprintf(log, "read %q\n", o.Stdin)
	case "fail":
		fmt.Fprintln(log, "half way")
		return errors.New(o.Params["error"])
	case "panic":
		panic("out of tune")
	case "show argv":
		argv, err := os.ReadFile("/proc/self/cmdline")
		fmt.Fprintf(log, "%s\n", strings.ReplaceAll(string(argv), "\x00", " "))
		return err
	case "wait":
		fmt.Fprintln(log, "waiting")
		<-ctx.Done()
		fmt.Fprintln(log, "undone")
		return fmt.Errorf("wait: %w", ctx.Err())
	case "wait and succeed":
		fmt.Fprintln(log, "waiting")
		<-ctx.Done()
	case "be stubborn":
		child := exec.Command("sleep", "600")
		child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := child.Start(); err != nil {
			return err
		}
		fmt.Fprintf(log, "child %d\n", child.Process.Pid)
		select {}
	case "print past the log":
		fmt.Println("on stdout")
		fmt.Fprint(os.Stderr, "on stderr, unfinished")
	case "fill":
		for range 300 {
			fmt.Fprintf(log, "%s\n", strings.Repeat("x", 1023))
		}
		return errors.New("it is all too much")
	case "exit":
		os.Exit(3)
	}
	return nil
}

func newHost(t *testing.T) *Host {
	t.Helper()
	root := t.TempDir()
	return &Host{Root: root, Node: "pve1", Command: []string{executable(t), "task-worker", root}, Stderr: os.Stderr}
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func spec(method string, params ...string) Spec {
	s := Spec{Type: "qmtest", ID: "100", User: "root@pam", Method: method, Params: schema.Params{}}
	for i := 0; i < len(params); i += 2 {
		s.Params[params[i]] = params[i+1]
	}
	return s
}

func readLog(t *testing.T, h *Host, task id.Task) string {
	t.Helper()
	text, err := os.ReadFile(h.LogPath(task))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		spec         Spec
		out, log     string
		exit, errors string
	}{
		"success":                     {spec("say", "text", "hello\n"), "hello\n", "hello\nTASK OK\n", "OK", ""},
		"nothing to say":              {spec("say"), "", "TASK OK\n", "OK", ""},
		"no line end":                 {spec("say", "text", "50%"), "50%\n", "50%\nTASK OK\n", "OK", ""},
		"failure":                     {spec("fail", "error", "no room"), "half way\n", "half way\nTASK ERROR: no room\n", "no room", "no room"},
		"failure in many lines":       {spec("fail", "error", "a\nb\n"), "half way\n", "half way\nTASK ERROR: a b\n", "a b", "a\nb\n"},
		"failure without a word":      {spec("fail"), "half way\n", "half way\nTASK ERROR: unknown error\n", "unknown error", ""},
		"warnings":                    {spec("say", "text", "WARN: a\nb WARN: c\nWARN: d\n"), "WARN: a\nb WARN: c\nWARN: d\n", "WARN: a\nb WARN: c\nWARN: d\nTASK WARNINGS: 2\n", "WARNINGS: 2", ""},
		"talk that looks like an end": {spec("say", "text", "TASK OK\nTASK ERROR: not yet\n"), "TASK OK\nTASK ERROR: not yet\n", "TASK OK\nTASK ERROR: not yet\nTASK OK\n", "OK", ""},
		"past the log":                {spec("print past the log"), "on stdout\non stderr, unfinished\n", "on stdout\non stderr, unfinished\nTASK OK\n", "OK", ""},
		"dies":                        {spec("exit"), "", "", Unexpected, Unexpected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			var out strings.Builder
			task, err := h.Run(t.Context(), c.spec, &out)
			failed := c.exit != "OK" && !strings.HasPrefix(c.exit, "WARNINGS")
			if failed != (err != nil) || err != nil && err.Error() != c.errors {
				t.Errorf("error %v, want %q", err, c.errors)
			}
			if diff := cmp.Diff(c.out, out.String()); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.log, readLog(t, h, task)); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
			status, err := h.Status(task)
			if diff := cmp.Diff(Status{Exit: c.exit}, status); diff != "" || err != nil {
				t.Errorf("status (-want +got):\n%s %v", diff, err)
			}
			wantLists(t, h, task, c.exit)
		})
	}
}

// wantLists wants the one task that a host has had in both lists.
func wantLists(t *testing.T, h *Host, task id.Task, exit string) {
	t.Helper()
	active, err := h.Active(t.Context())
	if err != nil || len(active) != 1 || active[0].Task != task || active[0].Status != exit || active[0].End == 0 {
		t.Errorf("active: %v, %v", active, err)
	}
	var archive []Entry
	for e, err := range h.Archive() {
		if err != nil {
			t.Error(err)
		}
		archive = append(archive, e)
	}
	if len(archive) != 1 || archive[0].Task != task || archive[0].Status != exit {
		t.Errorf("archive: %v", archive)
	}
	want := fmt.Sprintf("%s %08X %s\n", task, archive[0].End, exit)
	if text, err := os.ReadFile(h.dir("index")); err != nil || string(text) != want {
		t.Errorf("index: %q, %v", text, err)
	}
	want = fmt.Sprintf("%s 1 %08X %s\n", task, archive[0].End, exit)
	if text, err := os.ReadFile(h.dir("active")); err != nil || string(text) != want {
		t.Errorf("active: %q, %v", text, err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	h := newHost(t)
	_, err := h.Run(t.Context(), spec("panic"), io.Discard)
	if err == nil || err.Error() != "internal error: out of tune" {
		t.Errorf("error %v", err)
	}
}

func TestSecretsStayOffTheCommandLine(t *testing.T) {
	h := newHost(t)
	s := spec("show argv", "password", "hunter2")
	s.Stdin = []byte("hunter2")
	var out strings.Builder
	if _, err := h.Run(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), " qmtest:100:root@pam: \n") || strings.Contains(out.String(), "hunter2") {
		t.Errorf("command line %q", out.String())
	}
	s.Method = "read"
	out.Reset()
	if _, err := h.Run(t.Context(), s, &out); err != nil || out.String() != "read \"hunter2\"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestLargeOrder(t *testing.T) {
	h := newHost(t)
	text := strings.Repeat("a line of text\n", 100_000)
	var out strings.Builder
	if _, err := h.Run(t.Context(), spec("say", "text", text), &out); err != nil || out.String() != text {
		t.Errorf("%d bytes of %d, %v", out.Len(), len(text), err)
	}
}

func TestOrderKeepsBytes(t *testing.T) {
	h := newHost(t)
	text := "\xe9t\xe9 \x00 \u2028 <&>"
	var out strings.Builder
	if _, err := h.Run(t.Context(), spec("say", "text", text), &out); err != nil || strings.TrimSuffix(out.String(), "\n") != text {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// TestTalkIsNoResult lets a worker that works still say what would be the result.
func TestTalkIsNoResult(t *testing.T) {
	h := newHost(t)
	task := start(t, h, spec("say and wait", "text", "TASK OK\n"))
	waitFor(t, h, task, "TASK OK\n")
	if status, err := h.Status(task); err != nil || !status.Running {
		t.Errorf("status %+v, %v", status, err)
	}
	if active, err := h.Active(t.Context()); err != nil || len(active) != 1 || active[0].Status != "" {
		t.Errorf("active %+v, %v", active, err)
	}
	if err := h.Stop(t.Context(), task, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if status, err := h.Wait(t.Context(), task); err != nil || status.Exit != "received interrupt" {
		t.Errorf("status %+v, %v", status, err)
	}
	wantLists(t, h, task, "received interrupt")
}

// waitFor waits until the log of a task holds text.
func waitFor(t *testing.T, h *Host, task id.Task, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if raw, err := os.ReadFile(h.LogPath(task)); err == nil && strings.Contains(string(raw), text) {
			return
		}
	}
	t.Fatalf("the log never said %q", text)
}

func start(t *testing.T, h *Host, s Spec) id.Task {
	t.Helper()
	task, err := h.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestTwoAtOnceAndStop(t *testing.T) {
	h := newHost(t)
	one, two := start(t, h, spec("wait")), start(t, h, spec("wait and succeed"))
	waitFor(t, h, one, "waiting\n")
	waitFor(t, h, two, "waiting\n")
	active, err := h.Active(t.Context())
	if err != nil || len(active) != 2 || active[0].Task != two || active[1].Task != one || active[0].Status != "" {
		t.Fatalf("active %v, %v", active, err)
	}
	if status, err := h.Status(one); err != nil || !status.Running {
		t.Errorf("status %v, %v", status, err)
	}
	var shown strings.Builder
	followed := make(chan error, 1)
	go func() {
		_, err := h.Follow(t.Context(), one, &shown)
		followed <- err
	}()
	if err := h.Stop(t.Context(), one, StopPatience); err != nil {
		t.Error(err)
	}
	if err := <-followed; err != nil || shown.String() != "waiting\nundone\n" {
		t.Errorf("followed %q, %v", shown.String(), err)
	}
	if status, err := h.Status(one); err != nil || status.Exit != "received interrupt" {
		t.Errorf("status %v, %v", status, err)
	}
	if status, err := h.Status(two); err != nil || !status.Running {
		t.Errorf("the other: %v, %v", status, err)
	}
	if err := h.Stop(t.Context(), two, StopPatience); err != nil {
		t.Error(err)
	}
	if status, err := h.Wait(t.Context(), two); err != nil || status.Exit != "OK" {
		t.Errorf("work that was done in spite of the signal: %v, %v", status, err)
	}
	if err := h.Stop(t.Context(), two, StopPatience); err != nil {
		t.Errorf("stop what has ended: %v", err)
	}
}

func TestRunPassesTheEndOn(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := &cancelling{when: "waiting\n", cancel: cancel}
	_, err := h.Run(ctx, spec("wait"), out)
	if err == nil || err.Error() != "received interrupt" || out.String() != "waiting\nundone\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// cancelling cancels once it has seen some text.
type cancelling struct {
	strings.Builder
	when   string
	cancel func()
}

func (c *cancelling) Write(p []byte) (int, error) {
	n, err := c.Builder.Write(p)
	if strings.Contains(c.String(), c.when) {
		c.cancel()
	}
	return n, err
}

func TestStopByForceTakesTheChildrenToo(t *testing.T) {
	h := newHost(t)
	task := start(t, h, spec("be stubborn"))
	waitFor(t, h, task, "child ")
	waitFor(t, h, task, "\n")
	var child int
	if _, err := fmt.Sscanf(readLog(t, h, task), "child %d", &child); err != nil {
		t.Fatal(err)
	}
	p, err := lookAt(child)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(t.Context(), task, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); alive(child, p.start) || alive(task.PID, task.PStart); {
		if time.Now().After(end) {
			t.Fatal("it lives on")
		}
		time.Sleep(time.Millisecond)
	}
	wantLists(t, h, task, Unexpected)
}

func TestKilledWorker(t *testing.T) {
	h := newHost(t)
	task := start(t, h, spec("wait"))
	waitFor(t, h, task, "waiting\n")
	if err := syscall.Kill(task.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	status, err := h.Wait(t.Context(), task)
	if err != nil || status.Exit != Unexpected {
		t.Errorf("%v, %v", status, err)
	}
	wantLists(t, h, task, Unexpected)
}

func TestNoRoomForTheLog(t *testing.T) {
	h := newHost(t)
	if err := os.MkdirAll(filepath.Dir(h.dir()), 0o755); err != nil {
		t.Fatal(err)
	}
	// A file where the folder should be stops root too, as a read-only file system would.
	if err := os.WriteFile(h.dir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := h.Start(t.Context(), spec("wait"))
	if err == nil || !strings.HasPrefix(err.Error(), "start task qmtest: make the log: ") {
		t.Errorf("error %v", err)
	}
}

func mountTmpfs(t *testing.T, dir, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestReadOnlyLogs(t *testing.T) {
	h := newHost(t)
	mountTmpfs(t, h.dir(), "size=1m")
	task, err := h.Run(t.Context(), spec("say", "text", "hello\n"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	// One more, whose end nobody has put down yet.
	open := task
	open.PID, open.PStart = 1<<22+1, 1
	active, err := os.ReadFile(h.dir("active"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.dir("active"), fmt.Appendf(active, "%s 0\n", open), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", h.dir(), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("remount: %v", err)
	}
	entries, err := h.Active(t.Context())
	if err != nil || len(entries) != 2 || entries[1].Status == "" {
		t.Errorf("%v, %v", entries, err)
	}
	if _, err := h.Start(t.Context(), spec("wait")); !errors.Is(err, syscall.EROFS) {
		t.Errorf("start: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	h := newHost(t)
	mountTmpfs(t, h.dir(), "size=128k")
	task, err := h.Run(t.Context(), spec("fill"), io.Discard)
	if err == nil || err.Error() != "it is all too much" {
		t.Errorf("error %v", err)
	}
	if status, err := h.Status(task); err != nil || status.Exit != "it is all too much" {
		t.Errorf("status %v, %v", status, err)
	}
	// The disk is full still: nothing new starts, and nothing is left of the try.
	before, err := os.ReadDir(filepath.Dir(h.LogPath(task)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Start(t.Context(), spec("wait")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("start: %v", err)
	}
	after, err := os.ReadDir(filepath.Dir(h.LogPath(task)))
	if err != nil || len(after) > len(before) {
		t.Errorf("left over: %v, %v", after, err)
	}
}

func TestWorkerWithoutAnOrder(t *testing.T) {
	h := newHost(t)
	if code := h.Work(t.Context(), strings.NewReader(""), labour); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestBadSpec(t *testing.T) {
	h := newHost(t)
	s := spec("say")
	s.Type = "with blank"
	if _, err := h.Start(t.Context(), s); !errors.Is(err, id.ErrNoTask) {
		t.Errorf("error %v", err)
	}
	h.Command = nil
	if _, err := h.Start(t.Context(), spec("say")); err == nil {
		t.Error("started without a program")
	}
	h.Command = []string{"/nowhere/at/all"}
	if _, err := h.Start(t.Context(), spec("say")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestHere(t *testing.T) {
	h := newHost(t)
	var out strings.Builder
	cause := errors.New("no such thing")
	task, err := h.Here(t.Context(), spec(""), &out, func(_ context.Context, o Order, log io.Writer) error {
		fmt.Fprintf(log, "for %s\n", o.Task.ID)
		return cause
	})
	if !errors.Is(err, cause) || err.Error() != "no such thing" || out.String() != "for 100\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	wantLists(t, h, task, "no such thing")
	again, err := h.Here(t.Context(), spec("say", "text", "x\n"), io.Discard, labour)
	if err != nil || again == task {
		t.Errorf("%v, %v", again, err)
	}
	if status, err := h.Status(again); err != nil || status.Exit != "OK" {
		t.Errorf("%v, %v", status, err)
	}
}

func TestOtherNode(t *testing.T) {
	h := newHost(t)
	task := id.Task{Node: "pve2", PID: 1, Type: "x", User: "root@pam"}
	if _, err := h.Status(task); !errors.Is(err, ErrNotHere) {
		t.Errorf("status: %v", err)
	}
	if err := h.Stop(t.Context(), task, 0); !errors.Is(err, ErrNotHere) {
		t.Errorf("stop: %v", err)
	}
}

func TestReadLog(t *testing.T) {
	h := newHost(t)
	task, err := h.Here(t.Context(), spec("say", "text", "a\n\nc"), io.Discard, labour)
	if err != nil {
		t.Fatal(err)
	}
	lines, total, err := h.ReadLog(task, 1, 2)
	if diff := cmp.Diff([]Line{{2, ""}, {3, "c"}}, lines); diff != "" || total != 4 || err != nil {
		t.Errorf("%s %d %v", diff, total, err)
	}
	if _, _, err := h.ReadLog(id.Task{Node: "pve1", Type: "x", User: "y"}, 0, 0); err == nil {
		t.Error("read a log that is not there")
	}
}

func TestConformanceStatus(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name, Kind, Log, UPID string
			Expected              any
		}
	}
	conformance.Load(t, "guest/common-upid", &suite)
	for _, c := range suite.Cases {
		if c.Kind != "status" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			task, err := id.ParseTask(c.UPID)
			if err != nil {
				t.Fatal(err)
			}
			h := &Host{Root: t.TempDir(), Node: task.Node}
			path := h.LogPath(task)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(c.Log), 0o640); err != nil {
				t.Fatal(err)
			}
			status, err := h.Status(task)
			if err != nil || status.Running || status.Exit != c.Expected {
				t.Errorf("%+v, %v, want %q", status, err, c.Expected)
			}
		})
	}
}
