package unpack

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"
	"strings"
)

// Walk reads the members of an archive, in order, without unpacking them: fn gets the
// cleaned name of each, which begins with no slash, and its content. It ends when fn says
// that it has seen enough.
func Walk(ctx context.Context, s *Source, o Options, fn func(name string, h *tar.Header, content io.Reader) (enough bool, err error)) error {
	in, err := s.open(ctx, o)
	if err != nil {
		return s.failure(ctx, err)
	}
	defer in.Close()
	r := tar.NewReader(in)
	for {
		before := in.n
		h, err := r.Next()
		if err == io.EOF {
			if err = ended(in, before); err == nil {
				return nil
			}
		}
		if err != nil {
			return s.failure(ctx, damaged(err))
		}
		enough, err := fn(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), h, r)
		if in.err != nil {
			err = damaged(in.err)
		}
		if err != nil {
			return s.failure(ctx, fmt.Errorf("member '%s': %w", h.Name, err))
		}
		if enough {
			return nil
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			return s.failure(ctx, damaged(err))
		}
	}
}
