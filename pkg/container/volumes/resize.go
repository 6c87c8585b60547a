package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Resize says how large a volume is to be.
type Resize struct {
	VM     id.VM
	Key    string
	Size   string // as 32G, or +1G for that much more
	Digest *string
}

// A growth is a volume that can become larger.
type growth struct {
	doc   *config.Doc
	point container.Point
	v     id.Volume
	name  storage.Name
	size  int64 // the new one
}

// CheckResize returns why a volume cannot become as large as is wished. It makes the volume
// ready to look at it, and changes nothing.
func (s *Service) CheckResize(ctx context.Context, o Resize) error {
	_, err := s.growth(ctx, o)
	return err
}

func (s *Service) growth(ctx context.Context, o Resize) (g growth, err error) {
	if g.doc, err = s.loadFree(ctx, o.VM); err != nil {
		return g, err
	}
	if err := checkDigest(g.doc, o.Digest); err != nil {
		return g, err
	}
	if g.point, err = lookup(g.doc, o.Key); err != nil {
		return g, err
	}
	if kind := g.point.Kind(); kind != container.VolumeSource {
		return g, fmt.Errorf("can't resize mount point of type %s", kind)
	}
	if g.v, err = id.ParseVolume(g.point.Volume); err != nil {
		return g, err
	}
	if g.name, err = s.Storage.Parse(ctx, g.v); err != nil {
		return g, err
	}
	switch {
	case g.name.Guest != o.VM:
		return g, fmt.Errorf("can't resize mount point owned by another container (%s)", g.name.Guest)
	case g.name.IsBase:
		return g, fmt.Errorf("can't resize base volume '%s'", g.v)
	}
	if err := s.Storage.ActivateVolumes(ctx, "", g.v); err != nil {
		return g, err
	}
	info, err := s.Storage.Info(ctx, g.v)
	if err != nil {
		return g, err
	}
	g.size, err = wished(o.Size, info.Size)
	switch {
	case err != nil:
		return g, err
	case g.size < info.Size:
		return g, errors.New("unable to shrink disk size")
	case g.size == info.Size:
		return g, errors.New("disk is already at specified size")
	}
	if running, err := s.Running(ctx, o.VM); err != nil || !running || g.name.Format != "raw" {
		return g, err
	}
	return g, mayGrowMounted()
}

// mayGrowMounted refuses to make an image larger whose file system could then not follow: the
// kernel lets a mounted one grow only for who has a certain capability, which root may lack in
// a container.
func mayGrowMounted() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	if data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return errors.New("the file system of a running container cannot grow here, as we lack the capability CAP_SYS_RESOURCE - stop the container first")
	}
	return nil
}

// Resize makes a volume and the file system on it larger. That of a container that runs
// grows while it is mounted.
func (s *Service) Resize(ctx context.Context, o Resize) error {
	return s.Locked(ctx, o.VM, "resize "+o.Key, func(ctx context.Context) error {
		g, err := s.growth(ctx, o)
		if err != nil {
			return err
		}
		running, err := s.Running(ctx, o.VM)
		if err != nil {
			return err
		}
		// What has grown does not shrink again.
		if err := s.Cluster.CheckChangeable(ctx, cluster.Container, o.VM); err != nil {
			return err
		}
		whole := (g.size + 1023) &^ 1023 // volumes are made of whole KiB
		// Only a QEMU changes the size of a running guest's volume by itself.
		if err := s.Storage.Resize(ctx, g.v, whole, false); err != nil {
			return err
		}
		size := g.size
		if info, err := s.Storage.Info(ctx, g.v); err == nil && info.Size > whole && plan.From(ctx) == nil {
			size = info.Size // some storages round up further
		}
		g.point.Size = new(schema.Size(size).String())
		g.doc.Values[o.Key] = g.point.Value()
		if err := s.Save(ctx, o.VM, g.doc); err != nil {
			return err
		}
		if g.name.Format != "raw" {
			return nil
		}
		if err := s.growFilesystem(ctx, g.v, running); err != nil {
			return fmt.Errorf("Failed to update the container's filesystem: %w", err) //nolint:staticcheck // upstream's text
		}
		return nil
	})
}

// growFilesystem makes the file system on a volume as large as that is now.
func (s *Service) growFilesystem(ctx context.Context, v id.Volume, running bool) error {
	path, err := s.devicePath(ctx, v, "")
	if err != nil {
		return err
	}
	if running && plan.From(ctx) == nil {
		return s.growMounted(ctx, v, path)
	}
	// It ends with 1 when it has repaired something.
	if err := s.command(ctx, "e2fsck", "-f", "-y", path); err != nil && run.ExitCode(err) != 1 {
		return err
	}
	return s.command(ctx, "resize2fs", path)
}

// growMounted lets a file system that is mounted grow.
func (s *Service) growMounted(ctx context.Context, v id.Volume, path string) error {
	if err := s.mounter(ctx).Grown(path); err != nil {
		return err
	}
	view, err := s.openInUse(ctx, v, true)
	if err != nil {
		return err
	}
	if view == nil {
		return errors.New("the container runs, but its volume is mounted nowhere")
	}
	defer view.Close()
	top, err := openAt(view.Root, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer top.Close()
	device, err := os.Open(view.Device)
	if err != nil {
		return err
	}
	defer device.Close()
	size, err := device.Seek(0, 2)
	if err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(top.Fd()), &fs); err != nil {
		return err
	}
	if fs.Type != unix.EXT4_SUPER_MAGIC {
		return errors.New("it is no ext4: only that grows while it is mounted")
	}
	blocks := uint64(size / fs.Bsize)
	if err := ioctl(top, ext4Resize, unsafe.Pointer(&blocks)); err != nil {
		return fmt.Errorf("%s: %w", view.Device, err)
	}
	api.Printf(ctx, "The filesystem on %s is now %d (%dk) blocks long.\n", view.Device, blocks, fs.Bsize>>10)
	return nil
}

// ext4Resize is EXT4_IOC_RESIZE_FS: make a mounted file system as many blocks large.
const ext4Resize = 0x40086610

// ioctl is ioctl(2) with a pointer.
func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// wished returns the size that a text means, beside the present one.
func wished(text string, now int64) (int64, error) {
	rest, more := strings.CutPrefix(text, "+")
	size, err := schema.ParseSize(rest)
	if err != nil {
		return 0, err
	}
	if !more {
		return int64(size), nil
	}
	sum := now + int64(size)
	if sum < now {
		return 0, fmt.Errorf("%q: %w: it is too large", text, schema.ErrSize)
	}
	return sum, nil
}
