package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Make makes the volumes that mount points ask for, such as local:4,mp=/data, each with a
// file system whose root belongs to the root of a container with the given values, and notes
// the sizes of those that are there. It returns the points as a configuration keeps them. How
// to undo it is added to undo; when it fails, nothing is left and nothing is added.
func (s *Service) Make(ctx context.Context, vmid id.VM, points, values schema.Params, undo *revert.List) (schema.Params, error) {
	made, mine := schema.Params{}, undoList(ctx)
	defer mine.Fail()
	for _, key := range InOrder(points) {
		p, err := container.ParsePoint(key, points[key])
		if err != nil {
			return nil, err
		}
		if storeid, gib, ok := AsksNew(p.Volume); ok {
			at := place{vmid: vmid, storage: storeid}
			if at.uid, at.gid, err = rootOn(p, values); err == nil {
				err = s.makeNew(ctx, &p, at, gib, mine)
			}
		} else if p.Kind() == container.VolumeSource {
			s.rescanSize(ctx, &p)
		}
		if err != nil {
			return nil, err
		}
		made[key] = p.Value()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	mine.Move(undo)
	return made, nil
}

// InOrder lists the mount points among options in the order in which their volumes are made.
func InOrder(points schema.Params) []string {
	keys := slices.SortedFunc(maps.Keys(points), byOrder)
	return slices.DeleteFunc(keys, func(key string) bool { return !container.IsMountPoint(key) })
}

// byOrder sorts mount points: the root, then the others by number.
func byOrder(a, b string) int {
	number := func(key string) int {
		if _, n, ok := schema.Member(key); ok {
			return n
		}
		return -1
	}
	return number(a) - number(b)
}

// A place is where a new volume goes, and to whom: the container and the user, by the numbers
// on that disk, who is its root.
type place struct {
	vmid     id.VM
	storage  id.Storage
	uid, gid int
}

func (s *Service) makeNew(ctx context.Context, p *container.Point, at place, gib string, undo *revert.List) error {
	size, err := wholeMiB(gib)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Key, err)
	}
	v, err := s.Alloc(ctx, at.vmid, at.storage, size, at.uid, at.gid, undo)
	if err != nil {
		return err
	}
	p.Volume, p.Size = v.String(), new(schema.Size(size).String())
	return nil
}

// wholeMiB returns the bytes that a number of GiB is, without what is less than a MiB.
func wholeMiB(gib string) (int64, error) {
	n, ok := new(big.Rat).SetString(gib)
	if !ok {
		return 0, fmt.Errorf("'%s' is no size", gib)
	}
	n.Mul(n, big.NewRat(1024, 1))
	mib := new(big.Int).Quo(n.Num(), n.Denom())
	if !mib.IsInt64() || mib.Int64() > 1<<42 {
		return 0, fmt.Errorf("a size of %s GiB is too large", gib)
	}
	return mib.Int64() << 20, nil
}

// Alloc makes a volume of the given size in bytes with an empty file system that belongs to
// a user of the host. Where the storage has folders, one is made when size is 0.
func (s *Service) Alloc(ctx context.Context, vmid id.VM, storeid id.Storage, size int64, uid, gid int, undo *revert.List) (id.Volume, error) {
	d, err := s.room(ctx, storeid)
	if err != nil {
		return id.Volume{}, err
	}
	mine := undoList(ctx)
	defer mine.Fail()
	format := formatOn(d, size)
	if format == "raw" && size == 0 {
		return id.Volume{}, fmt.Errorf("a volume on storage '%s' needs a size", storeid)
	}
	v, err := s.Storage.Alloc(ctx, storeid, storage.Alloc{Guest: vmid, Format: format, Size: (size + 1023) / 1024})
	if err != nil {
		return id.Volume{}, err
	}
	s.toFree(mine, v)
	if format == "subvol" {
		err = s.give(ctx, v, uid, gid)
	} else {
		err = s.format(ctx, v, uid, gid)
	}
	if err != nil {
		return id.Volume{}, err
	}
	mine.Move(undo)
	return v, nil
}

