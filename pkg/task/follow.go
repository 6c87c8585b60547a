package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// StopPatience is how long a task that was told to stop has for putting things in
// order; UndoPatience is what the command line gives its own task.
const (
	StopPatience = 5 * time.Second
	UndoPatience = time.Minute
)

// Stop tells a task to stop, and ends it by force when it has not within patience.
func (h *Host) Stop(ctx context.Context, t id.Task, patience time.Duration) error {
	if t.Node != h.Node {
		return fmt.Errorf("%s: %w", t, ErrNotHere)
	}
	if !alive(t.PID, t.PStart) {
		return nil
	}
	p, err := lookAt(t.PID)
	if err != nil {
		return nil // it has just ended
	}
	if p.session != t.PID {
		return fmt.Errorf("stop task %s: it is no process of its own", t)
	}
	if err := syscall.Kill(t.PID, syscall.SIGTERM); err != nil {
		if errors.Is(err, syscall.ESRCH) {
			return nil
		}
		return fmt.Errorf("stop task %s: %w", t, err)
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if h.waitEnd(wait, t) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stop task %s: %w", t, context.Cause(ctx))
	}
	killSession(t.PID)
	_, err = h.Active(ctx)
	return err
}

// Wait returns when the task has ended, with how it has.
func (h *Host) Wait(ctx context.Context, t id.Task) (Status, error) {
	if t.Node != h.Node {
		return Status{}, fmt.Errorf("%s: %w", t, ErrNotHere)
	}
	if !h.waitEnd(ctx, t) {
		return Status{Running: true}, fmt.Errorf("wait for task %s: %w", t, context.Cause(ctx))
	}
	return h.Status(t)
}

func (h *Host) waitEnd(ctx context.Context, t id.Task) bool {
	w := watch(t)
	defer w.close()
	for ctx.Err() == nil {
		if w.ended(50 * time.Millisecond) {
			return true
		}
	}
	return false
}

// watcher notices the end of a process at once, where the kernel has pidfds.
type watcher struct {
	task id.Task
	fd   int
}

func watch(t id.Task) *watcher {
	fd, err := unix.PidfdOpen(t.PID, 0)
	if err != nil {
		fd = -1
	}
	return &watcher{t, fd}
}

// ended waits for at most d.
func (w *watcher) ended(d time.Duration) bool {
	if !alive(w.task.PID, w.task.PStart) {
		return true
	}
	if w.fd < 0 {
		time.Sleep(d)
	} else {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, int(d.Milliseconds()))
	}
	return !alive(w.task.PID, w.task.PStart)
}

func (w *watcher) close() {
	if w.fd >= 0 {
		_ = unix.Close(w.fd)
	}
}

// Follow copies the log of a task to out as it grows, up to but without the line
// with the result, and returns that when the task has ended.
func (h *Host) Follow(ctx context.Context, t id.Task, out io.Writer) (Status, error) {
	f, err := os.Open(h.LogPath(t))
	if err != nil {
		return Status{}, fmt.Errorf("follow task: %w", err)
	}
	defer f.Close()
	w := watch(t)
	defer w.close()
	tail := &follower{out: out}
	for {
		ended := w.ended(20 * time.Millisecond)
		if _, err := io.Copy(tail, f); err != nil {
			return Status{}, fmt.Errorf("follow task %s: %w", t, err)
		}
		if ended {
			break
		}
		if err := ctx.Err(); err != nil {
			return Status{Running: true}, fmt.Errorf("follow task %s: %w", t, context.Cause(ctx))
		}
	}
	if err := tail.flush(); err != nil {
		return Status{}, fmt.Errorf("follow task %s: %w", t, err)
	}
	return h.Status(t)
}

// follower passes on what it is given, but holds back what may be the result.
type follower struct {
	out     io.Writer
	held    []byte // begins at a line's start
	midLine bool
}

func (f *follower) Write(p []byte) (int, error) {
	f.held = append(f.held, p...)
	return len(p), f.pass(f.mayBeResult())
}

// mayBeResult returns where the last line begins if it may be the result, else
// the end.
func (f *follower) mayBeResult() int {
	text := bytes.TrimSuffix(f.held, []byte("\n"))
	start := bytes.LastIndexByte(text, '\n') + 1
	if start == 0 && f.midLine {
		return len(f.held)
	}
	last, complete := text[start:], len(text) < len(f.held)
	const head = "TASK "
	n := min(len(last), len(head))
	if string(last[:n]) == head[:n] && (n == len(head) || !complete) {
		return start
	}
	return len(f.held)
}

func (f *follower) pass(n int) error {
	if n == 0 {
		return nil
	}
	f.midLine = f.held[n-1] != '\n'
	_, err := f.out.Write(f.held[:n])
	f.held = append(f.held[:0], f.held[n:]...)
	return err
}

// flush passes on what was held back, unless it is the result after all.
func (f *follower) flush() error {
	if _, ok := parseResult(string(bytes.TrimSuffix(f.held, []byte("\n")))); ok {
		return nil
	}
	return f.pass(len(f.held))
}

// Run does s as a task in a process of its own and shows its log on out, as the
// command line does. When ctx ends, the task is told to stop, and Run returns when
// it has put things in order. A task that fails is a [*Failed], with the text of its
// error as it was.
func (h *Host) Run(ctx context.Context, s Spec, out io.Writer) (id.Task, error) {
	w, err := h.start(ctx, s)
	if err != nil {
		return id.Task{}, fmt.Errorf("start task %s: %w", s.Type, err)
	}
	defer w.result.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = w.process.Signal(syscall.SIGTERM)
		select {
		case <-w.exited:
		case <-time.After(UndoPatience):
			killSession(w.task.PID)
		}
	})
	defer stop()
	status, err := h.Follow(context.WithoutCancel(ctx), w.task, out)
	if err != nil {
		return w.task, err
	}
	<-w.exited
	if said, err := w.outcome(); said {
		return w.task, err
	}
	if IsError(status.Exit) {
		return w.task, &Failed{Task: w.task, Message: status.Exit}
	}
	return w.task, nil
}

// Here does s as a task within this process: for programs that cannot be called
// again, such as tests. It shows on out what it logs.
func (h *Host) Here(ctx context.Context, s Spec, out io.Writer, do Func) (id.Task, error) {
	t, err := h.register(ctx, s, os.Getpid())
	if err != nil {
		return id.Task{}, fmt.Errorf("start task %s: %w", s.Type, err)
	}
	f, err := os.OpenFile(h.LogPath(t), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return t, fmt.Errorf("start task %s: %w", s.Type, err)
	}
	defer f.Close()
	if err := h.perform(ctx, Order{t, s.Method, s.Params, s.Stdin}, &Log{file: f, also: out}, do); err != nil {
		return t, &Failed{t, err.Error(), err}
	}
	return t, nil
}

func stack() []byte { return debug.Stack() }
