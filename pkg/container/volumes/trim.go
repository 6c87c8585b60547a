package volumes

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// trimLock is what a container is locked for while its volumes are trimmed.
const trimLock = "fstrim"

// Trim tells the storages what is no longer used on the volumes of a container, whether it
// runs or not. With rootOnly that is done for its root alone.
func (s *Service) Trim(ctx context.Context, vmid id.VM, rootOnly bool) (err error) {
	var points []container.Point
	err = s.Change(ctx, vmid, "fstrim", func(_ context.Context, doc *config.Doc) error {
		points = container.Typed(doc.Values).Points()
		if err := guest.CheckLock(cluster.Container, doc); err != nil {
			return err
		}
		doc.Values["lock"] = trimLock
		return nil
	})
	if err != nil {
		return err
	}
	if plan.From(ctx) == nil {
		defer func() { err = errors.Join(err, s.unlock(ctx, vmid, trimLock, nil)) }()
	}
	running, err := s.Running(ctx, vmid)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range points {
		if p.Kind() != container.VolumeSource || rootOnly && p.Key != container.Root {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.trim(ctx, vmid, p, running); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.Key, err))
		}
	}
	return errors.Join(errs...)
}

// trim trims the file system of one mount point.
func (s *Service) trim(ctx context.Context, vmid id.VM, p container.Point, running bool) error {
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return err
	}
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	if n.Format != "raw" || n.IsBase {
		return nil // a folder's file system is not the container's; a base changes no more
	}
	shown := filepath.Join(s.RootDir(vmid), p.MP)
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("fstrim -v %s", shown)
		return nil
	}
	view, err := s.look(ctx, v, running, false)
	if err != nil {
		return err
	}
	defer view.Close()
	n64, err := fitrim(view)
	if err != nil {
		return err
	}
	api.Printf(ctx, "%s: %s (%d bytes) trimmed\n", shown, schema.Bytes(float64(n64), 1), n64)
	return nil
}

// look mounts a volume for us alone, once more where it is mounted already.
func (s *Service) look(ctx context.Context, v id.Volume, running, readOnly bool) (*mount.View, error) {
	view, err := s.openInUse(ctx, v, running)
	if err != nil || view != nil {
		return view, err
	}
	return s.open(ctx, v, "", readOnly)
}

// trimRange is the struct fstrim_range of the kernel.
type trimRange struct{ start, length, least uint64 }

// trimRequest is FITRIM.
const trimRequest = 0xc0185879

// fitrim trims a whole file system and returns how much that was.
func fitrim(view *mount.View) (uint64, error) {
	top, err := openAt(view.Root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	defer top.Close()
	r := trimRange{length: math.MaxUint64}
	err = ioctl(top, trimRequest, unsafe.Pointer(&r))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) {
		return 0, errors.New("the discard operation is not supported")
	}
	return r.length, err
}
