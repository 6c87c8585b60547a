package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
)

// streamBlock is how much is moved at once. Zeros are left out in smaller pieces.
const (
	streamBlock = 256 << 10
	sparseBlock = 64 << 10
)

// ExportRaw writes a raw+size stream of what lies at a path: a file or a block device.
// Where it is, on the way, or how much of it is holes, makes no difference to the stream.
func ExportRaw(ctx context.Context, w io.Writer, path string, s Stream) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return err
	}
	size, block := (st.Size()+511)&^511, int64(4<<10) // as QEMU sees a file
	if !st.Mode().IsRegular() {
		block = 64 << 10
		if size, err = f.Seek(0, io.SeekEnd); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			return err
		}
	}
	return ExportReader(ctx, w, f, Sending{Size: size, Length: size, Pad: 511, Block: block, What: path})
}

// ExportFile writes a stream with the file at a path as it is, such as an image with the
// snapshots inside. size is what the stream announces.
func ExportFile(ctx context.Context, w io.Writer, path string, size int64, s Stream) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return ExportReader(ctx, w, f, Sending{Size: size, Length: st.Size(), Block: 4 << 10, What: path})
}

// A Sending says what [ExportReader] writes.
type Sending struct {
	Size   int64  // what the stream announces
	Length int64  // how many bytes follow
	Pad    int64  // how many of them may be missing in the source; they are sent as zeros
	Block  int64  // the size of the records that are told
	What   string // names the source in errors
}

// ExportReader writes a stream that begins with a size.
func ExportReader(ctx context.Context, w io.Writer, r io.Reader, o Sending) error {
	out := newPatientWriter(ctx, w)
	if err := WriteHeader(out, o.Size); err != nil {
		return fmt.Errorf("write stream: %w", err)
	}
	t := tally{block: o.Block, start: time.Now()}
	in := io.LimitReader(endingReader{ctx, r}, o.Length)
	buf := make([]byte, streamBlock)
	for t.n < o.Length {
		n, err := io.ReadFull(in, buf[:min(streamBlock, o.Length-t.n)])
		if ended(err) && n == 0 || err != nil && !ended(err) {
			if ended(err) {
				break
			}
			return fmt.Errorf("read %s: %w", o.What, err)
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return fmt.Errorf("write stream: %w", err)
		}
		t.n += int64(n)
	}
	if missing := o.Length - t.n; missing > o.Pad {
		return fmt.Errorf("%s became smaller while it was read: %d of %d bytes", o.What, t.n, o.Length)
	} else if missing > 0 {
		if _, err := out.Write(make([]byte, missing)); err != nil {
			return fmt.Errorf("write stream: %w", err)
		}
		t.n += missing
	}
	t.tell(ctx)
	return nil
}

// endingReader reads until a context ends.
type endingReader struct {
	ctx context.Context //nolint:containedctx // an io.Reader has no other way to get one
	r   io.Reader
}

