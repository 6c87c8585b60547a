package storage

import (
	"context"
	"io"
	"os"
	"time"
)

// What streams come from and go to may stand still: a pipe whose other end waits, a
// connection. No context ends a read of it, so it happens in a goroutine that is left
// behind when the context ends. Only the foreign side is treated so: what is written to a
// volume must not go on when the volume is given away.

type patientReader struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to get one
	r    io.Reader
	buf  []byte
	done chan moved
}

type moved struct {
	n   int
	err error
}

func newPatientReader(ctx context.Context, r io.Reader) *patientReader {
	return &patientReader{ctx: ctx, r: r, done: make(chan moved, 1)}
}

func (p *patientReader) Read(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	if len(p.buf) < len(b) {
		p.buf = make([]byte, len(b))
	}
	buf := p.buf[:len(b)]
	go func() {
		n, err := p.r.Read(buf)
		p.done <- moved{n, err}
	}()
	select {
	case m := <-p.done:
		return copy(b, buf[:m.n]), m.err
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}

type patientWriter struct {
	ctx  context.Context //nolint:containedctx // an io.Writer has no other way to get one
	w    io.Writer
	buf  []byte
	done chan moved
}

func newPatientWriter(ctx context.Context, w io.Writer) *patientWriter {
	return &patientWriter{ctx: ctx, w: w, done: make(chan moved, 1)}
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	p.buf = append(p.buf[:0], b...)
	buf := p.buf
	go func() {
		n, err := p.w.Write(buf)
		p.done <- moved{n, err}
	}()
	select {
	case m := <-p.done:
		return m.n, m.err
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}

// ProgramInput returns a stream as the input of a program that ends with ctx. Files are
// left as they are: the program reads them itself.
func ProgramInput(ctx context.Context, r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok {
		return f
	}
	return newPatientReader(ctx, r)
}

// ProgramOutput is the same for what a program writes.
func ProgramOutput(ctx context.Context, w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok {
		return f
	}
	return newPatientWriter(ctx, w)
}

// A pace lets no more than so many bytes through in a second.
type pace struct {
	ctx   context.Context //nolint:containedctx // an io.Reader has no other way to get one
	r     io.Reader
	rate  int64 // bytes per second
	n     int64
	start time.Time
}

// newPace returns r, slowed down to the given KiB/s where that is not 0. It ends with ctx.
func newPace(ctx context.Context, r io.Reader, limit int) io.Reader {
	return &pace{ctx: ctx, r: r, rate: int64(limit) << 10, start: time.Now()}
}

func (p *pace) Read(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	if p.rate <= 0 {
		return p.r.Read(b)
	}
	// Pieces of a tenth of a second, so that it goes on evenly.
	n, err := p.r.Read(b[:min(int64(len(b)), max(p.rate/10, 1))])
	p.n += int64(n)
	due := p.start.Add(time.Duration(float64(p.n) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return n, err
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}
