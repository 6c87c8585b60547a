package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// OCIImage unpacks the layers of an OCI image into the folder root, one over the other, and
// tells how the image is to be run. The digest of all that is used is checked; the source
// must be a file.
func OCIImage(ctx context.Context, s *Source, root string, o Options) (*Image, Result, error) {
	api.Printf(ctx, "extracting image '%s'\n", s.Name)
	if p := plan.From(ctx); p != nil {
		p.Stepf("unpack the layers of %s into %s", s.Name, root)
		return &Image{}, Result{}, nil
	}
	start := o.now()
	w := &writer{ctx: ctx, ids: o.IDs, ignore: o.IgnoreErrors}
	i, err := w.image(s, root, o)
	if err != nil {
		return nil, w.result, s.failure(ctx, err)
	}
	w.summary()
	tellTotal(ctx, w.result.Bytes, o.now().Sub(start))
	return i.settings(), w.result, nil
}

// ReadImage tells how the image in an archive is to be run, and for which architecture it
// is, without unpacking it.
func ReadImage(ctx context.Context, s *Source, arch string) (*Image, error) {
	_, i, err := findImage(ctx, s, arch)
	if err != nil {
		return nil, s.failure(ctx, err)
	}
	return i.settings(), nil
}

// findImage finds the image for an architecture in an archive.
func findImage(ctx context.Context, s *Source, arch string) (*imageArchive, *image, error) {
	in, ok := s.Reader.(io.ReaderAt)
	if !ok || s.Size == 0 {
		return nil, nil, errors.New("an image can only be read from a file")
	}
	archive, err := openImage(ctx, in, s.Size)
	if err != nil {
		if c, ok := compressedSource(in); ok {
			return nil, nil, fmt.Errorf("an image is read as it is, decompress the archive first (%s)", c)
		}
		return nil, nil, err
	}
	i, err := archive.find(arch)
	return archive, i, err
}

func (w *writer) image(s *Source, root string, o Options) (*image, error) {
	archive, i, err := findImage(w.ctx, s, o.Arch)
	if err != nil {
		return nil, err
	}
	all := paced(w.ctx, nil, o) // one pace for all layers
	return i, confined(root, o.IDs, func() error {
		for n, l := range i.layers {
			if err := w.unpackLayer(archive, l, all, o); err != nil {
				return fmt.Errorf("layer %d of %d: %w", n+1, len(i.layers), err)
			}
		}
		return w.volumes(i)
	})
}

// compressedSource tells how a source is compressed.
func compressedSource(in io.ReaderAt) (compression, bool) {
	head := make([]byte, headSize)
	n, _ := in.ReadAt(head, 0)
	c := compressionOf(head[:n])
	return c, c != ""
}

// unpackLayer unpacks one layer over those below it.
func (w *writer) unpackLayer(a *imageArchive, l layer, p *pace, o Options) error {
	blob, err := a.open(l.name)
	if err != nil {
		return err
	}
	sum, _, err := newSum(l.digest)
	if err != nil {
		return err
	}
	p.r = blob
	if !l.plain {
		p.r = io.TeeReader(blob, sum)
	}
	in, err := decompress(w.ctx, p, o.Runner, true)
	if err != nil {
		return err
	}
	if l.plain {
		in.r = io.TeeReader(in.r, sum)
	}
	w.layer = map[string]bool{}
	err = w.archive(in)
	in.Close()
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, p.r); err != nil { // what the decompressor had no need of
		return err
	}
	return sum.check()
}

// kept notes that something of this layer is at a path, so the folders above it stay too.
func (w *writer) kept(at string) {
	for ; at != "/" && !w.layer[at]; at = path.Dir(at) {
		w.layer[at] = true
	}
}

// remove takes away what layers below have at a path.
func (w *writer) remove(at string) error {
	if w.layer[at] {
		return w.clear(at)
	}
	err := os.RemoveAll(at)
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ENOTDIR) {
		return nil // another volume is mounted there, or it is below a file
	}
	return err
}

// clear takes away what layers below have in a folder.
func (w *writer) clear(dir string) error {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.remove(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// volumes makes the folders that the image wants something mounted on.
func (w *writer) volumes(i *image) error {
	for _, name := range slices.Sorted(maps.Keys(i.config.Config.Volumes)) {
		at, err := place(name)
		if err == nil {
			err = w.parents(at)
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			api.Warnf(w.ctx, "volume '%s' of the image: %v", name, err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// whiteout removes what a member of a layer says is gone: .wh.name takes away name, and
// .wh..wh..opq all that layers below have in its folder. Other names with two marks are of
// file systems that layers once came from. It tells whether the member was such a one.
func (w *writer) whiteout(at string) (bool, error) {
	const mark, opaque = ".wh.", ".wh..wh..opq"
	dir, name := path.Split(at)
	if name == opaque {
		return true, w.clear(path.Clean(dir))
	}
	if strings.Contains(at, "/"+mark+mark) {
		return true, nil
	}
	if !strings.HasPrefix(name, mark) {
		return false, nil
	}
	gone := strings.TrimPrefix(name, mark)
	if gone == "" || gone == "." || gone == ".." {
		return true, errors.New("it takes away what has no name")
	}
	return true, w.remove(path.Join(dir, gone))
}
