package unpack

import (
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// Stdin is the name of the archive that comes from standard input.
const Stdin = "-"

// A Source is an archive to read.
type Source struct {
	Name string // as messages call it: the volume, or the path
	// Reader gives what it holds. What is an [io.ReaderAt] too, as files are, is read from
	// its start, any number of times; anything else once.
	Reader io.Reader
	Size   int64 // 0 where it is not known
}

// OpenFile opens the archive in a file; the caller closes it. An empty name takes the path.
func OpenFile(path, name string) (*Source, io.Closer, error) {
	// Nobody may ever write to a pipe, should it be one.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("'%s' is not a file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	if name == "" {
		name = path
	}
	return &Source{name, f, st.Size()}, f, nil
}

// start returns a reader of the whole archive.
func (s *Source) start() io.Reader {
	if at, ok := s.Reader.(io.ReaderAt); ok {
		return io.NewSectionReader(at, 0, 1<<62)
	}
	return s.Reader
}

// A stream is a decompressed archive, read ahead.
type stream struct {
	r     io.Reader
	n     int64 // bytes given out so far
	err   error // why it ended, other than its end
	close func()
}

// Read counts what it gives.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// Close ends what reads ahead.
func (s *stream) Close() { s.close() }

// open decompresses an archive, by what it begins with.
func (s *Source) open(ctx context.Context, o Options) (*stream, error) {
	_, file := s.Reader.(io.ReaderAt)
	return decompress(ctx, paced(ctx, s.start(), o), o.Runner, file)
}

// headSize is how much tells one format from another.
const headSize = 512

// A compression is how an archive is compressed; empty for not at all.
type compression string

func compressionOf(head []byte) compression {
	for _, m := range []struct {
		magic string
		name  compression
	}{
		{"\x1f\x8b", "gzip"},
		{"\x28\xb5\x2f\xfd", "zstd"},
		{"BZh", "bzip2"},
		{"\xfd7zXZ\x00", "xz"},
		{"\x89LZO\x00\r\n\x1a\n", "lzop"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.name
		}
	}
	// A frame of zstd that is skipped, as pzstd writes it first.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")) {
		return "zstd"
	}
	return ""
}

// errNoMore is why reading ahead ends when the archive is closed.
var errNoMore = errors.New("no more is wanted")

// decompress returns what in holds, read ahead of whoever reads it. Whoever closes it is
// patient where reading in cannot last.
func decompress(ctx context.Context, in io.Reader, runner run.Runner, patient bool) (*stream, error) {
	head, err := begin(ctx, in)
	if err != nil {
		return nil, err
	}
	in = io.MultiReader(bytes.NewReader(head), in)
	ctx, cancel := context.WithCancelCause(ctx)
	out, end, err := decompressor(ctx, compressionOf(head), in, runner)
	if err != nil {
		cancel(err)
		return nil, damaged(err)
	}
	a := readAhead(ctx, out)
	return &stream{r: a, close: func() {
		cancel(errNoMore)
		a.stop()
		if patient {
			a.wait.Wait()
			end()
		}
	}}, nil
}

