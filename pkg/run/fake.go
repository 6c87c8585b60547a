package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
)

// An Exchange is one call of a program and what it answers.
type Exchange struct {
	Args    []string // the program's name and its arguments
	Stdin   string   // compared when not empty
	Stdout  string
	Stderr  string
	Exit    int
	Err     error // a cause other than an exit code
	Missing bool  // the program is not installed
	Repeat  bool  // may be asked any number of times, none included
}

// Fake plays exchanges back, in their order; those with Repeat answer at any time. A
// call that was not recorded is an error that shows the call.
type Fake struct {
	mu    sync.Mutex
	left  []Exchange
	calls []Cmd
}

// NewFake returns a runner that answers with the given exchanges.
func NewFake(exchanges ...Exchange) *Fake {
	return &Fake{left: slices.Clone(exchanges)}
}

// ErrUnexpected marks a call that the fake has no answer for.
var ErrUnexpected = errors.New("not among the recorded exchanges")

// Run answers c with the next recorded exchange.
func (f *Fake) Run(ctx context.Context, c Cmd) error {
	if ctx.Err() != nil {
		return &Error{Cmd: c, ExitCode: -1, Err: context.Cause(ctx)}
	}
	stdin, err := readAll(c.Stdin)
	if err != nil {
		return &Error{Cmd: c, ExitCode: -1, Err: err}
	}
	x, ok := f.take(c, stdin)
	if !ok {
		return &Error{Cmd: c, ExitCode: -1, Err: fmt.Errorf("%w: %s", ErrUnexpected, c)}
	}
	return x.play(c)
}

func readAll(r io.Reader) (string, error) {
	if r == nil {
		return "", nil
	}
	b, err := io.ReadAll(r)
	return string(b), err
}

func (f *Fake) take(c Cmd, stdin string) (Exchange, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, c)
	argv := append([]string{c.Path}, c.Args...)
	matches := func(x Exchange) bool {
		return slices.Equal(x.Args, argv) && (x.Stdin == "" || x.Stdin == stdin)
	}
	// Only the first of those that are played once may come next.
	for i, x := range f.left {
		if matches(x) {
			if !x.Repeat {
				f.left = slices.Delete(f.left, i, i+1)
			}
			return x, true
		}
		if !x.Repeat {
			break
		}
	}
	i := slices.IndexFunc(f.left, func(x Exchange) bool { return x.Repeat && matches(x) })
	if i < 0 {
		return Exchange{}, false
	}
	return f.left[i], true
}

func (x Exchange) play(c Cmd) error {
	if x.Missing {
		return &Error{Cmd: c, ExitCode: -1, Err: &exec.Error{Name: c.Path, Err: exec.ErrNotFound}}
	}
	for _, s := range []struct {
		w    io.Writer
		text string
	}{{c.Stdout, x.Stdout}, {c.Stderr, x.Stderr}} {
		if s.w == nil {
			continue
		}
		if _, err := io.WriteString(s.w, s.text); err != nil {
			return &Error{Cmd: c, ExitCode: -1, Err: err}
		}
	}
	if x.Exit == 0 && x.Err == nil {
		return nil
	}
	e := &Error{Cmd: c, ExitCode: x.Exit, Stderr: x.Stderr, Err: x.Err}
	if x.Exit == 0 {
		e.ExitCode = -1
	}
	return e
}

// Left returns the exchanges that must still come; a test asks for it at its end.
func (f *Fake) Left() []Exchange {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.left), func(x Exchange) bool { return x.Repeat })
}

// Calls returns the commands asked for so far.
func (f *Fake) Calls() []Cmd {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Dry is a runner for dry runs: it runs what is ReadOnly and prints the rest.
type Dry struct {
	Runner
	Print func(c Cmd)
}

// Run runs c when it changes nothing, else it only prints it.
func (d Dry) Run(ctx context.Context, c Cmd) error {
	if c.ReadOnly {
		return d.Runner.Run(ctx, c)
	}
	d.Print(c)
	return nil
}

var (
	_ Runner = Host{}
	_ Runner = (*Fake)(nil)
	_ Runner = Dry{}
)
