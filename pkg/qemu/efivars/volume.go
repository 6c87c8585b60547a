package efivars

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/ovmf"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A volume is what an EFI disk is kept on.
type volume interface {
	read(ctx context.Context) ([]byte, error)
	// write puts spans over the content that read returned, in their order. Where it
	// fails, the volume is as it was.
	write(ctx context.Context, content []byte, spans []ovmf.Span) error
}

// open finds out what an EFI disk is kept on and makes it ready.
func open(ctx context.Context, h *vm.Host, d qemu.Drive) (volume, error) {
	if id.IsVolume(d.File) {
		v, err := id.ParseVolume(d.File)
		if err != nil {
			return nil, err
		}
		if err := h.Storage.ActivateVolumes(ctx, "", v); err != nil {
			return nil, err
		}
	}
	img, err := h.Storage.Image(ctx, d.File, "", true)
	if err != nil {
		return nil, err
	}
	if !id.IsVolume(d.File) && d.Format != nil {
		img.Format = *d.Format
	}
	if img.Format == "" && !img.Options {
		return nil, errors.New("format of the image is not known")
	}
	if img.Format == "raw" && !img.Options && filepath.IsAbs(img.Path) {
		return plain(img.Path), nil
	}
	switch size, err := h.Storage.Size(ctx, d.File); {
	case err != nil:
		return nil, err
	case size > ovmf.MaxSize:
		return nil, fmt.Errorf("an image of %d bytes is no EFI disk", size)
	}
	return image{Image: img, run: h.Run, scratch: filepath.Join(h.Root, "run/virtsmith")}, nil
}

// plain is the path of a file or block device whose bytes are those of the image.
type plain string

func (p plain) read(context.Context) ([]byte, error) {
	f, err := os.Open(string(p))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, ovmf.MaxSize))
}

// write keeps the file, and what other names and snapshots of it there may be: the
// spans come in an order that leaves a usable store wherever it is stopped.
func (p plain) write(ctx context.Context, _ []byte, spans []ovmf.Span) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := os.OpenFile(string(p), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for i, s := range spans {
		_, err := f.WriteAt(s.New, s.Offset)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			for _, done := range slices.Backward(spans[:i+1]) {
				_, back := f.WriteAt(done.Old, done.Offset)
				err = errors.Join(err, back)
			}
			return errors.Join(err, f.Sync(), f.Close())
		}
	}
	return f.Close()
}

// image is one that only qemu-img can read and write.
type image struct {
	storage.Image
	run     run.Runner
	scratch string // a folder in memory
}

func (v image) read(ctx context.Context) (content []byte, err error) {
	err = v.within(func(path string) error {
		args := []string{"convert"}
		if v.Options {
			args = append(args, "--image-opts")
		} else {
			args = append(args, "-f", v.Format)
		}
		c := run.Command("qemu-img", append(args, "-O", "raw", v.Path, path)...)
		c.ReadOnly = true // for all but a scratch file
		if err := v.run.Run(ctx, c); err != nil {
			return err
		}
		content, err = os.ReadFile(path)
		return err
	})
	return content, err
}

func (v image) write(ctx context.Context, content []byte, spans []ovmf.Span) error {
	changed := slices.Clone(content)
	for _, s := range spans {
		copy(changed[s.Offset:], s.New)
	}
	err := v.put(ctx, changed)
	if err != nil {
		// half of it may be written, by a program that was told to end
		if back := v.put(context.WithoutCancel(ctx), content); back != nil {
			err = errors.Join(err, fmt.Errorf("write the old content back: %w", back))
		}
	}
	return err
}

// put writes the whole of a volume.
func (v image) put(ctx context.Context, content []byte) error {
	return v.within(func(path string) error {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
		// -n: into the volume that is there, with its snapshots; -t: and onto the disk
		args := []string{"convert", "-n", "-t", "writeback", "-f", "raw"}
		if v.Options {
			args = append(args, "--target-image-opts")
		} else {
			args = append(args, "-O", v.Format)
		}
		return v.run.Run(ctx, run.Command("qemu-img", append(args, path, v.Path)...))
	})
}

// within gives fn the path of a scratch file.
func (v image) within(fn func(path string) error) (err error) {
	if err := os.MkdirAll(v.scratch, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(v.scratch, "efivars-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return fn(filepath.Join(dir, "raw"))
}
