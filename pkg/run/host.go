package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// nobody is the user, and the group, that the kernel has for those that are none.
const nobody = 65534

// Host runs programs on this machine. The zero value is ready.
type Host struct {
	// Env is the environment programs get; nil means that of this process.
	Env []string
}

// Run runs c to its end.
func (h Host) Run(ctx context.Context, c Cmd) error {
	p, err := h.Start(ctx, c)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Look returns the path of a program, or an [*Error] that names it.
func (h Host) Look(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &Error{Cmd: Command(name), ExitCode: -1, Err: missing(err)}
	}
	return path, nil
}

// A Process is a program that was started and not waited for yet.
type Process struct {
	cmd  *exec.Cmd
	desc Cmd
	ctx  context.Context //nolint:containedctx // the cause of the end, read once by Wait
	tail *tail

	ended chan struct{} // closed when it was waited for; nil unless a thread is held until then
}

// Start starts c. The caller must call Wait, unless the program is to outlive this
// process. The program is ended when ctx ends.
func (h Host) Start(ctx context.Context, c Cmd) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Cmd: c, ExitCode: -1, Err: context.Cause(ctx)}
	}
	p := &Process{desc: c, ctx: ctx, cmd: exec.CommandContext(ctx, c.Path, c.Args...)}
	p.cmd.Dir = c.Dir
	p.cmd.Env = append(h.environ(), c.Env...)
	p.cmd.Stdin, p.cmd.Stdout = c.Stdin, c.Stdout
	p.cmd.ExtraFiles = c.ExtraFiles
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !c.Foreground && !c.Detached, Setsid: c.Detached}
	if !c.Foreground && !c.Detached {
		// Should we be killed, nobody is left to end it: a copy would go on into a disk
		// that the next command has given away. What it starts in the background stays.
		p.cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	if c.Nobody && os.Getuid() == 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	p.cmd.Cancel = func() error { return p.signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = c.Grace
	if c.Grace == 0 {
		p.cmd.WaitDelay = DefaultGrace
	}
	p.connectStderr()
	if err := p.start(); err != nil {
		if ctx.Err() != nil { // it ended just now: exec would not say why
			err = context.Cause(ctx)
		}
		return nil, &Error{Cmd: c, ExitCode: -1, Err: missing(err)}
	}
	return p, nil
}

// start starts the program. One that is to get a signal when we die is started on a thread
// that does nothing else until it has ended: the kernel takes the end of that thread for ours,
// and threads do end, such as those from which io_uring is hidden.
func (p *Process) start() error {
	if !p.desc.NoIOURing && p.cmd.SysProcAttr.Pdeathsig == 0 {
		return p.cmd.Start()
	}
	p.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if p.desc.NoIOURing {
			denyIOURing() // the thread ends with this function, as it stays locked
		} else {
			defer runtime.UnlockOSThread()
		}
		err := p.cmd.Start()
		started <- err
		if err == nil {
			<-p.ended
		}
	}()
	return <-started
}

func (h Host) environ() []string {
	if h.Env != nil {
		return append([]string(nil), h.Env...)
	}
	return os.Environ()
}

// connectStderr keeps the end of stderr for errors. A program in the foreground gets the
// caller's file as it is, since it may ask whether that is a terminal.
func (p *Process) connectStderr() {
	if _, isFile := p.desc.Stderr.(*os.File); isFile && p.desc.Foreground {
		p.cmd.Stderr = p.desc.Stderr
		return
	}
	p.tail = &tail{}
	p.cmd.Stderr = p.tail
	if p.desc.Stderr != nil {
		p.tail.next = p.desc.Stderr
		// One writer for both streams must stay one writer, so that exec gives
		// the program one pipe and the order of its words is kept.
		if p.desc.Stdout != nil && same(p.desc.Stdout, p.desc.Stderr) {
			p.cmd.Stdout = p.tail
		}
	}
}

func same(a, b io.Writer) (equal bool) {
	defer func() {
		if recover() != nil { // writers of a type that cannot be compared
			equal = false
		}
	}()
	return a == b
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends a signal to the program alone.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// signal reaches the program and what it started.
func (p *Process) signal(s syscall.Signal) error {
	if p.desc.Foreground {
		return p.cmd.Process.Signal(s)
	}
	err := syscall.Kill(-p.cmd.Process.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// Wait waits for the end of the program and tells how it ended.
func (p *Process) Wait() error {
	err := p.cmd.Wait()
	if p.ended != nil {
		close(p.ended)
	}
	if err == nil {
		return nil
	}
	e := &Error{Cmd: p.desc, ExitCode: -1, Err: err}
	if p.tail != nil {
		e.Stderr = p.tail.String()
	}
	if state := p.cmd.ProcessState; state != nil {
		e.ExitCode = state.ExitCode()
		if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			e.Signal = status.Signal().String()
		}
	}
	if p.ctx.Err() != nil {
		e.Err = context.Cause(p.ctx)
		if !p.desc.Foreground {
			// What the program had started may have ignored SIGTERM.
			_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		}
	}
	return e
}

// missing makes errors.Is(err, exec.ErrNotFound) true for every way a program can be
// absent, a path that does not exist included.
func missing(err error) error {
	if errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: %w", exec.ErrNotFound, err)
	}
	return err
}

// tailSize is how much of stderr an error can quote.
const tailSize = 4 << 10

// tail keeps the end of what is written and passes it on.
type tail struct {
	next io.Writer
	mu   sync.Mutex
	buf  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	t.mu.Unlock()
	if t.next == nil {
		return len(p), nil
	}
	return t.next.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
