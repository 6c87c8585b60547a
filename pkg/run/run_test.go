package run_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/run"
)

func sh(script string) run.Cmd { return run.Command("sh", "-c", script) }

func TestHostErrors(t *testing.T) {
	tests := []struct {
		name string
		cmd  run.Cmd
		want string
		code int
	}{
		{"success", sh("exit 0"), "", 0},
		{"exit code", sh("exit 5"), "sh: exit status 5", 5},
		{"last lines", sh("for i in 1 2 3 4 5; do echo line $i >&2; done; echo >&2; exit 5"), "sh: exit status 5: line 3; line 4; line 5", 5},
		{"signal", sh("kill -9 $$"), "sh: signal: killed", -1},
		{"missing name", run.Command("no-such-program-here"), "no-such-program-here: program not found, is its package installed?", -1},
		{"missing path", run.Command("/nowhere/lvs"), "lvs: program not found, is its package installed?", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := run.Host{}.Run(t.Context(), tt.cmd)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if code := run.ExitCode(err); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if missing := strings.HasPrefix(tt.name, "missing"); errors.Is(err, exec.ErrNotFound) != missing {
				t.Errorf("errors.Is ErrNotFound is %v", !missing)
			}
		})
	}
}

func TestUpstreamText(t *testing.T) {
	err := run.Host{}.Run(t.Context(), run.Command("sh", "-c", "exit 3"))
	e, ok := errors.AsType[*run.Error](err)
	if !ok {
		t.Fatalf("%T is no *run.Error", err)
	}
	if got, want := e.Upstream(), "command 'sh -c 'exit 3'' failed: exit code 3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOutput(t *testing.T) {
	c := sh("cat; echo $GREETING; pwd; echo aside >&2")
	c.Stdin = strings.NewReader("in\n")
	c.Env = []string{"GREETING=hello"}
	c.Dir = "/"
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := run.OutputOf(t.Context(), run.Host{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("in\nhello\n/\n", string(out)); diff != "" {
		t.Error(diff)
	}
	if stderr.String() != "aside\n" {
		t.Errorf("stderr %q", stderr.String())
	}
}

func TestOneWriterKeepsOrder(t *testing.T) {
	var both strings.Builder
	c := sh("for i in 1 2 3; do echo out; echo err >&2; done; exit 1")
	c.Stdout, c.Stderr = &both, &both
	err := run.Host{}.Run(t.Context(), c)
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff(strings.Repeat("out\nerr\n", 3), both.String()); diff != "" {
		t.Error(diff)
	}
}

func TestLines(t *testing.T) {
	var got []string
	err := run.Lines(t.Context(), run.Host{}, sh(`printf 'one\n 10%%\r 20%%\r\nlast'`), func(line string) error {
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"one", " 10%", " 20%", "last"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLinesStopsAtAnError(t *testing.T) {
	enough := errors.New("enough")
	start := time.Now()
	err := run.Lines(t.Context(), run.Host{}, sh("while echo y; do :; done"), func(string) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	tests := []struct{ name, script string }{
		{"polite", "sleep 60 & echo $! > pid; wait"},
		{"deaf", "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			c := sh(tt.script)
			c.Dir, c.Grace = t.TempDir(), 200*time.Millisecond
			p, err := run.Host{}.Start(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			pid := waitForPid(t, filepath.Join(c.Dir, "pid"))
			cause := errors.New("the task was stopped")
			cancel(cause)
			if err := p.Wait(); !errors.Is(err, cause) {
				t.Errorf("error %v", err)
			}
			until, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			if err := gone(until, pid); err != nil {
				t.Error(err)
			}
		})
	}
}

// gone is run.Gone, except that a zombie nobody reaps in a container counts as gone.
func gone(ctx context.Context, pid int) error {
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return nil
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_ = run.Gone(short, pid, 5*time.Millisecond)
		cancel()
		if ctx.Err() != nil {
			return fmt.Errorf("process %d is still there", pid)
		}
	}
}

func waitForPid(t *testing.T, path string) int {
	t.Helper()
	for range 1000 {
		b, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			return pid
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s did not appear", path)
	return 0
}

func TestStartWithEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (run.Host{}).Run(ctx, sh("touch made")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPipe(t *testing.T) {
	var out strings.Builder
	last := sh("tr a-z A-Z")
	last.Stdout = &out
	if err := run.Pipe(t.Context(), run.Host{}, sh("echo hello"), sh("cat"), last); err != nil {
		t.Fatal(err)
	}
	if out.String() != "HELLO\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestPipeTellsTheRealFault(t *testing.T) {
	err := run.Pipe(t.Context(), run.Host{}, run.Command("yes"), sh("echo no space >&2; exit 1"))
	if err == nil || err.Error() != "sh: exit status 1: no space" {
		t.Errorf("error %v", err)
	}
}

func TestFake(t *testing.T) {
	f := run.NewFake(
		run.Exchange{Args: []string{"uname", "-r"}, Stdout: "6.1\n", Repeat: true},
		run.Exchange{Args: []string{"lvs", "--all"}, Stdout: "a\n"},
		run.Exchange{Args: []string{"lvs", "--all"}, Stderr: "gone\n", Exit: 5},
		run.Exchange{Args: []string{"zfs"}, Missing: true},
	)
	ask := func(name string, args ...string) string {
		out, err := run.Output(t.Context(), f, name, args...)
		if err != nil {
			return err.Error()
		}
		return string(out)
	}
	got := []string{ask("uname", "-r"), ask("lvs", "--all"), ask("zfs"), ask("lvs", "--all"), ask("uname", "-r"), ask("zfs")}
	want := []string{
		"6.1\n", "a\n", "zfs: not among the recorded exchanges: zfs", "lvs: exit status 5: gone",
		"6.1\n", "zfs: program not found, is its package installed?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if left := f.Left(); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if n := len(f.Calls()); n != 6 {
		t.Errorf("%d calls", n)
	}
}

func TestDry(t *testing.T) {
	var printed []string
	d := run.Dry{Runner: run.NewFake(run.Exchange{Args: []string{"ls"}}), Print: func(c run.Cmd) { printed = append(printed, c.String()) }}
	for _, c := range []run.Cmd{{Path: "ls", ReadOnly: true}, run.Command("rm", "a b")} {
		if err := d.Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"rm 'a b'"}, printed); diff != "" {
		t.Error(diff)
	}
}

func TestDetachedLeadsASession(t *testing.T) {
	c := sh("cut -d' ' -f1,5,6 /proc/$$/stat")
	c.Detached = true
	out, err := run.OutputOf(t.Context(), run.Host{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(out)); len(f) != 3 || f[0] != f[1] || f[1] != f[2] {
		t.Errorf("process, group and session %v", f)
	}
}

// TestEndedBeforeStart: whenever the context ends, its cause is what is told.
func TestEndedBeforeStart(t *testing.T) {
	cause := errors.New("enough")
	for range 200 {
		ctx, cancel := context.WithCancelCause(t.Context())
		go cancel(cause)
		if err := (run.Host{}).Run(ctx, run.Command("true")); err != nil && !errors.Is(err, cause) {
			t.Fatal(err)
		}
	}
}

func TestNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run a program as somebody else")
	}
	out, err := run.OutputOf(t.Context(), run.Host{}, run.Cmd{Path: "id", Args: []string{"-u"}, Nobody: true})
	if err != nil || strings.TrimSpace(string(out)) != "65534" {
		t.Errorf("%q, %v", out, err)
	}
}
