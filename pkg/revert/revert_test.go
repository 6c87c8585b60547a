package revert_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/revert"
)

func TestFailRunsBackwards(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var ran []string
	var reported error
	undo := revert.New(ctx, func(err error) { reported = err })
	note := func(what string, err error) {
		undo.Add(what, func(ctx context.Context) error {
			ran = append(ran, what)
			return errors.Join(ctx.Err(), err)
		})
	}
	busy := errors.New("busy")
	note("free disk 0", busy)
	note("free disk 1", nil)
	note("remove config", errors.New("read-only"))
	undo.Fail()
	undo.Fail()
	if diff := cmp.Diff([]string{"remove config", "free disk 1", "free disk 0"}, ran); diff != "" {
		t.Error(diff)
	}
	if !errors.Is(reported, busy) {
		t.Errorf("reported %v", reported)
	}
	if got, want := reported.Error(), "remove config: read-only\nfree disk 0: busy"; got != want {
		t.Errorf("reported %q, want %q", got, want)
	}
}

func TestSuccess(t *testing.T) {
	undo := revert.New(t.Context(), nil)
	undo.Add("step", func(context.Context) error { t.Error("undone"); return nil })
	undo.Success()
	undo.Fail()
}

func TestMove(t *testing.T) {
	var ran []string
	outer, inner := revert.New(t.Context(), nil), revert.New(t.Context(), nil)
	for _, s := range []struct {
		l    *revert.List
		what string
	}{{outer, "a"}, {inner, "b"}} {
		s.l.Add(s.what, func(context.Context) error { ran = append(ran, s.what); return nil })
	}
	inner.Move(outer)
	inner.Fail()
	outer.Fail()
	if diff := cmp.Diff([]string{"b", "a"}, ran); diff != "" {
		t.Error(diff)
	}
}

func TestPanicDoesNotStopTheRest(t *testing.T) {
	undone := false
	var reported error
	undo := revert.New(t.Context(), func(err error) { reported = err })
	undo.Add("first", func(context.Context) error { undone = true; return nil })
	undo.Add("second", func(context.Context) error { panic("oops") })
	undo.Fail()
	if !undone || reported == nil || reported.Error() != "second: panic: oops" {
		t.Errorf("undone %v, reported %v", undone, reported)
	}
}

func TestHangingStepIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported error
		undo := revert.New(t.Context(), func(err error) { reported = err })
		free := make(chan struct{})
		undo.Add("hang", func(context.Context) error { <-free; return nil })
		start := time.Now()
		undo.Fail()
		if d := time.Since(start); d != revert.Patience+time.Second {
			t.Errorf("took %v", d)
		}
		if !errors.Is(reported, context.DeadlineExceeded) {
			t.Errorf("reported %v", reported)
		}
		close(free)
	})
}
