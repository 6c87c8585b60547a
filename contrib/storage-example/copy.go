package main

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// replace puts a copy of one file in the place of another, whole or not at all. Holes
// stay holes.
func replace(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(to + ".new")
		}
	}()
	err = errors.Join(copyData(in, out), out.Close())
	if err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

// copyData copies what is not a hole, and the size.
func copyData(in, out *os.File) error {
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	const seekData, seekHole = 3, 4
	for at := int64(0); at < st.Size(); {
		start, err := in.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil // holes to the end
		}
		if err != nil {
			return err
		}
		end, err := in.Seek(start, seekHole)
		if err != nil {
			return err
		}
		if _, err := out.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, start, end-start)); err != nil {
			return err
		}
		at = end
	}
	return nil
}
