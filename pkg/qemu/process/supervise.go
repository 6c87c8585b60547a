package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// A Spec is what a supervisor is told on its standard input.
type Spec struct {
	VM     id.VM    `json:"vmid"`
	Argv   []string `json:"argv"` // of QEMU, the program first
	Dir    Dir      `json:"dir"`
	Log    string   `json:"log"`              // where QEMU's words go
	CGroup []string `json:"cgroup,omitempty"` // folders whose cgroup.procs QEMU joins
	// Generation names this start of the VM: what clears up can tell by it what belongs
	// to a later one.
	Generation string `json:"generation,omitempty"`
}

// A Report is what the supervisor says of QEMU on its descriptor 3, one a line of
// JSON.
type Report struct {
	PID    int    `json:"pid,omitempty"`    // QEMU was started
	Ended  bool   `json:"ended,omitempty"`  // QEMU is gone
	Status string `json:"status,omitempty"` // how it went: "exit status 1"
	Words  string `json:"words,omitempty"`  // the end of what it wrote
}

// End tells how a QEMU went.
type End struct {
	Clean bool // it left by itself with status 0
	Guest bool // because the guest powered off
}

// Patience with a QEMU whose guest has powered off: to leave, then to heed SIGTERM.
const (
	quitPatience = 5 * time.Second
	termPatience = 5 * time.Second
)

// Supervise is the life of a supervisor: it reads a [Spec] from in, runs QEMU,
// reports to report and, when QEMU is gone, calls clear. It returns when that has
// returned.
func Supervise(in io.Reader, report io.WriteCloser, clear func(context.Context, Spec, End) error) error {
	var spec Spec
	if err := json.NewDecoder(in).Decode(&spec); err != nil {
		return fmt.Errorf("read what to supervise: %w", err)
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGTERM)
	s := &supervisor{spec: spec, report: json.NewEncoder(report)}
	end, err := s.run()
	if err != nil {
		s.tell(Report{Ended: true, Status: err.Error()})
	}
	cleared := clear(context.Background(), spec, end)
	s.tell(Report{Ended: true, Status: s.status, Words: s.words.String()})
	return errors.Join(err, cleared, report.Close())
}

type supervisor struct {
	spec   Spec
	report *json.Encoder
	words  tail
	status string
	guest  bool // the guest has powered off
}

// tell reports; that nobody listens any more is no matter.
func (s *supervisor) tell(r Report) { _ = s.report.Encode(r) }

// run starts QEMU and sees it to its end.
func (s *supervisor) run() (End, error) {
	if err := os.Remove(s.spec.Dir.Events(s.spec.VM)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return End{}, err
	}
	events, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.spec.Dir.Events(s.spec.VM), Net: "unix"})
	if err != nil {
		return End{}, fmt.Errorf("await events: %w", err)
	}
	defer events.Close()
	cmd, err := s.start()
	if err != nil {
		return End{}, err
	}
	if err := cgroup.Join(context.Background(), s.spec.CGroup, cmd.Process.Pid); err != nil {
		fmt.Fprintln(&s.words, err) // it runs without limits rather than not at all
	}
	s.tell(Report{PID: cmd.Process.Pid})
	ctx, cancel := context.WithCancel(context.Background())
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		s.listen(ctx, events, cmd.Process)
	}()
	debug.FreeOSMemory() // from here on it sleeps, perhaps for months
	err = cmd.Wait()
	s.status = cmd.ProcessState.String()
	cancel()
	events.Close()
	<-listening
	return End{Clean: err == nil, Guest: s.guest}, nil
}

// start starts QEMU, its words going to the log and to the next report.
func (s *supervisor) start() (*exec.Cmd, error) {
	if err := os.MkdirAll(filepath.Dir(s.spec.Log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.spec.Log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log of QEMU: %w", err)
	}
	s.words.next = log
	cmd := exec.Command(s.spec.Argv[0], s.spec.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = &s.words, &s.words
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // a child of QEMU's may hold the pipe
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return cmd, nil
}

// listen takes QEMU's events until QEMU is gone.
func (s *supervisor) listen(ctx context.Context, events *net.UnixListener, qemu *os.Process) {
	for ctx.Err() == nil {
		conn, err := events.AcceptUnix()
		if err != nil {
			return
		}
		m, err := qmp.New(ctx, conn)
		if err != nil {
			continue // QEMU connects again
		}
		s.heed(ctx, m, qemu)
		_ = m.Close()
	}
}

// heed acts on the events of one connection: a guest that has powered off leaves a
// QEMU that only waits to be told to quit.
func (s *supervisor) heed(ctx context.Context, m *qmp.Monitor, qemu *os.Process) {
	sub := m.Subscribe("SHUTDOWN")
	defer sub.Close()
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return
		}
		var why struct{ Guest bool }
		if e.Decode(&why) == nil && why.Guest {
			s.guest = true
		}
		s.end(ctx, m, qemu)
	}
}

// end makes QEMU go: by its monitor, by SIGTERM, by SIGKILL.
func (s *supervisor) end(ctx context.Context, m *qmp.Monitor, qemu *os.Process) {
	quit, cancel := context.WithTimeout(ctx, quitPatience)
	defer cancel()
	_ = m.Quit(quit)
	if wait(ctx, quitPatience) {
		_ = qemu.Signal(syscall.SIGTERM)
		if wait(ctx, termPatience) {
			_ = qemu.Kill()
		}
	}
}

// wait tells whether ctx still goes on after d.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// tail keeps the end of what is written to it and passes it on.
type tail struct {
	next io.Writer
	kept []byte
}

const maxTail = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append([]byte(nil), t.kept[over:]...)
	}
	if t.next != nil {
		_, _ = t.next.Write(p) // a full disk must not stop QEMU
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.kept)) }
