package run

import (
	"bytes"
	"context"
	"errors"
)

// maxLine bounds one line: what is longer reaches the callback in pieces.
const maxLine = 64 << 10

// Lines runs a command and calls fn with each line of its standard output, without the
// line end, while the program runs. A carriage return ends a line as well, as progress
// displays use it. An error of fn ends the program and is returned.
func Lines(ctx context.Context, r Runner, c Cmd, fn func(line string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed error
	w := NewLineWriter(func(line string) {
		if failed != nil {
			return
		}
		if failed = fn(line); failed != nil {
			cancel(failed)
		}
	})
	c.Stdout = w
	err := r.Run(ctx, c)
	if closed := w.Close(); err == nil {
		err = closed
	}
	if failed != nil && !errors.Is(err, failed) {
		err = failed
	}
	return err
}

// A LineWriter cuts what is written to it into lines. It serves one writer.
type LineWriter struct {
	fn  func(line string)
	buf []byte
}

// NewLineWriter returns a writer that calls fn with each line that is not empty.
// Close hands over a last line without an end.
func NewLineWriter(fn func(line string)) *LineWriter { return &LineWriter{fn: fn} }

// Write takes all of p.
func (l *LineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			l.buf = append(l.buf, p...)
			if len(l.buf) >= maxLine {
				l.flush()
			}
			break
		}
		l.buf = append(l.buf, p[:i]...)
		l.flush()
		p = p[i+1:]
	}
	return n, nil
}

// Close hands over what is left.
func (l *LineWriter) Close() error {
	l.flush()
	return nil
}

func (l *LineWriter) flush() {
	if len(l.buf) > 0 {
		l.fn(string(l.buf))
		l.buf = l.buf[:0]
	}
}