// formatOn returns what a volume of the given size is on a storage: an image with a file
// system, or a folder.
func formatOn(d storage.Definition, size int64) string {
	quotas, _ := schema.ParseBool(d.Options["quotas"])
	switch {
	case d.Type == "zfspool":
		return "subvol"
	case d.Options["path"] != "" && (size == 0 || d.Type == "btrfs" && quotas):
		return "subvol"
	}
	return "raw"
}

// give makes the folder of a volume that of a user.
func (s *Service) give(ctx context.Context, v id.Volume, uid, gid int) error {
	path, err := s.Storage.Path(ctx, v, "")
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("chown %d:%d %s", uid, gid, run.Quote(path))
		return nil
	}
	if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
		return err
	}
	return os.Lchown(path, uid, gid)
}

// shown are the lines of mkfs that tell something of the new file system.
var shown = pattern.New(`^(?:Creating filesystem|Filesystem UUID|Superblock backups|\s+\d+, \d)`)

// format makes a file system on a volume.
func (s *Service) format(ctx context.Context, v id.Volume, uid, gid int) error {
	if plan.From(ctx) == nil {
		if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
			return err
		}
	}
	path, err := s.devicePath(ctx, v, "")
	if err != nil {
		return err
	}
	// mmp keeps two hosts, or two loop devices, from writing to it at once.
	c := run.Command("mkfs.ext4", "-O", "mmp", "-E", fmt.Sprintf("root_owner=%d:%d", uid, gid), path)
	c.Env = []string{"LC_ALL=C"}
	if p := plan.From(ctx); p != nil {
		p.Stepf("%s", c)
		return nil
	}
	streams := api.StreamsOf(ctx)
	out := lines(streams.Out, func(line string) bool { return shown.MatchString(line) })
	problems := lines(streams.Err, func(line string) bool { return !strings.HasPrefix(line, "mke2fs ") })
	c.Stdout, c.Stderr = out, problems
	err = errors.Join(s.Run.Run(ctx, c), out.Close(), problems.Close())
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("cannot format volume '%s': there is no mkfs.ext4 here, which the package e2fsprogs has: %w", v, err)
	}
	if err != nil {
		return fmt.Errorf("cannot format volume '%s': %w", v, err)
	}
	return nil
}

// devicePath returns the image or device that a volume, or its state in a snapshot, is.
func (s *Service) devicePath(ctx context.Context, v id.Volume, snap string) (string, error) {
	path, err := s.Storage.Path(ctx, v, snap)
	if err == nil && !strings.HasPrefix(path, "/") {
		err = fmt.Errorf("volume '%s' is no device of this host; with the option krbd of storage '%s' it is one", v, v.Storage)
	}
	return path, err
}

// rescanSize notes the size that a volume has. A volume that cannot be looked at is told and
// taken as it is: its storage may come later.
func (s *Service) rescanSize(ctx context.Context, p *container.Point) {
	size, err := s.sizeOf(ctx, p.Volume)
	if err != nil {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "Could not rescan volume size - %v\n\n", err)
		return
	}
	if size > 0 {
		p.Size = new(schema.Size(size).String())
	}
}

// sizeOf returns the size of a volume; 0 where it has none of its own.
func (s *Service) sizeOf(ctx context.Context, volume string) (int64, error) {
	v, err := id.ParseVolume(volume)
	if err != nil {
		return 0, err
	}
	if _, err := s.Storage.Parse(ctx, v); err != nil {
		return 0, err
	}
	if plan.From(ctx) == nil {
		if err := s.Storage.Activate(ctx, v.Storage); err != nil {
			return 0, err
		}
	}
	info, err := s.Storage.Info(ctx, v)
	return info.Size, err
}
