// Package api says what an API method is. A method is declared once, beside the
// code that serves it; routes, commands, completion, manual pages and the API
// viewer are read off the declaration.
//
// It holds none of the methods, and nothing of how they are reached: a door calls
// them through a [Caller].
package api

import (
	"context"
	"errors"
	"reflect"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Method is one verb on one path, or a command that only the command line has.
type Method struct {
	Name        string // upstream's name of it
	Verb        string // GET, POST, PUT or DELETE; empty where the method has no path
	Path        string // with variables in braces: /nodes/{node}/qemu/{vmid}
	Tool        string // the only tool that has it, where another has one of the same name; with no path only
	Doc         string // what it does, in a sentence
	Permissions Permissions
	Protected   bool   // needs the privileges of root
	ProxyTo     string // the parameter that names the node it runs on
	ReadOnly    bool   // changes nothing, so there is nothing to try out dry

	in, out reflect.Type
	open    func() *schema.Schema // of a method whose parameters no Go type lists
	call    func(context.Context, schema.Params) (any, error)
	prepare func(context.Context, schema.Params) (Job, error) // of a task only
	work    func(context.Context, schema.Params) error        // of a task only
}

// A Job says what kind of task a method starts, and for which object.
type Job struct {
	Type string // the word in the UPID: qmstart
	ID   string // the object, such as a vmid; may be empty
}

// New completes m with run, which serves it and whose types give its schemas. In
// is a struct of parameters.
func New[In, Out any](m Method, run func(context.Context, In) (Out, error)) Method {
	m.in, m.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	m.ReadOnly = m.ReadOnly || m.Verb == "GET"
	m.call = func(ctx context.Context, p schema.Params) (any, error) {
		var in In
		if err := decode(p, &in); err != nil {
			return nil, err
		}
		return run(ctx, in)
	}
	return m
}

// NewOpen is [New] for a method whose parameters are put together when it is asked for:
// those of every type of storage, as an instance. run gets them checked, as text.
func NewOpen[Out any](m Method, params func() *schema.Schema, run func(context.Context, schema.Params) (Out, error)) Method {
	m.open, m.out = params, reflect.TypeFor[Out]()
	m.call = func(ctx context.Context, p schema.Params) (any, error) {
		values := make(map[string]any, len(p))
		for name, text := range p {
			values[name] = text
		}
		if faults := params().Check(values); len(faults) > 0 {
			return nil, ParamError(faults)
		}
		return run(ctx, p)
	}
	return m
}

// NewTask completes m, a method that starts a task and returns its UPID. prepare
// makes the checks that the caller should hear of at once and touches nothing; work
// does the job, in a process of its own, with the same parameters.
func NewTask[In any](m Method, prepare func(context.Context, In) (Job, error), work func(context.Context, In) error) Method {
	m.in, m.out = reflect.TypeFor[In](), reflect.TypeFor[string]()
	m.prepare = func(ctx context.Context, p schema.Params) (Job, error) {
		var in In
		if err := decode(p, &in); err != nil {
			return Job{}, err
		}
		return prepare(ctx, in)
	}
	m.work = func(ctx context.Context, p schema.Params) error {
		var in In
		if err := decode(p, &in); err != nil {
			return err
		}
		return work(ctx, in)
	}
	return m
}

// decode turns faults into the error that doors tell them by.
func decode(p schema.Params, in any) error {
	err := schema.Decode(p, in)
	if faults, ok := errors.AsType[schema.Faults](err); ok {
		return ParamError(faults)
	}
	return err
}

// Key identifies m in a registry: "POST /nodes/{node}/qemu", or its name where it
// has no path, after the tool it belongs to: "pct:status".
func (m *Method) Key() string {
	if m.Path == "" {
		if m.Tool != "" {
			return m.Tool + ":" + m.Name
		}
		return m.Name
	}
	return m.Verb + " " + m.Path
}

// IsTask tells whether m starts a task.
func (m *Method) IsTask() bool { return m.work != nil }

// Params returns what m takes.
func (m *Method) Params() *schema.Schema {
	if m.open != nil {
		return m.open()
	}
	return schema.TypeOf(m.in).Schema
}

// Returns is the schema of what m returns.
func (m *Method) Returns() *schema.Schema { return schema.OfType(m.out) }

// A Registry is all the methods that a program has.
type Registry []Method

// Find returns the method that the given key identifies, nil where there is none.
func (r Registry) Find(key string) *Method {
	for i := range r {
		if r[i].Key() == key {
			return &r[i]
		}
	}
	return nil
}
