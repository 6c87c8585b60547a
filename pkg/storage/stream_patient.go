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
	ctx   context.Context //nolint:containedctx // readers and writers have no other way to get one
	rate  int64           // bytes per second
	n     int64
	start time.Time
}

func newPace(ctx context.Context, kib int) *pace {
	return &pace{ctx: ctx, rate: int64(kib) << 10, start: time.Now()}
}

// piece is how much goes at once: that of a tenth of a second, so that it goes on evenly.
func (p *pace) piece() int64 { return max(p.rate/10, 1) }

// wait waits until it is time for what comes after n more bytes.
func (p *pace) wait(n int) error {
	p.n += int64(n)
	due := p.start.Add(time.Duration(float64(p.n) / float64(p.rate) * float64(time.Second)))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

type slowReader struct {
	*pace
	r io.Reader
}

func (s slowReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b[:min(int64(len(b)), s.piece())])
	if e := s.wait(n); e != nil {
		return n, e
	}
	return n, err
}

type slowWriter struct {
	*pace
	w io.Writer
}

func (s slowWriter) Write(b []byte) (int, error) {
	done := 0
	for len(b) > 0 {
		n, err := s.w.Write(b[:min(int64(len(b)), s.piece())])
		done += n
		if err == nil {
			err = s.wait(n)
		}
		if err != nil {
			return done, err
		}
		b = b[n:]
	}
	return done, nil
}
