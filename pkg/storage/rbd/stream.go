package rbd

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// ExportFormats says that raw data can be had, of any state but no difference.
func (p *pool) ExportFormats(_ context.Context, _ string, s storage.Stream) []string {
	if s.Base != "" || s.All || len(s.Snapshots) > 0 {
		return nil
	}
	return []string{"raw+size"}
}

// ImportFormats is the same as ExportFormats.
func (p *pool) ImportFormats(ctx context.Context, name string, s storage.Stream) []string {
	return p.ExportFormats(ctx, name, s)
}

// Export writes the size of an image and then its data.
func (p *pool) Export(ctx context.Context, w io.Writer, name string, s storage.Stream) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	if err := storage.CheckRawExport(p.Type, "in PVE::Storage::RBDPlugin", s); err != nil {
		return err
	}
	i, err := p.look(ctx, n.File, s.Snapshot)
	if err != nil {
		return err
	}
	if plan := plan.From(ctx); plan == nil {
		if err := storage.WriteHeader(w, i.Size); err != nil {
			return err
		}
	}
	c := p.command(ceph.Move, "export", "--export-format", "1", "--no-progress", p.spec(n.File, s.Snapshot), "-")
	c.Stdout = w
	return p.do(ctx, ceph.Move, "could not export image", c)
}

// Import makes an image from a stream.
func (p *pool) Import(ctx context.Context, r io.Reader, name string, s storage.Stream, rename bool) (string, error) {
	if err := storage.CheckRawStream(p, p.Type, name, s); err != nil {
		return "", err
	}
	return storage.Receiver{
		Pool: p,
		Taken: func(ctx context.Context, name string) (string, error) {
			n, err := parse(name)
			if err != nil {
				return "", err
			}
			names, err := p.names(ctx)
			if names[n.File] {
				return "volume " + n.File + " already exists", err
			}
			return "", err
		},
		Fill: func(ctx context.Context, r io.Reader, name string, size int64) error {
			return p.fill(ctx, r, name, storage.Filling{Size: size, Zeroed: true})
		},
	}.Receive(ctx, r, name, s, rename)
}

// fill puts data into a new image: as a difference to nothing, so that what is zero need
// not be written and its size is that of the source to the byte.
func (p *pool) fill(ctx context.Context, r io.Reader, name string, o storage.Filling) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	in, out := io.Pipe()
	poured := make(chan error, 1)
	go func() {
		err := pour(ctx, out, r, o)
		_ = out.CloseWithError(err)
		poured <- err
	}()
	c := p.command(ceph.Move, "import-diff", "--no-progress", "-", n.File)
	c.Stdin = in
	err = p.do(ctx, ceph.Move, "could not import image", c)
	_ = in.CloseWithError(errGone)
	// What is wrong with the stream is said by who reads it: rbd only knows that it ends.
	if failed := <-poured; failed != nil && !errors.Is(failed, errGone) {
		return failed
	}
	return err
}

var errGone = errors.New("rbd has ended")

func pour(ctx context.Context, out io.Writer, r io.Reader, o storage.Filling) error {
	d := &diff{out: out}
	if err := d.begin(o.Size); err != nil {
		return err
	}
	if _, err := storage.Pour(ctx, d, r, o); err != nil {
		return err
	}
	return d.end()
}

// most is how much of an image is written at once: an object of the usual size.
const most = 4 << 20

// A diff writes what rbd export-diff would: a header, the size, and pieces of data.
type diff struct {
	out io.Writer
	buf []byte // what is to be written together
	at  int64  // where it begins
}

func (d *diff) begin(size int64) error {
	_, err := d.out.Write(append([]byte("rbd diff v1\ns"), le(size)...))
	return err
}

// WriteAt adds a piece, which must come after those before.
func (d *diff) WriteAt(b []byte, at int64) (int, error) {
	if at != d.at+int64(len(d.buf)) || len(d.buf)+len(b) > most {
		if err := d.flush(); err != nil {
			return 0, err
		}
		d.at = at
	}
	d.buf = append(d.buf, b...)
	return len(b), nil
}

func (d *diff) flush() error {
	if len(d.buf) == 0 {
		return nil
	}
	head := append(append([]byte("w"), le(d.at)...), le(int64(len(d.buf)))...)
	if _, err := d.out.Write(head); err != nil {
		return err
	}
	_, err := d.out.Write(d.buf)
	d.buf = d.buf[:0]
	return err
}

func (d *diff) end() error {
	if err := d.flush(); err != nil {
		return err
	}
	_, err := d.out.Write([]byte("e"))
	return err
}

func le(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
