package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Type is a kind of storage: what storage.cfg may say of it, and how to open one.
type Type struct {
	Name     string
	Contents []Content // what it can hold
	Default  []Content // what it holds where storage.cfg does not say
	Formats  []string  // of images; the first is the default
	// Shared says that it is the same on all nodes by its nature.
	Shared bool
	// Config is what a section of storage.cfg may hold. Fields with the tag
	// fixed:"1" cannot be changed later.
	Config *schema.Struct

	open func(schema.Params, Env) (Pool, error)
}

// NewType completes a Type whose sections are decoded into a C.
func NewType[C any](t Type, open func(C, Env) (Pool, error)) Type {
	t.Config = schema.TypeOf(reflect.TypeFor[C]())
	t.open = func(p schema.Params, env Env) (Pool, error) {
		var c C
		if err := schema.Decode(p, &c); err != nil {
			return nil, fmt.Errorf("storage '%s': %w", env.ID, err)
		}
		return open(c, env)
	}
	return t
}

// Env is the world of one storage.
type Env struct {
	ID     id.Storage
	Type   string
	Runner run.Runner
	Zone   *time.Location // in which backups are named
	// QEMUImg is the path of the program.
	QEMUImg string
	// Disposable says that the tree may be taken away as a whole, so nothing in it
	// is made to resist that.
	Disposable bool
	// Contents are those the storage is used for.
	Contents []Content
	// Lock runs fn under the lock of the storage. It is for choosing names: long work
	// is done outside.
	Lock func(ctx context.Context, fn func(context.Context) error) error
	// Guests tells for the guests of the cluster of which kind they are: qemu or lxc.
	Guests func(ctx context.Context) (map[id.VM]string, error)
}

// Run runs a program, or tells of it in a dry run where it would change something.
func (e Env) Run(ctx context.Context, c run.Cmd) error {
	if p := plan.From(ctx); p != nil && !c.ReadOnly {
		p.Stepf("%s", c)
		return nil
	}
	return e.Runner.Run(ctx, c)
}

// A ToolError is the failure of a program in upstream's words, to be told after
// what the program itself has said.
type ToolError struct{ Failed *run.Error }

// Error reads like "command '/usr/bin/qemu-img …' failed: exit code 1".
func (e *ToolError) Error() string { return e.Failed.Upstream() }

// Unwrap returns the error of the runner.
func (e *ToolError) Unwrap() error { return e.Failed }

// Tool gives the failures of programs their upstream wording. It is for programs
// whose own words the user has seen.
func Tool(err error) error {
	if e, ok := errors.AsType[*run.Error](err); ok {
		return &ToolError{e}
	}
	return err
}

// Has tells whether the storage may hold a content.
func (t Type) Has(c Content) bool { return slices.Contains(t.Contents, c) }