func (e endingReader) Read(b []byte) (int, error) {
	if e.ctx.Err() != nil {
		return 0, context.Cause(e.ctx)
	}
	return e.r.Read(b)
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// A Filling says how [FillFile] fills a file or a block device.
type Filling struct {
	// Size is what the stream has announced; 0 for whatever comes.
	Size int64
	// Whole says that the file is replaced by the data, which may be shorter or longer
	// than the volume it holds.
	Whole bool
	// Zeroed says that it reads as zeros already: those of the stream are not written.
	Zeroed bool
}

// FillFile writes what is left of r to a path, which is there. A stream that is shorter
// or longer than it said is an error.
func FillFile(ctx context.Context, r io.Reader, path string, o Filling) (err error) {
	flags := os.O_WRONLY
	if o.Whole {
		flags |= os.O_TRUNC
		o.Zeroed = true
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }() // a full server tells of it late
	st, err := f.Stat()
	if err != nil {
		return err
	}
	n, err := pour(ctx, f, r, o)
	if err != nil {
		return err
	}
	if st.Mode().IsRegular() {
		// The end may have been zeros, or the new image larger than what was sent: its size is
		// in KiB.
		return f.Truncate(max(n, bound(o)))
	}
	// The device may go as soon as we have done, or have no space for what it has not
	// been given yet.
	return f.Sync()
}

// bound is how many bytes may come; 0 for any number.
func bound(o Filling) int64 {
	if o.Whole {
		return 0
	}
	return o.Size
}

// Pour is [FillFile] for what is no file of this host. It returns how much it was.
func Pour(ctx context.Context, w io.WriterAt, r io.Reader, o Filling) (int64, error) {
	return pour(ctx, w, r, o)
}

// pour copies until the stream ends and returns how much it was.
func pour(ctx context.Context, f io.WriterAt, r io.Reader, o Filling) (int64, error) {
	in := newPatientReader(ctx, r)
	t := tally{block: 64 << 10, start: time.Now()}
	buf := make([]byte, streamBlock)
	for {
		n, err := io.ReadFull(in, buf)
		if err != nil && !ended(err) {
			return t.n, fmt.Errorf("read stream: %w", err)
		}
		if most := bound(o); most > 0 && t.n+int64(n) > most {
			return t.n, fmt.Errorf("import: the stream goes on after the %d bytes that its header announces", most)
		}
		if err := write(f, buf[:n], t.n, o.Zeroed); err != nil {
			return t.n, err
		}
		t.n += int64(n)
		if err != nil {
			break
		}
	}
	// Upstream rounds the size of an image up to what QEMU sees but sends what is there.
	if missing := bound(o) - t.n; missing >= 512 {
		return t.n, fmt.Errorf("import: the stream ends after %d of the %d bytes that its header announces", t.n, o.Size)
	}
	t.tell(ctx)
	return t.n, nil
}

// write writes a piece, less the zeros where they are there already.
func write(f io.WriterAt, data []byte, at int64, zeroed bool) error {
	var zeros [sparseBlock]byte
	for len(data) > 0 {
		n := min(len(data), sparseBlock)
		if !zeroed || !bytes.Equal(data[:n], zeros[:n]) {
			if _, err := f.WriteAt(data[:n], at); err != nil {
				return err
			}
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}

// A tally tells of a copy as dd does, since upstream lets dd make it.
type tally struct {
	n, block int64
	start    time.Time
}

func (t tally) tell(ctx context.Context) {
	records := fmt.Sprintf("%d+%d records", t.n/t.block, min(1, t.n%t.block))
	took := max(time.Since(t.start).Seconds(), 1e-6)
	fmt.Fprintf(api.StreamsOf(ctx).Err, "%s in\n%s out\n%s copied, %.6g s, %s/s\n",
		records, records, counted(t.n), took, human(float64(t.n)/took, 1000, "B"))
}

// counted writes a number of bytes as dd does.
func counted(n int64) string {
	text := fmt.Sprintf("%d bytes", n)
	switch {
	case n == 1:
		return "1 byte"
	case n < 1000:
		return text
	case n < 1024:
		return text + " (" + human(float64(n), 1000, "B") + ")"
	}
	return text + " (" + human(float64(n), 1000, "B") + ", " + human(float64(n), 1024, "iB") + ")"
}

// human writes a number with a unit: 4.5 MB, 33 MiB.
func human(n, base float64, unit string) string {
	const prefixes = "kMGTPE"
	i := -1
	for math.Round(n) >= base && i < len(prefixes)-1 {
		n, i = n/base, i+1
	}
	if i < 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	prefix := prefixes[i : i+1]
	if unit == "iB" {
		prefix = strings.ToUpper(prefix)
	}
	if n < 9.95 {
		return fmt.Sprintf("%.1f %s%s", n, prefix, unit)
	}
	return fmt.Sprintf("%.0f %s%s", n, prefix, unit)
}
