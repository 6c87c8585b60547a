package task

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// worker is a process that has got its order.
type worker struct {
	task    id.Task
	process *os.Process
	result  *os.File // what it says at the end goes here too, unabridged
	exited  <-chan struct{}
}

// Start begins a task and returns once its worker has the order. The task is in
// the list of what runs by then.
func (h *Host) Start(ctx context.Context, s Spec) (id.Task, error) {
	w, err := h.start(ctx, s)
	if err != nil {
		return id.Task{}, fmt.Errorf("start task %s: %w", s.Type, err)
	}
	return w.task, w.result.Close()
}

func (h *Host) start(ctx context.Context, s Spec) (w *worker, err error) {
	order, orderEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderEnd.Close()
	result, resultEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, order.Close())
	}
	defer func() {
		if err != nil {
			result.Close()
		}
	}()
	cmd, err := h.spawn(s, order, resultEnd)
	if err != nil {
		return nil, err
	}
	// Somebody has to take note of the end, or the process stays as a zombie. This
	// goroutine ends with the worker.
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait()
	}()
	defer func() {
		if err != nil { // it waits for its order still, and has done nothing
			_ = cmd.Process.Kill()
			<-exited
		}
	}()
	t, err := h.register(ctx, s, cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	if err := (Order{t, s.Method, s.Params, s.Stdin}).send(orderEnd); err != nil {
		return nil, fmt.Errorf("hand over the order: %w", err)
	}
	return &worker{t, cmd.Process, result, exited}, nil
}

// spawn starts the process and closes our copies of its ends of the pipes.
func (h *Host) spawn(s Spec, order, result *os.File) (*exec.Cmd, error) {
	defer order.Close()
	defer result.Close()
	if len(h.Command) == 0 {
		return nil, errors.New("no program to call as the worker")
	}
	// Not CommandContext: the task outlives who asked for it.
	cmd := exec.Command(h.Command[0], h.Command[1:]...)
	cmd.Args = append(cmd.Args, strings.Join([]string{s.Type, s.ID, s.User, ""}, ":"))
	cmd.Env = append(cmd.Environ(), h.Env...)
	cmd.Dir = "/"
	cmd.Stdin = order
	cmd.ExtraFiles = []*os.File{result}
	if h.Stderr != nil {
		cmd.Stderr = h.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// register gives the process its UPID, its log and its place in the list.
func (h *Host) register(ctx context.Context, s Spec, pid int) (id.Task, error) {
	p, err := lookAt(pid)
	if err != nil {
		return id.Task{}, err
	}
	t := id.Task{
		Node: h.Node, PID: pid, PStart: p.start, StartTime: h.now().Unix(), Type: s.Type, ID: s.ID, User: s.User,
	}
	if err := t.Check(); err != nil {
		return id.Task{}, err
	}
	log, err := h.createLog(t)
	for n := 0; errors.Is(err, os.ErrExist) && n < 60; n++ {
		t.StartTime++ // the same work in the same process within a second
		log, err = h.createLog(t)
	}
	if err != nil {
		return id.Task{}, fmt.Errorf("make the log: %w", err)
	}
	_, err = h.update(ctx, &t)
	if err = errors.Join(err, log.Close()); err != nil {
		return id.Task{}, errors.Join(err, os.Remove(h.LogPath(t)))
	}
	return t, nil
}

// resultFD is where a worker tells who started it how it ended.
const resultFD = 3

// Work is the life of a worker process: it takes its order from stdin, does it,
// and puts the result down. It returns the process's exit code. Standard output and
// standard error of the process become the log.
func (h *Host) Work(ctx context.Context, stdin io.Reader, do Func) int {
	o, err := receive(stdin)
	if err != nil {
		return 1 // who started us is gone, or thought better of it
	}
	result := os.NewFile(resultFD, "result")
	syscall.CloseOnExec(resultFD)
	log, err := os.OpenFile(h.LogPath(o.Task), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		fmt.Fprintf(h.complaints(), "task %s: %v\n", o.Task, err)
		return 1
	}
	defer log.Close()
	// Also what the runtime and programs print by themselves belongs into the log.
	for _, fd := range []int{1, 2} {
		if err := syscall.Dup3(int(log.Fd()), fd, 0); err != nil {
			return 1
		}
	}
	null, err := os.Open(os.DevNull)
	if err == nil {
		err = syscall.Dup3(int(null.Fd()), 0, 0)
		null.Close()
	}
	if err != nil {
		return 1
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	err = h.perform(ctx, o, &Log{file: log}, do)
	if err != nil {
		_, _ = io.WriteString(result, "!"+err.Error())
		return 255
	}
	_, _ = io.WriteString(result, ".")
	return 0
}

func (h *Host) complaints() io.Writer {
	if h.Stderr != nil {
		return h.Stderr
	}
	return io.Discard
}

// interruptible ends ctx when the process is told to stop.
func interruptible(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	// Not Ignore: programs that the work runs would inherit that.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(ErrInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(hangups)
		close(done)
		cancel(nil)
	}
}

// perform does the work and puts down how it ended.
func (h *Host) perform(ctx context.Context, o Order, log *Log, do Func) error {
	err := guarded(ctx, o, log, do)
	if err != nil && errors.Is(context.Cause(ctx), ErrInterrupted) && !strings.Contains(err.Error(), ErrInterrupted.Error()) {
		if errors.Is(err, context.Canceled) {
			err = ErrInterrupted
		} else {
			err = fmt.Errorf("%w: %w", ErrInterrupted, err)
		}
	}
	log.finish(err)
	// The list is made to agree by whoever reads it next, should this fail.
	_, _ = h.update(context.WithoutCancel(ctx), nil)
	return err
}

// guarded turns a panic of the work into an error, so that the log says TASK ERROR
// and nobody who shares the process goes down with it.
func guarded(ctx context.Context, o Order, log *Log, do Func) (err error) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(log, "panic: %v\n%s", p, stack())
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return do(ctx, o, log)
}

// outcome reads how the worker says it ended; said is false where it could not.
func (w *worker) outcome() (said bool, err error) {
	text, readErr := io.ReadAll(w.result)
	message, failed := bytes.CutPrefix(text, []byte("!"))
	switch {
	case readErr != nil || len(text) == 0:
		return false, nil
	case failed:
		return true, &Failed{Task: w.task, Message: string(message)}
	}
	return true, nil
}
