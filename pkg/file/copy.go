package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Copy copies a file with its mode, leaving holes where the source has them, and
// reports the number of bytes done after each step to progress, which may be nil. The
// target must not exist. It is removed after an error.
func Copy(ctx context.Context, from, to string, progress func(done, total int64)) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if closed := out.Close(); err == nil {
			err = closed
		}
		if err != nil {
			_ = os.Remove(to)
			err = fmt.Errorf("copy %s to %s: %w", from, to, explain(err))
		}
	}()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	if err := copyData(ctx, in, out, info.Size(), progress); err != nil {
		return err
	}
	return out.Sync()
}

// Whence values of lseek(2) that find data and holes.
const (
	seekData = 3
	seekHole = 4
)

// copyStep is how much is copied between two looks at ctx.
const copyStep = 4 << 20

func copyData(ctx context.Context, in, out *os.File, size int64, progress func(done, total int64)) error {
	for pos := int64(0); pos < size; {
		data, err := in.Seek(pos, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break // nothing but a hole until the end
		}
		if err != nil {
			data = pos // a file system that does not know holes
		}
		hole, err := in.Seek(data, seekHole)
		if err != nil {
			hole = size
		}
		for pos = data; pos < hole; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := copyChunk(in, out, pos, min(copyStep, hole-pos))
			if err != nil {
				return err
			}
			if pos += n; progress != nil {
				progress(pos, size)
			}
		}
	}
	if progress != nil {
		progress(size, size)
	}
	return nil
}

func copyChunk(in, out *os.File, pos, n int64) (int64, error) {
	if _, err := in.Seek(pos, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err := out.Seek(pos, io.SeekStart); err != nil {
		return 0, err
	}
	// In the kernel where it can, which shares blocks on file systems that do.
	return io.CopyN(out, in, n)
}
