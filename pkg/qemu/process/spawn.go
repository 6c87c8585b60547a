package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// A Launcher starts supervisors: the same program again, told by its arguments to
// be one.
type Launcher struct {
	Argv []string // how to call a supervisor
	Env  []string // its environment
}

// ErrDied is the error of a QEMU that ended before it answered.
var ErrDied = errors.New("QEMU ended while starting")

// Launch starts a supervisor for spec and returns once QEMU answers on its monitor.
// When ctx ends first, or QEMU does, nothing runs any more and the error says why.
func (l Launcher) Launch(ctx context.Context, spec Spec) (*qmp.Monitor, error) {
	if err := spec.Dir.CheckPaths(spec.VM); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(spec.Dir), 0o755); err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	cmd := exec.Command(l.Argv[0], l.Argv[1:]...)
	cmd.Env, cmd.Stdin = l.Env, bytes.NewReader(text)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it outlives us, or is reaped here
	return follow(ctx, spec, json.NewDecoder(ours))
}

// follow reads the reports until QEMU answers or is gone.
func follow(ctx context.Context, spec Spec, reports *json.Decoder) (*qmp.Monitor, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started, ended := make(chan int, 1), make(chan error, 1)
	go func() {
		err := read(reports, started)
		cancel(err)
		ended <- err
	}()
	m, err := qmp.DialStarting(ctx, spec.Dir.QMP(spec.VM))
	if err == nil {
		return m, nil
	}
	if why := context.Cause(ctx); why != nil {
		err = why
	}
	return nil, giveUp(err, started, ended)
}

// giveUp sees to it that a QEMU that did not answer is gone, and tells why it did
// not, which a QEMU that died knows best.
func giveUp(err error, started <-chan int, ended <-chan error) error {
	select {
	case died := <-ended:
		return died
	case <-time.After(deathPatience):
	}
	select {
	case pid := <-started:
		_ = syscall.Kill(pid, syscall.SIGKILL)
	default:
	}
	select { // the supervisor clears up before it reports the end
	case <-ended:
	case <-time.After(clearPatience):
	}
	return err
}

// How long a QEMU that broke its connection has to die, and a supervisor to clear up.
const (
	deathPatience = 200 * time.Millisecond
	clearPatience = 10 * time.Second
)

// read takes reports until QEMU is gone, and returns what is known of its end.
func read(reports *json.Decoder, started chan<- int) error {
	for {
		var r Report
		if err := reports.Decode(&r); err != nil {
			return fmt.Errorf("%w: its supervisor is gone: %w", ErrDied, err)
		}
		switch {
		case r.PID != 0:
			started <- r.PID
		case r.Ended && r.Words != "":
			return fmt.Errorf("%w: %s: %s", ErrDied, r.Status, r.Words)
		case r.Ended:
			return fmt.Errorf("%w: %s", ErrDied, r.Status)
		}
	}
}
