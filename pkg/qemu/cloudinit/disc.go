package cloudinit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Volume is where a CD is written to. It exists already and no running guest has it open.
type Volume struct {
	Path   string
	Format string // raw, qcow2, …
	Size   int64  // as a guest sees it, in bytes
}

// Write makes an ISO 9660 image of the content, with Joliet names for Windows and Rock Ridge ones
// for Linux, and puts it into the volume, whose rest is zeroed: nothing of an
// earlier CD stays. The files are kept below scratch meanwhile, which should be in
// memory, in a folder that only root can read.
func (c *Content) Write(ctx context.Context, r run.Runner, scratch string, to Volume) (err error) {
	if p := plan.From(ctx); p != nil {
		p.Stepf("write cloud-init data (%s) to %s", c.Label, to.Path)
		return nil
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return fmt.Errorf("cloud-init ISO: %w", err)
	}
	dir, err := os.MkdirTemp(scratch, "cloudinit-")
	if err != nil {
		return fmt.Errorf("cloud-init ISO: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	iso := filepath.Join(dir, "image")
	if err := c.makeISO(ctx, r, filepath.Join(dir, "files"), iso); err != nil {
		return fmt.Errorf("cloud-init ISO: %w", err)
	}
	if err := fill(iso, to.Size); err != nil {
		return fmt.Errorf("cloud-init ISO: %w", err)
	}
	// -n: into the volume that the storage has made, whatever it is
	if err := r.Run(ctx, run.Command("qemu-img", "convert", "-n", "-f", "raw", "-O", to.Format, iso, to.Path)); err != nil {
		return fmt.Errorf("write cloud-init ISO to %s: %w", to.Path, err)
	}
	return nil
}

// makeISO lays the files out below tree and makes the image of it.
func (c *Content) makeISO(ctx context.Context, r run.Runner, tree, iso string) error {
	for name, text := range c.Files {
		path := filepath.Join(tree, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	args := []string{"-quiet", "-iso-level", "3", "-J", "-r", "-V", c.Label, "-o", iso, tree}
	err := r.Run(ctx, run.Command("genisoimage", args...))
	if errors.Is(err, exec.ErrNotFound) {
		other := r.Run(ctx, run.Command("xorriso", append([]string{"-as", "mkisofs"}, args...)...))
		if !errors.Is(other, exec.ErrNotFound) {
			return other
		}
	}
	return err
}

// fill makes the image as large as the volume, so that all of the volume is written.
func fill(iso string, size int64) error {
	info, err := os.Stat(iso)
	if err != nil {
		return err
	}
	if info.Size() > size {
		return fmt.Errorf("it has %d bytes, its volume only %d: give it a larger one", info.Size(), size)
	}
	return os.Truncate(iso, size)
}
