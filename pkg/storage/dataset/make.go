package dataset

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// mostVolumes bounds how many volumes a guest has on one storage.
const mostVolumes = 1024

// numbered is how volumes are named that the storage chose the name of.
var numbered = pattern.New(`^(?:vm|base|subvol|basevol)-(\d+)-disk-(\d+)$`)

// prefix is how the names of new volumes of a format begin.
func prefix(format string, guest id.VM) string {
	if format == "subvol" {
		return "subvol-" + guest.String() + "-"
	}
	return "vm-" + guest.String() + "-"
}

// choose returns a name for a new volume of a guest that is free: the given one, or one
// that no volume of the guest has in any format. It needs the lock, until the name is
// taken.
func (v *Volumes) choose(ctx context.Context, guest id.VM, format, file string) (string, error) {
	datasets, err := v.ZFS.List(ctx, v.Parent)
	if err != nil {
		return "", err
	}
	taken, used := map[string]bool{}, map[string]bool{}
	for _, d := range datasets {
		name := strings.TrimPrefix(d.Name, v.Parent+"/")
		taken[name] = true
		if m := numbered.FindStringSubmatch(name); m != nil && m[1] == guest.String() {
			used[m[2]] = true
		}
	}
	if file != "" {
		if taken[file] || planned(ctx, v.Dataset(file)) {
			return "", exists(file)
		}
		return file, nil
	}
	for n := range mostVolumes {
		number := fmt.Sprint(n)
		disk := func(kind string) bool {
			return planned(ctx, v.Dataset(kind+"-"+guest.String()+"-disk-"+number))
		}
		if !used[number] && !slices.ContainsFunc([]string{"vm", "base", "subvol", "basevol"}, disk) {
			return prefix(format, guest) + "disk-" + number, nil
		}
	}
	return "", fmt.Errorf("unable to allocate an image name for VM %s in storage '%s'", guest, v.ID)
}

// Choose returns a free name for a volume of a guest. It is not taken yet.
func (v *Volumes) Choose(ctx context.Context, guest id.VM, format string) (file string, err error) {
	err = v.locked(ctx, func(ctx context.Context) error {
		file, err = v.choose(ctx, guest, format, "")
		return err
	})
	return file, err
}

func exists(file string) error {
	return storage.Told("volume '"+file+"' already exists", storage.ErrExists)
}

// Alloc makes a volume. Its dataset is what takes its name.
func (v *Volumes) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	if !slices.Contains(v.Formats, r.Format) {
		return "", fmt.Errorf("unsupported format '%s'", r.Format)
	}
	if n, err := Parse(r.File); r.File != "" && (err != nil || n.Base != "" || !strings.HasPrefix(n.File, prefix(r.Format, r.Guest))) {
		return "", fmt.Errorf("illegal name '%s' - should be '%s*'", r.File, prefix(r.Format, r.Guest))
	}
	return v.make(ctx, r.Guest, r.Format, r.File, func(ctx context.Context, dataset string) error {
		if r.Format == "subvol" {
			return v.ZFS.CreateFilesystem(ctx, dataset, r.Size)
		}
		return v.ZFS.CreateVolume(ctx, dataset, zfs.Volume{KiB: aligned(r.Size), Sparse: v.Sparse, BlockSize: v.BlockSize})
	})
}

// aligned rounds a size in KiB up to whole MiB, as it has to be a multiple of the size of
// the blocks.
func aligned(kib int64) int64 { return max(1, (kib+1023)/1024) * 1024 }

// make chooses a name, has create make the dataset, and opens it. What a failed or ended
// step has begun is gone.
func (v *Volumes) make(ctx context.Context, guest id.VM, format, file string, create func(ctx context.Context, dataset string) error) (string, error) {
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	err := v.locked(ctx, func(ctx context.Context) (err error) {
		if file, err = v.choose(ctx, guest, format, file); err != nil {
			return err
		}
		dataset := v.Dataset(file)
		if err = create(ctx, dataset); err != nil {
			return v.failed(ctx, dataset, file, err)
		}
		note(ctx, dataset, true)
		return nil
	})
	if err != nil {
		return "", err
	}
	undo.Add("destroy "+v.Dataset(file), func(ctx context.Context) error { return v.remove(ctx, file, format) })
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err := v.open(ctx, file, format, false); err != nil {
		return "", err
	}
	undo.Success()
	return file, nil
}

