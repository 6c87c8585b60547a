package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Caller calls methods by their key: in this process, or on another node.
type Caller interface {
	// Call returns what the method returns, as the Go value or as plain JSON data.
	// A method that starts a task returns its UPID, a string.
	Call(ctx context.Context, key string, p schema.Params) (any, error)
}

// Local calls methods in this process.
type Local struct {
	Methods Registry
	// Start starts the task that m is, with parameters p, and returns its UPID.
	Start func(ctx context.Context, m *Method, job Job, p schema.Params) (string, error)
}

// ErrNoMethod is the error of a call of something that is not declared.
var ErrNoMethod = errors.New("no such method")

// Call implements [Caller]. A task whose context carries a plan is not started: its
// work is gone through here, dry.
func (l Local) Call(ctx context.Context, key string, p schema.Params) (any, error) {
	m := l.Methods.Find(key)
	if m == nil {
		return nil, fmt.Errorf("%s: %w", key, ErrNoMethod)
	}
	if !m.IsTask() {
		return m.call(ctx, p)
	}
	job, err := m.prepare(ctx, p)
	if err != nil {
		return nil, err
	}
	if plan.From(ctx) != nil {
		return nil, m.work(ctx, p)
	}
	return l.Start(ctx, m, job, p)
}

// Work does the job of the task method that key identifies. It is what a worker
// process runs.
func (l Local) Work(ctx context.Context, key string, p schema.Params) error {
	m := l.Methods.Find(key)
	if m == nil || !m.IsTask() {
		return fmt.Errorf("%s: %w", key, ErrNoMethod)
	}
	return m.work(ctx, p)
}