// begin reads what tells the format. It may be long in coming, from standard input.
func begin(ctx context.Context, in io.Reader) ([]byte, error) {
	type result struct {
		head []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		head := make([]byte, headSize)
		n, err := io.ReadFull(in, head)
		switch {
		case n > 0 && errors.Is(err, io.ErrUnexpectedEOF):
			err = nil
		case err == io.EOF:
			err = fmt.Errorf("%w: it is empty", errDamaged)
		}
		done <- result{head[:n], err}
	}()
	select {
	case r := <-done:
		return r.head, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// decompressor returns a reader of what in holds decompressed, and what is to be done when
// no more is read.
func decompressor(ctx context.Context, c compression, in io.Reader, runner run.Runner) (io.Reader, func(), error) {
	switch c {
	case "gzip":
		r, err := gzip.NewReader(in)
		return r, func() {}, err
	case "zstd":
		// The window is the largest that the program takes without being told to.
		r, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(1<<27), zstd.WithDecoderConcurrency(2))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	case "bzip2":
		return bzip2.NewReader(in), func() {}, nil
	case "xz", "lzop":
		return program(ctx, runner, run.Cmd{Path: string(c), Args: []string{"-d", "-c"}, Stdin: in, ReadOnly: true, Nobody: true})
	}
	return in, func() {}, nil
}

// program decompresses by a program, which is ended when no more is read.
func program(ctx context.Context, runner run.Runner, c run.Cmd) (io.Reader, func(), error) {
	if runner == nil {
		runner = run.Host{}
	}
	out, in := io.Pipe()
	c.Stdout = in
	var wait sync.WaitGroup
	wait.Go(func() {
		err := runner.Run(ctx, c)
		if run.ExitCode(err) > 0 { // else it is not at fault: no such program
			err = fmt.Errorf("%w: %w", errDamaged, err)
		}
		in.CloseWithError(err) // nil is the end
	})
	return out, func() {
		out.Close()
		wait.Wait()
	}, nil
}

// Blocks read ahead.
const (
	aheadSize  = 256 << 10
	aheadCount = 8
)

// An ahead reads before it is asked, in a goroutine of its own.
type ahead struct {
	ctx        context.Context //nolint:containedctx // of one reading
	full, free chan []byte
	done       chan struct{}
	wait       sync.WaitGroup
	block      []byte // what is left of the present one, which whole is
	whole      []byte
	err        error // set before full is closed
}

func readAhead(ctx context.Context, r io.Reader) *ahead {
	a := &ahead{ctx: ctx, full: make(chan []byte, aheadCount), free: make(chan []byte, aheadCount), done: make(chan struct{})}
	for range aheadCount {
		a.free <- nil // made when they are needed: most archives of tests are small
	}
	a.wait.Go(func() { a.fill(r) })
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for {
		var block []byte
		select {
		case block = <-a.free:
		case <-a.done:
			a.err = io.ErrClosedPipe
			return
		}
		if block == nil {
			block = make([]byte, aheadSize)
		}
		block = block[:aheadSize]
		n, err := 0, error(nil)
		for n < aheadSize && err == nil { // io.ReadFull would hide whether the end was expected
			var m int
			m, err = r.Read(block[n:])
			n += m
		}
		if n > 0 {
			a.full <- block[:n]
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// Read gives out the next bytes.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.block) == 0 {
		if a.whole != nil {
			a.free <- a.whole
			a.whole = nil
		}
		select {
		case block, ok := <-a.full:
			if !ok {
				return 0, a.err
			}
			a.block, a.whole = block, block
		case <-a.ctx.Done(): // what is waited for may never come
			return 0, context.Cause(a.ctx)
		}
	}
	n := copy(p, a.block)
	a.block = a.block[n:]
	return n, nil
}

// stop has the goroutine end.
func (a *ahead) stop() { close(a.done) }

// paced reads at no more than the limit, tells the progress, and stops with ctx.
func paced(ctx context.Context, r io.Reader, o Options) *pace {
	return &pace{ctx: ctx, r: r, rate: int64(o.Limit) << 10, start: time.Now(), progress: o.Progress}
}

type pace struct {
	ctx      context.Context //nolint:containedctx // of one reading
	r        io.Reader
	rate     int64 // bytes a second; 0 for no limit
	start    time.Time
	n        int64
	progress func(int64)
}

func (p *pace) Read(b []byte) (int, error) {
	if p.ctx.Err() != nil {
		return 0, context.Cause(p.ctx)
	}
	if p.rate > 0 {
		b = b[:min(int64(len(b)), max(p.rate/10, 1))]
	}
	n, err := p.r.Read(b)
	p.n += int64(n)
	if p.progress != nil {
		p.progress(p.n)
	}
	if p.rate > 0 {
		due := p.start.Add(time.Duration(float64(p.n) / float64(p.rate) * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-p.ctx.Done():
		}
	}
	return n, err
}
