package fetch

import (
	"context"
	"crypto/md5"  //nolint:gosec // what older lists have
	"crypto/sha1" //nolint:gosec // as users may give it
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
)

// A Checksum is what a file is known by. The zero value is none.
type Checksum struct {
	Algorithm string // md5, sha1, sha224, sha256, sha384, sha512
	Hex       string
}

// Check tells whether s can be a checksum.
func (s Checksum) Check() error {
	h, err := s.hash()
	if err != nil {
		return err
	}
	if sum, err := hex.DecodeString(s.Hex); err != nil || len(sum) != h.Size() {
		return fmt.Errorf("%.140q is no checksum of %s", s.Hex, s.Algorithm)
	}
	return nil
}

func (s Checksum) hash() (hash.Hash, error) {
	switch s.Algorithm {
	case "md5":
		return md5.New(), nil //nolint:gosec // see above
	case "sha1":
		return sha1.New(), nil //nolint:gosec // see above
	case "sha224":
		return sha256.New224(), nil
	case "sha256":
		return sha256.New(), nil
	case "sha384":
		return sha512.New384(), nil
	case "sha512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("unknown checksum algorithm '%s'", s.Algorithm)
}

// compare tells how the checksum of data differs.
func (s Checksum) compare(h hash.Hash) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != strings.ToLower(s.Hex) {
		return fmt.Errorf("%w: got '%s' != expect '%s'", ErrMismatch, got, strings.ToLower(s.Hex))
	}
	return nil
}

// verify reads a file and tells how its checksum differs.
func (s Checksum) verify(ctx context.Context, path string) error {
	h, err := s.hash()
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return err
	}
	return s.compare(h)
}

// A reader ends with its context.
type reader struct {
	ctx context.Context //nolint:containedctx // that is what it is for
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
