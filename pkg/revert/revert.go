// Package revert undoes the steps already taken when a later one fails.
//
//	undo := revert.New(ctx, log)
//	defer undo.Fail()
//	... make a volume ...
//	undo.Add("free local:vm-100-disk-0", func(ctx context.Context) error { ... })
//	... make another, write the config ...
//	undo.Success()
package revert

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Patience bounds how long all undo steps of one list may take together, so that a
// dead storage does not keep a failed command from ending.
const Patience = 2 * time.Minute

// A List holds what would undo the steps taken so far.
type List struct {
	// Patience may be changed before Fail.
	Patience time.Duration

	ctx    context.Context //nolint:containedctx // its values serve the undo steps; they outlive its end
	report func(error)

	mu    sync.Mutex
	steps []step
}

type step struct {
	what string
	undo func(context.Context) error
}

// New returns an empty list. Undo steps get the values of ctx but not its end, as it is
// often that end they follow from. What goes wrong in them is joined into one error
// and given to report, since the error to return is the one that made them run.
func New(ctx context.Context, report func(error)) *List {
	return &List{Patience: Patience, ctx: context.WithoutCancel(ctx), report: report}
}

// Add remembers how to undo the step just taken; what names the undo in errors.
func (l *List) Add(what string, undo func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = append(l.steps, step{what, undo})
}

// Success forgets all steps: what was made stays.
func (l *List) Success() { l.take() }

// Move hands the steps over to the caller's own list, under which this was only a part.
func (l *List) Move(to *List) {
	steps := l.take()
	to.mu.Lock()
	defer to.mu.Unlock()
	to.steps = append(to.steps, steps...)
}

// Fail undoes all steps, the last one first. A step that fails does not keep the
// others from being undone. After Success, or a second time, it does nothing.
func (l *List) Fail() {
	steps := l.take()
	if len(steps) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.Patience)
	defer cancel()
	var errs []error
	for i := len(steps) - 1; i >= 0; i-- {
		if err := steps[i].run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", steps[i].what, err))
		}
	}
	if err := errors.Join(errs...); err != nil && l.report != nil {
		l.report(err)
	}
}

// run returns when the step has ended or ctx has, whichever is first: a step may hang
// in a system call that nothing interrupts.
func (s step) run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("panic: %v", p)
			}
		}()
		done <- s.undo(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	// A step that obeys ctx gets a moment to say what it was doing.
	select {
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return fmt.Errorf("not undone in time: %w", context.Cause(ctx))
	}
}

func (l *List) take() []step {
	l.mu.Lock()
	defer l.mu.Unlock()
	steps := l.steps
	l.steps = nil
	return steps
}
