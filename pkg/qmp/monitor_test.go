package qmp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qmp"
)

func TestCall(t *testing.T) {
	m := none(t)
	if major, _, _ := m.Version(); major < 7 {
		t.Errorf("version %d", major)
	}
	st, err := m.Status(t.Context())
	if err != nil || st.Running || st.Status != "prelaunch" {
		t.Errorf("status %+v, %v", st, err)
	}
	names, err := m.Commands(t.Context())
	if err != nil || !slices.Contains(names, "query-status") || !slices.IsSorted(names) {
		t.Errorf("commands %v, %v", names, err)
	}
	out, err := m.HMP(t.Context(), "info version")
	if err != nil || !strings.Contains(out, ".") {
		t.Errorf("hmp %q, %v", out, err)
	}
}

func TestLargeAnswer(t *testing.T) {
	m := none(t)
	var schema json.RawMessage
	if err := m.Call(t.Context(), "query-qmp-schema", nil, &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema) < 100_000 {
		t.Errorf("schema has only %d bytes", len(schema))
	}
	if _, err := m.Status(t.Context()); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestErrors(t *testing.T) {
	m := none(t)
	tests := []struct {
		name, command string
		args          any
		class, text   string
	}{
		{"unknown command", "no-such", nil, qmp.CommandNotFound, "qmp command 'no-such' failed - The command no-such has not been found"},
		{"no device", "device_del", map[string]string{"id": "x"}, qmp.DeviceNotFound, "qmp command 'device_del' failed - Device 'x' not found"},
		{"bad argument", "device_del", map[string]string{"ident": "x"}, qmp.GenericError, "qmp command 'device_del' failed - Parameter 'id' is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := m.Call(t.Context(), tt.command, tt.args, nil)
			if !qmp.HasClass(err, tt.class) || err.Error() != tt.text {
				t.Errorf("%#v", err)
			}
		})
	}
	if err := m.Call(t.Context(), "query-status", nil, new(int)); err == nil || !strings.Contains(err.Error(), "read answer") {
		t.Errorf("wrong type: %v", err)
	}
	if err := m.Call(t.Context(), "query-status", map[string]any{"f": func() {}}, nil); err == nil {
		t.Error("an argument that cannot be written is no error")
	}
}

func TestOverlappingCalls(t *testing.T) {
	m := none(t, "-object", "iothread,id=io0")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				want := fmt.Sprintf("answer-%d-%d", i, j)
				err := m.Call(t.Context(), want, nil, nil)
				if err == nil || !strings.Contains(err.Error(), "The command "+want+" ") {
					t.Errorf("%s: %v", want, err)
				}
			}
		})
	}
	wg.Wait()
}