// failed removes what a create that was ended may have made. It holds the lock, and the
// name was free: what is there is ours, unless zfs says that somebody else was first.
func (v *Volumes) failed(ctx context.Context, dataset, file string, err error) error {
	if errors.Is(err, zfs.ErrExists) {
		return exists(file)
	}
	// With 1 and 2 zfs says that it did not do it. Any other end says nothing.
	if code := run.ExitCode(err); meant(ctx) && code != 1 && code != 2 && !errors.Is(err, exec.ErrNotFound) {
		undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
		undo.Add("destroy "+dataset, func(ctx context.Context) error { return v.destroy(ctx, dataset) })
		undo.Fail()
	}
	return err
}

// destroy removes a dataset; one that is not there is no error.
func (v *Volumes) destroy(ctx context.Context, dataset string) error {
	if err := v.ZFS.Destroy(ctx, dataset); err != nil && !errors.Is(err, zfs.ErrNotExist) {
		return err
	}
	return nil
}

// open opens a disk.
func (v *Volumes) open(ctx context.Context, file, format string, again bool) error {
	if format != "raw" || v.Door == nil {
		return nil
	}
	return v.Door.Open(ctx, file, again)
}

// shut closes a disk.
func (v *Volumes) shut(ctx context.Context, file, format string) error {
	if format != "raw" || v.Door == nil {
		return nil
	}
	return v.Door.Close(ctx, file)
}

// remove closes and destroys a volume. When that fails it is open again.
func (v *Volumes) remove(ctx context.Context, file, format string) error {
	if err := v.shut(ctx, file, format); err != nil {
		return err
	}
	dataset := v.Dataset(file)
	if err := v.ZFS.Destroy(ctx, dataset); err != nil {
		if !errors.Is(err, zfs.ErrNotExist) {
			undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
			undo.Add("open "+dataset, func(ctx context.Context) error { return v.open(ctx, file, format, true) })
			undo.Fail()
		}
		return err
	}
	note(ctx, dataset, false)
	if format == "raw" && v.Door != nil && meant(ctx) {
		v.Door.Gone(ctx, file)
	}
	return nil
}

// Free removes a volume with its snapshots.
func (v *Volumes) Free(ctx context.Context, name string) error {
	n, dataset, err := v.find(name)
	if err != nil {
		return err
	}
	if n.IsBase {
		if err := v.unused(ctx, name, dataset); err != nil && !errors.Is(err, zfs.ErrNotExist) {
			return err
		}
	}
	err = v.remove(ctx, n.File, n.Format)
	switch {
	case errors.Is(err, zfs.ErrNotExist):
		fmt.Fprintf(api.StreamsOf(ctx).Err, "volume '%s' does not exist\n", dataset)
		return nil
	case errors.Is(err, zfs.ErrClones):
		return inUse(name)
	}
	return err
}

// CheckUnused returns a [storage.ErrInUse] for a base that has clones.
func (v *Volumes) CheckUnused(ctx context.Context, name string) error {
	n, dataset, err := v.find(name)
	if err != nil || !n.IsBase {
		return err
	}
	if err := v.unused(ctx, name, dataset); !errors.Is(err, zfs.ErrNotExist) {
		return err
	}
	return nil
}

func (v *Volumes) unused(ctx context.Context, name, dataset string) error {
	clones, err := v.ZFS.Clones(ctx, dataset)
	if err == nil && len(clones) > 0 {
		err = inUse(name)
	}
	return err
}

func inUse(name string) error {
	return storage.Told("base volume '"+name+"' is still in use by linked clones", storage.ErrInUse)
}

// Resize sets the size of a volume, or the limit of a file system. The size of a disk is
// rounded up to whole MiB.
func (v *Volumes) Resize(ctx context.Context, name string, size int64, _ bool) error {
	n, dataset, err := v.find(name)
	if err != nil {
		return err
	}
	kib := size / 1024
	if n.Format == "subvol" {
		return absent(v.ZFS.SetLimit(ctx, dataset, kib))
	}
	kib = aligned((size + 1023) / 1024)
	if err := v.ZFS.SetSize(ctx, dataset, kib); err != nil {
		return absent(err)
	}
	if v.Door == nil {
		return nil
	}
	return v.Door.Resized(ctx, n.File, kib*1024)
}
