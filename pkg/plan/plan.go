// Package plan is the dry run: it carries, with a context, the wish that nothing
// be touched and that what would be done be told instead.
//
// What changes the world asks [From] first: the runner of programs, the writer of
// configuration files, the monitor of a guest. Whoever goes through them is dry
// without knowing.
package plan

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// A Plan collects what would be done.
type Plan struct {
	mu  sync.Mutex
	out io.Writer
	n   int
	// files are contents that would have been written, by path; nil for a file that
	// would be gone. Later reads see them.
	files map[string]*string
}

// New returns a plan that tells its steps to out.
func New(out io.Writer) *Plan { return &Plan{out: out, files: map[string]*string{}} }

type key struct{}

// With makes everything done with the returned context dry.
func With(ctx context.Context, p *Plan) context.Context { return context.WithValue(ctx, key{}, p) }

// From returns the plan of ctx, nil where the work is meant.
func From(ctx context.Context) *Plan {
	p, _ := ctx.Value(key{}).(*Plan)
	return p
}

// Stepf tells one step that would be taken.
func (p *Plan) Stepf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	fmt.Fprintf(p.out, format+"\n", args...)
}

// Steps returns how many steps were told.
func (p *Plan) Steps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// Write notes that the file at path would have the given text; nil removes it.
func (p *Plan) Write(path string, text *string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files[path] = text
}

// Read returns what a file would hold. ok is false where the plan does not touch it.
func (p *Plan) Read(path string) (text *string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, ok = p.files[path]
	return text, ok
}
