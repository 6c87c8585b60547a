// Package lvm runs the programs of the logical volume manager and reads what they
// report.
//
// It knows volume groups, logical volumes, thin pools and thin snapshots, and nothing of
// what is kept on them. What only looks is bounded in time and is never left behind
// more than once; what changes something is let come to its end, as a program of LVM
// that is killed in the middle can leave devices suspended.
package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Tool runs the programs of LVM. In a dry run, what would change something is told.
type Tool struct {
	Runner run.Runner
	// Stuck returns the processes that have waited for a device for longer than the
	// given time and cannot be killed, by the name of their program. Nil looks into /proc.
	Stuck func(longer time.Duration) map[string]int
}

// What went wrong, where callers branch on it.
var (
	// ErrMissing is the error of a volume or a group that is not there.
	ErrMissing = errors.New("not found by LVM")
	// ErrExists is the error of a name that is taken.
	ErrExists = errors.New("name is taken in the volume group")
	// ErrInUse is the error of a volume that something has opened.
	ErrInUse = errors.New("volume is in use")
	// ErrSlow is the error of LVM waiting for a device that does not answer.
	ErrSlow = errors.New("no answer in time, a device may hang")
	// ErrKernel is the error of a kernel that cannot do what LVM needs.
	ErrKernel = errors.New("the kernel has no device-mapper: is the module dm_mod there?")
)

// How long programs may take. Many at once wait for each other, on a machine with much to
// do for longer than a device that answers would ever keep one of them: who wants to know
// sooner that a device hangs says so by the deadline of ctx, as the status of storages does.
const (
	lookPatience   = time.Minute
	devicePatience = 15 * time.Second
	changePatience = 2 * time.Minute
	grace          = 2 * time.Second
	// SIGKILL could leave devices suspended, so it comes late.
	changeGrace = time.Minute
)

// kinds tells errors apart by what LVM prints.
func kinds() []struct {
	text string
	err  error
} {
	return []struct {
		text string
		err  error
	}{
		{"communicate with kernel device-mapper driver", ErrKernel},
		{"device-mapper support is not available", ErrKernel},
		{"insufficient free space", syscall.ENOSPC},
		{"insufficient suitable allocatable extents", syscall.ENOSPC},
		{"free space in pool", syscall.ENOSPC},
		{"failed to find logical volume", ErrMissing},
		{"cannot find logical volume", ErrMissing},
		{"one or more specified logical volume(s) not found", ErrMissing},
		{"not found in volume group", ErrMissing},
		{"already exists in volume group", ErrExists},
		{" in use.", ErrInUse},
		{"is used by another device", ErrInUse},
		{"open logical volume", ErrInUse},
	}
}

// An Error is the failure of a program of LVM.
type Error struct {
	What   string // what was tried: lvcreate 'vg/vm-100-disk-0'
	Kind   error  // one of the errors of this package, ENOSPC, or nil
	Failed error  // as the runner tells it
}

// Error reads like "lvcreate 'vg/vm-100-disk-0' error: lvcreate: exit status 5: …".
func (e *Error) Error() string {
	if e.Kind == ErrKernel { //nolint:errorlint // set by us, never wrapped
		return fmt.Sprintf("%s error: %v", e.What, e.Kind)
	}
	return fmt.Sprintf("%s error: %v", e.What, e.Failed)
}

// Unwrap returns the error of the runner and the kind.
func (e *Error) Unwrap() []error {
	return slices.DeleteFunc([]error{e.Failed, e.Kind}, func(err error) bool { return err == nil })
}

// failure makes an Error of what a program came to.
func failure(what string, err error) error {
	if err == nil {
		return nil
	}
	e := &Error{What: what, Failed: err}
	if failed, ok := errors.AsType[*run.Error](err); ok {
		e.Kind = kindOf(failed.Stderr)
	}
	return e
}

func kindOf(stderr string) error {
	text := strings.ToLower(stderr)
	for _, k := range kinds() {
		if strings.Contains(text, k.text) {
			return k.err
		}
	}
	if strings.Contains(text, "volume group \"") && strings.Contains(text, "not found") {
		return ErrMissing
	}
	return nil
}

// look runs a program that only reports, and returns what it printed.
func (t Tool) look(ctx context.Context, what, program string, args ...string) ([]byte, error) {
	limit, cancel := context.WithTimeoutCause(ctx, lookPatience, ErrSlow)
	defer cancel()
	var text []byte
	err := t.bounded(limit, program, 2*grace, func() (err error) {
		text, err = run.OutputOf(limit, t.Runner, run.Cmd{Path: program, Args: args, Env: environment(), ReadOnly: true, Grace: grace})
		return err
	})
	if err != nil {
		return nil, failure(what, err)
	}
	return text, nil
}

// bounded runs fn, which runs a program, and comes back in time whatever the devices do:
// a program that waits for a dead one cannot be killed, so it is left behind, and no
// other is started as long as it is there.
func (t Tool) bounded(limit context.Context, program string, dying time.Duration, fn func() error) error {
	stuck := t.Stuck
	if stuck == nil {
		stuck = func(longer time.Duration) map[string]int { return waiting("/proc", longer) }
	}
	for name, pid := range stuck(devicePatience) {
		if slices.Contains(programs(), name) {
			return fmt.Errorf("%s: process %d (%s) still waits for a device: %w", program, pid, name, ErrSlow)
		}
	}
	done := make(chan error, 1)
	go func() { done <- fn() }() // outlives us only with a program that cannot be killed
	select {
	case err := <-done:
		return err
	case <-limit.Done():
	}
	last := time.NewTimer(dying)
	defer last.Stop()
	select {
	case err := <-done:
		return err
	case <-last.C:
		return fmt.Errorf("%s: %w", program, context.Cause(limit))
	}
}

// programs are those of LVM that this package runs.
func programs() []string {
	return []string{"vgs", "lvs", "pvs", "lvcreate", "lvremove", "lvrename", "lvextend", "lvchange", "vgchange", "pvcreate", "pvremove", "vgcreate"}
}

// environment makes the words of the programs those that are looked for.
func environment() []string { return []string{"LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1"} }

// change runs a program that changes something, to its end: what has been asked for
// when ctx ends is done. What the program says is passed on when it succeeds, and is
// part of the error when it does not.
func (t Tool) change(ctx context.Context, what, program string, args ...string) error {
	c := run.Cmd{Path: program, Args: args, Env: environment(), Grace: changeGrace}
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", c)
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	limit, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), changePatience, ErrSlow)
	defer cancel()
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := t.bounded(limit, program, 2*grace, func() error { return t.Runner.Run(limit, c) }); err != nil {
		return failure(what, err)
	}
	streams := api.StreamsOf(ctx)
	for _, s := range []struct {
		text string
		show func(string)
	}{
		{out.String(), func(line string) { fmt.Fprintln(streams.Out, line) }},
		{said.String(), func(line string) { fmt.Fprintln(streams.Err, line) }},
	} {
		for line := range strings.Lines(s.text) {
			if line = strings.TrimRight(line, "\n"); line != "" && !noise(line) {
				s.show(line)
			}
		}
	}
	return nil
}

// noise tells whether a line is about empty drives, as remote consoles have them.
func noise(line string) bool { return strings.Contains(line, "open failed: No medium found") }