// An unread subscription with more events than it keeps must not hold up answers.
func TestSlowSubscriber(t *testing.T) {
	m := none(t)
	idle := m.Subscribe()
	defer idle.Close()
	sub := m.Subscribe("STOP", "RESUME")
	defer sub.Close()
	const rounds = 2100
	for range rounds {
		if err := m.Call(t.Context(), "cont", nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := m.Call(t.Context(), "stop", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if idle.Missed() == 0 {
		t.Error("nothing was dropped: the test is too small")
	}
	e, err := sub.Wait(t.Context(), func(e qmp.Event) bool { return e.Name == "STOP" })
	if err != nil || time.Since(e.Time) > time.Hour {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestQEMUDies(t *testing.T) {
	cmd, socket := start(t, "-S", "-machine", "none")
	m := dial(t, socket)
	sub := m.Subscribe()
	cmd.Process.Signal(os.Interrupt)
	for {
		if _, err := sub.Next(t.Context()); err != nil {
			if !errors.Is(err, qmp.ErrClosed) {
				t.Errorf("subscription ended by %v", err)
			}
			break
		}
	}
	<-m.Done()
	if err := m.Call(t.Context(), "query-status", nil, nil); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("call: %v", err)
	}
	if _, err := m.Subscribe().Next(t.Context()); !errors.Is(err, qmp.ErrClosed) {
		t.Errorf("late subscription: %v", err)
	}
}

func TestQuit(t *testing.T) {
	cmd, socket := start(t, "-S", "-machine", "none")
	m := dial(t, socket)
	if err := m.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("qemu: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func TestPassFiles(t *testing.T) {
	m := none(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := m.PassFile(t.Context(), "tap0", f); err != nil {
		t.Fatal(err)
	}
	if err := m.DropFile(t.Context(), "tap0"); err != nil {
		t.Fatal(err)
	}
	if err := m.DropFile(t.Context(), "tap0"); err == nil {
		t.Error("a file could be dropped twice")
	}
	set, err := m.AddFile(t.Context(), -1, f)
	if err != nil {
		t.Fatal(err)
	}
	node := map[string]any{"driver": "file", "node-name": "f0", "filename": fmt.Sprintf("/dev/fdset/%d", set), "locking": "off"}
	if err := m.Call(t.Context(), "blockdev-add", node, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Call(t.Context(), "blockdev-del", map[string]string{"node-name": "f0"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveFiles(t.Context(), set); err != nil {
		t.Error(err)
	}
}

func TestDialFaults(t *testing.T) {
	dir := t.TempDir()
	if _, err := qmp.Dial(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing socket: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := qmp.DialStarting(ctx, filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, qmp.ErrTimeout) {
		t.Errorf("socket that never appears: %v", err)
	}
}

// The monitor serves one client: others wait for their turn, however many come.
func TestDialBusy(t *testing.T) {
	_, socket := start(t, "-S", "-machine", "none")
	first := dial(t, socket)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := qmp.Dial(ctx, socket); !errors.Is(err, qmp.ErrTimeout) {
		t.Errorf("second client: %v", err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			m, err := qmp.Dial(t.Context(), socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer m.Close()
			if _, err := m.Status(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	first.Close()
	wg.Wait()
}

func TestDialLongPath(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 120))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(long)
	l, err := net.Listen("unix", "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serve(l, func(string) string { return `{"return": {}, "id": 1}` })
	m, err := qmp.Dial(t.Context(), filepath.Join(long, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

// serve greets one client and answers each of its lines.
func serve(l net.Listener, answer func(line string) string) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintln(conn, `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}`)
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if a := answer(string(buf[:n])); a != "" {
			fmt.Fprintln(conn, a)
		}
	}
}

// fake is a monitor whose QEMU answers as told; ids count from 1.
func fake(t *testing.T, answer func(line string) string) *qmp.Monitor {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serve(l, func(line string) string {
		if strings.Contains(line, "qmp_capabilities") {
			return `{"return": {}, "id": 1}`
		}
		return answer(line)
	})
	m, err := qmp.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestTimeout(t *testing.T) {
	m := fake(t, func(line string) string {
		if strings.Contains(line, "late") {
			return `{"return": {"status": "late"}, "id": 2}` + "\n" + `{"return": {"status": "running"}, "id": 3}`
		}
		return ""
	})
	err := m.CallFor(t.Context(), 10*time.Millisecond, "query-status", nil, nil)
	if !errors.Is(err, qmp.ErrTimeout) {
		t.Fatal(err)
	}
	if got, want := fmt.Errorf("VM %d %w", 100, err).Error(), "VM 100 qmp command 'query-status' failed - got timeout"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	// the answer to the call given up comes now and is not taken for this one's
	var st qmp.Status
	if err := m.Call(t.Context(), "late", nil, &st); err != nil || st.Status != "running" {
		t.Errorf("%+v, %v", st, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("task aborted")
	time.AfterFunc(5*time.Millisecond, func() { cancel(stopped) })
	if err := m.Call(ctx, "query-status", nil, nil); !errors.Is(err, stopped) {
		t.Errorf("cancelled: %v", err)
	}
}

// A QEMU that reads nothing any more fills the socket; writing must end with ctx.
func TestTimeoutWhileSending(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	m := fake(t, func(string) string { <-block; return "" })
	big := map[string]string{"x": strings.Repeat("x", 1<<20)}
	if err := m.CallFor(t.Context(), time.Second, "big", big, nil); !errors.Is(err, qmp.ErrTimeout) {
		t.Errorf("%v", err)
	}
	<-m.Done() // a command sent in part ends the connection
}

// What QEMU still had to say to a client that was killed comes before our greeting.
func TestWordsForAnother(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"event": "BLOCK_JOB_COMPLETED", "timestamp": {"seconds": 1, "microseconds": 0}}`)
		fmt.Fprintln(conn, `{"return": {}, "id": 7}`)
		fmt.Fprintln(conn, `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": []}}`)
		if _, err := conn.Read(make([]byte, 4096)); err == nil {
			fmt.Fprintln(conn, `{"return": {}, "id": 1}`)
		}
	}()
	m, err := qmp.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func TestNotAMonitor(t *testing.T) {
	for name, says := range map[string]string{"text": "SSH-2.0\n", "other": `{"return": {}}` + "\n", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if conn, err := l.Accept(); err == nil {
					io.WriteString(conn, says)
					conn.Close()
				}
			}()
			if _, err := qmp.Dial(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "no greeting") {
				t.Errorf("%v", err)
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	m := none(b)
	for b.Loop() {
		if _, err := m.Status(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDial(b *testing.B) {
	_, socket := start(b, "-S", "-machine", "none")
	dial(b, socket).Close()
	for b.Loop() {
		m, err := qmp.Dial(b.Context(), socket)
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
