// Package zfs runs zfs and zpool and reads what they print.
//
// A [Tool] runs them wherever its runner does: here, or on a server. Each call has
// bounded time, whatever state the pool is in: a program that hangs in the kernel and
// cannot be ended is left behind. It knows nothing of guests or storages.
package zfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Tool runs zfs and zpool.
type Tool struct {
	Runner run.Runner
	// Look bounds what only looks, Change what changes something; zero means ten seconds
	// and five minutes.
	Look, Change time.Duration
	// Whole says that what changes something goes on when the runner is ended, as on a
	// server: so it is waited for, whatever ctx says.
	Whole bool
}

const (
	lookTime   = 10 * time.Second
	changeTime = 5 * time.Minute
	importTime = 15 * time.Second
)

// What went wrong, where callers branch on it.
var (
	// ErrNotExist is the error of a dataset, snapshot or pool that is not there.
	ErrNotExist = errors.New("dataset does not exist")
	// ErrExists is the error of a name that is taken.
	ErrExists = errors.New("dataset already exists")
	// ErrBusy is the error of a dataset that something holds.
	ErrBusy = errors.New("dataset is busy")
	// ErrClones is the error of a dataset or snapshot that has clones.
	ErrClones = errors.New("dataset has dependent clones")
)

// An Error is what zfs or zpool said when it failed.
type Error struct {
	Said string // its words, on one line
	Err  error
}

// Error reads like "zfs error: cannot open 'tank': dataset does not exist".
func (e *Error) Error() string { return "zfs error: " + e.Said }

// Unwrap returns the error of the runner.
func (e *Error) Unwrap() error { return e.Err }

// Is tells by the words what went wrong.
func (e *Error) Is(target error) bool {
	said := func(texts ...string) bool {
		for _, text := range texts {
			if strings.Contains(e.Said, text) {
				return true
			}
		}
		return false
	}
	switch target {
	case ErrNotExist:
		return said("does not exist", "no such pool", "could not find any snapshots")
	case ErrExists:
		return said("dataset already exists", "destination '") && said("exists")
	case ErrBusy:
		return said("dataset is busy", "pool or dataset is busy", "target is busy", "device is busy")
	case ErrClones:
		return said("dependent clone")
	case syscall.ENOSPC:
		return said("out of space", "No space left on device", "size is greater than available space")
	}
	return false
}

// told gives the failure of a program its own words. Failures of another kind, as of
// the way to a server, stay as they are.
func told(err error) error {
	e, ok := err.(*run.Error) //nolint:errorlint // what is wrapped has words of its own already
	if !ok {
		return err
	}
	words, _, _ := strings.Cut(e.Stderr, "\nusage:") // pages of options that nobody asked for
	said := strings.Join(strings.FieldsFunc(strings.TrimSpace(words), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	if e.ExitCode <= 0 || said == "" {
		said = err.Error()
	}
	return &Error{Said: said, Err: err}
}

// look runs a program that changes nothing and returns what it prints.
func (t Tool) look(ctx context.Context, name string, args ...string) (string, error) {
	return t.run(ctx, t.patience(t.Look, lookTime), run.Cmd{Path: name, Args: args, ReadOnly: true})
}

// change runs a program that changes something.
func (t Tool) change(ctx context.Context, args ...string) error {
	_, err := t.run(ctx, t.patience(t.Change, changeTime), run.Cmd{Path: "zfs", Args: args})
	return err
}

func (t Tool) patience(set, usual time.Duration) time.Duration {
	if set > 0 {
		return set
	}
	return usual
}

// run runs a program for no longer than d. One that does not end when it is killed, as
// it waits in the kernel for a pool that is gone, is left behind.
func (t Tool) run(ctx context.Context, d time.Duration, c run.Cmd) (string, error) {
	c.Env = append(c.Env, "LC_ALL=C")
	c.Grace = time.Second
	if t.Whole && !c.ReadOnly && ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer in %s", d))
	defer cancel()
	type result struct {
		out []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := run.OutputOf(ctx, t.Runner, c)
		done <- result{out, err}
	}()
	select {
	case r := <-done:
		return string(r.out), told(r.err)
	case <-ctx.Done():
	}
	const more = 3 * time.Second // for its signals to reach it
	late := time.NewTimer(more)
	defer late.Stop()
	select {
	case r := <-done:
		return string(r.out), told(r.err)
	case <-late.C:
		return "", &Error{Said: c.Name() + ": " + context.Cause(ctx).Error(), Err: context.Cause(ctx)}
	}
}

// rows cuts what -H makes of a list into rows of columns. Rows that lack columns are
// left out: a dataset can go while it is listed.
func rows(text string, columns int) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		if row := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(row) == columns {
			all = append(all, row)
		}
	}
	return all
}

// words is rows for one column.
func words(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if word := strings.TrimSpace(line); word != "" {
			all = append(all, word)
		}
	}
	return all
}
