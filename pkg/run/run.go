// Package run starts programs and tells what came of them.
//
// Whoever needs a program takes a [Runner]. [Host] is the real one; [Fake] plays
// recorded exchanges back in tests; [Dry] prints what would have changed
// something. A program that fails is an [*Error] that carries the exit code and the
// last lines the program wrote to its standard error.
package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Runner runs one program to its end.
type Runner interface {
	// Run starts the program, waits for it and returns nil when it left with
	// exit code 0. Any other end is an [*Error]. When ctx ends first, the program
	// and what it started are ended, and the error wraps the cause.
	Run(ctx context.Context, c Cmd) error
}

// A Cmd says which program to run and how.
type Cmd struct {
	Path string   // name looked up in PATH, or a path
	Args []string // without the program itself
	Dir  string   // working directory, empty for ours
	Env  []string // KEY=value, added to the environment of the runner

	Stdin  io.Reader // nil reads nothing
	Stdout io.Writer // nil throws it away
	Stderr io.Writer // nil throws it away; errors quote its end in any case

	// ExtraFiles become descriptors 3 and up of the program.
	ExtraFiles []*os.File

	// Foreground leaves the program in our process group, with our terminal:
	// for editors, shells and password prompts. Any other program gets a group of its
	// own, so that ^C at the terminal reaches it once, through ctx.
	Foreground bool

	// Detached gives the program a session of its own, so that it outlives our terminal:
	// for workers and daemons, started with a ctx that does not end.
	Detached bool

	// ReadOnly says that the program changes nothing, so a dry run may run it.
	ReadOnly bool

	// Nobody runs the program as the user nobody where we are root: for what reads data of
	// strangers, and needs nothing but its standard input and output.
	Nobody bool

	// NoIOURing hides io_uring from the program: the kernel wakes whoever waits in a system
	// call when a ring has news, as a signal would, and not every file system bears that.
	NoIOURing bool

	// Grace is the time between SIGTERM and SIGKILL once ctx has ended;
	// 0 means [DefaultGrace].
	Grace time.Duration
}

// DefaultGrace is how long a program has to end after SIGTERM.
const DefaultGrace = 5 * time.Second

// Command returns the Cmd for a program and its arguments.
func Command(name string, args ...string) Cmd {
	return Cmd{Path: name, Args: args}
}

// Name returns the program's name as messages show it, without its folder.
func (c Cmd) Name() string { return filepath.Base(c.Path) }

// String returns the command line as one would type it in a shell.
func (c Cmd) String() string {
	return Quote(append([]string{c.Path}, c.Args...)...)
}

// An Error tells how a program failed.
type Error struct {
	Cmd      Cmd
	ExitCode int    // -1 when the program did not start or died of a signal
	Signal   string // "killed", "terminated", …, empty when it left by itself
	Stderr   string // the end of what it wrote there
	Err      error  // cause: a start error, the cause of the ended ctx, an *exec.ExitError
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Error reads like "lvs: exit status 5: the last lines of stderr".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Cmd.Name())
	b.WriteString(": ")
	b.WriteString(e.reason())
	if last := lastLines(e.Stderr, 3); last != "" {
		b.WriteString(": ")
		b.WriteString(last)
	}
	return b.String()
}

// Upstream reads as the tools scripts know say it: "command 'lvs -a' failed: exit
// code 5".
func (e *Error) Upstream() string {
	why := e.reason()
	if e.ExitCode > 0 {
		why = fmt.Sprintf("exit code %d", e.ExitCode)
	}
	return fmt.Sprintf("command '%s' failed: %s", e.Cmd, why)
}

func (e *Error) reason() string {
	var exit *exec.ExitError
	switch {
	case errors.Is(e.Err, exec.ErrNotFound):
		return "program not found, is its package installed?"
	case e.Err != nil && !errors.As(e.Err, &exit):
		// The cause of an ended ctx says more than the signal we sent for it.
		return e.Err.Error()
	case e.Signal != "":
		return "signal: " + e.Signal
	}
	return fmt.Sprintf("exit status %d", e.ExitCode)
}

// lastLines returns the last n lines of s that are not blank, as one line.
func lastLines(s string, n int) string {
	var lines []string
	for line := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// ExitCode returns the exit code that err carries, 0 for nil, and -1 for an
// error that did not come from a program that left by itself.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.ExitCode
	}
	return -1
}

// maxOutput bounds what Output keeps: more is a program gone wild.
const maxOutput = 64 << 20

// Output runs a program and returns what it wrote to its standard output.
func Output(ctx context.Context, r Runner, name string, args ...string) ([]byte, error) {
	return OutputOf(ctx, r, Command(name, args...))
}

// OutputOf is [Output] for a command that needs more than arguments.
func OutputOf(ctx context.Context, r Runner, c Cmd) ([]byte, error) {
	out := &limited{left: maxOutput, name: c.Name()}
	c.Stdout = out
	err := r.Run(ctx, c)
	return out.Bytes(), err
}

// limited is a buffer that refuses to grow without bound.
type limited struct {
	bytes.Buffer
	left int
	name string
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, fmt.Errorf("output of %s is larger than %d MiB", l.name, maxOutput>>20)
	}
	return l.Buffer.Write(p)
}
