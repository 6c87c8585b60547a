package volumes

import (
	"context"
	"fmt"
	"os"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Source is the volume of a mount point, to be copied.
type Source struct {
	Point    container.Point
	Snapshot string // the state to copy; empty for the present one
}

// A Target is where a copy goes.
type Target struct {
	VM      id.VM
	Storage id.Storage    // empty for that of the source
	Values  schema.Params // what the container that gets it is configured with: they say who its root is
	BWLimit int           // KiB/s, 0 for no limit
	// Allocated, which may be nil, is told of the new volume before it is filled.
	Allocated func(context.Context, id.Volume) error
}

// Copy makes a volume with all that the source holds, file by file, and returns the mount
// point with it. The container that has the source must not run, unless a snapshot of it is
// copied.
func (s *Service) Copy(ctx context.Context, src Source, to Target, undo *revert.List) (container.Point, error) {
	p := src.Point
	if kind := p.Kind(); kind != container.VolumeSource {
		return p, fmt.Errorf("cannot copy volumes of type %s", kind)
	}
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return p, err
	}
	uid, gid, err := rootOf(to.Values)
	if err != nil {
		return p, err
	}
	if to.Storage == "" {
		to.Storage = v.Storage
	}
	if _, err := s.room(ctx, to.Storage); err != nil {
		return p, err
	}
	size, err := s.copySize(ctx, p)
	if err != nil {
		return p, err
	}
	mine := undoList(ctx)
	defer mine.Fail()
	made, err := s.Alloc(ctx, to.VM, to.Storage, size, uid, gid, mine)
	if err != nil {
		return p, err
	}
	if to.Allocated != nil {
		if err := to.Allocated(ctx, made); err != nil {
			return p, err
		}
	}
	if err := s.fill(ctx, v, src.Snapshot, made, to.BWLimit); err != nil {
		return p, s.orFull(ctx, made, err)
	}
	mine.Move(undo)
	p.Volume = made.String()
	if size > 0 {
		p.Size = new(schema.Size(size).String())
	}
	return p, nil
}

// copySize returns how large a copy is to be: as the configuration says, else as the source
// is; 0 for one without a bound.
func (s *Service) copySize(ctx context.Context, p container.Point) (int64, error) {
	if p.Size != nil {
		size, err := schema.ParseSize(*p.Size)
		if err != nil {
			return 0, fmt.Errorf("%s: size %q: %w", p.Key, *p.Size, err)
		}
		// It is for show only, and may be outdated.
		if now, err := s.sizeOf(ctx, p.Volume); err == nil {
			size = max(size, schema.Size(now))
		}
		return int64(size), nil
	}
	return s.sizeOf(ctx, p.Volume)
}

// fill copies what is in a volume, or its state in a snapshot, into a new one.
func (s *Service) fill(ctx context.Context, from id.Volume, snap string, to id.Volume, bwlimit int) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("copy all files of %s to %s", from, to)
		return nil
	}
	src, err := s.open(ctx, from, snap, true)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := s.open(ctx, to, "", false)
	if err != nil {
		return err
	}
	defer dst.Close()
	return s.fillOpened(ctx, src.Root, dst.Root, bwlimit)
}

func (s *Service) fillOpened(ctx context.Context, src, dst *os.File, bwlimit int) error {
	// A sign of life, at 1 GiB, 2 GiB, 4 GiB and so on.
	next := int64(1 << 30)
	stats, err := copyTree(ctx, src, dst, bwlimit, func(done int64) {
		if done >= next {
			api.Printf(ctx, "copied %s\n", schema.Bytes(float64(next), 0))
			next *= 2
		}
	})
	if err != nil {
		return fmt.Errorf("copy failed: %w", err)
	}
	api.Printf(ctx, "copied %d files, folders and links with %s of data\n", stats.count(), schema.Bytes(float64(stats.bytes), 2))
	return nil
}

// orFull says of a failed copy that the storage is full, where that is so: a file system on
// an image with holes knows no better word for it than that it cannot write.
func (s *Service) orFull(ctx context.Context, v id.Volume, err error) error {
	if ctx.Err() != nil {
		return err
	}
	st, not := s.Storage.Status(ctx, v.Storage)
	if not != nil || st.Total == 0 || st.Available > st.Total/100 {
		return err
	}
	return fmt.Errorf("%w\nstorage '%s' is full: %s of %s are left", err, v.Storage, schema.Bytes(float64(st.Available), 2), schema.Bytes(float64(st.Total), 2))
}

// LinkedClone makes a volume that holds what will differ from the source, and returns the
// mount point with it.
func (s *Service) LinkedClone(ctx context.Context, src Source, vmid id.VM, undo *revert.List) (container.Point, error) {
	p := src.Point
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return p, err
	}
	made, err := s.Storage.Clone(ctx, v, vmid, src.Snapshot)
	if err != nil {
		return p, err
	}
	s.toFree(undo, made)
	p.Volume = made.String()
	return p, nil
}

// limit returns how fast data may be copied for an operation (clone, move), in KiB/s, 0 for
// as fast as can be.
func (s *Service) limit(ctx context.Context, operation string, wish *int, storeids ...id.Storage) (int, error) {
	text, err := s.Cluster.Datacenter(ctx, nil)
	if err != nil {
		return 0, err
	}
	r := storage.Rates{
		Operation: operation, Storages: storeids, Override: wish,
		May: func(string, string) bool { return true }, // who calls has checked
	}
	if text.BWLimit != nil {
		r.Datacenter = schema.Print(text.BWLimit)
	}
	return s.Storage.BandwidthLimit(ctx, r)
}
