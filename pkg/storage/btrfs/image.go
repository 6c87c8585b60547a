package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Has tells whether a volume can do what the feature says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := p.Parse(name)
	if err != nil {
		return false
	}
	if !own(n) {
		return p.Tree.Has(f, name, snap)
	}
	raw := n.Format == "raw"
	at := "current"
	switch {
	case snap != "":
		at = "snap"
	case n.IsBase:
		at = "base"
	}
	switch f {
	case storage.FeatureSnapshot:
		return at != "base"
	case storage.FeatureClone:
		return at == "base" || raw
	case storage.FeatureTemplate:
		return at == "current"
	case storage.FeatureCopy:
		return true
	case storage.FeatureSparse:
		return raw && at != "snap"
	case storage.FeatureRename:
		return raw && at == "current"
	}
	return false
}

// Alloc makes a volume.
func (p *pool) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	if r.Format != "raw" && r.Format != "subvol" {
		return p.Tree.Alloc(ctx, r)
	}
	var n storage.Name
	var subvol string
	err := p.locked(ctx, func(ctx context.Context) (err error) {
		n, subvol, err = p.reserve(ctx, r.Guest, r.Format, r.File, func(subvol string) error {
			return p.create(ctx, subvol)
		})
		return err
	})
	if err != nil {
		return "", err
	}
	if r.Format == "subvol" {
		err = p.limit(ctx, subvol, r.Size<<10)
	} else {
		err = p.makeDisk(ctx, subvol, r.Size<<10)
	}
	if err != nil {
		p.drop(ctx, subvol)
		return "", err
	}
	return volume(n), nil
}

// create makes a subvolume. Where it fails, nothing is there.
func (p *pool) create(ctx context.Context, subvol string) error {
	err := p.btrfs(ctx, "subvolume", "create", "--", subvol)
	if err != nil {
		p.drop(ctx, subvol) // we hold the name: it was ended after its work was done
		return fmt.Errorf("unable to create image: %w", err)
	}
	return nil
}

// drop removes what a failed step has begun, whatever has ended it.
func (p *pool) drop(ctx context.Context, subvol string) {
	if isSubvolume(subvol) {
		if err := p.erase(context.WithoutCancel(ctx), subvol); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	_ = os.Remove(filepath.Dir(subvol)) // the guest's folder, when nothing else is in it
}

// makeDisk puts the file of a raw image into its subvolume.
func (p *pool) makeDisk(ctx context.Context, subvol string, size int64) error {
	path := filepath.Join(subvol, disk)
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("truncate -s %d %s", size, run.Quote(path))
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// What guests have on their disks is not for all users of the host.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return fmt.Errorf("failed to create raw file: %w", err)
	}
	if p.nocow {
		err = setNoCOW(f)
	}
	if err == nil {
		err = f.Truncate(size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("unable to create image: %w", err)
	}
	return nil
}

// setNoCOW lets a file that is empty be written in place.
func setNoCOW(f *os.File) error {
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return fmt.Errorf("%s: read flags: %w", f.Name(), err)
	}
	const flag = 0x00800000 // FS_NOCOW_FL
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags|flag)); err != nil {
		return fmt.Errorf("%s: set flags: %w", f.Name(), err)
	}
	return nil
}

// limit bounds what a container's subvolume can hold; 0 for no bound. It takes quotas,
// which are for the administrator to enable: they make btrfs slower.
func (p *pool) limit(ctx context.Context, subvol string, size int64) error {
	if size == 0 {
		return nil
	}
	if err := p.btrfs(ctx, "qgroup", "limit", "--", strconv.FormatInt(size, 10), subvol); err != nil {
		return fmt.Errorf("btrfs quotas are not enabled on storage '%s', use an unsized subvolume or a raw file: %w", p.ID, err)
	}
	return nil
}

// Free removes a volume with its snapshots, and the folder of its guest when nothing is
// left there.
func (p *pool) Free(ctx context.Context, name string) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.Free(ctx, name)
	}
	return p.locked(ctx, func(ctx context.Context) error {
		if others, _ := beside(subvol); !taken(ctx, subvol) && len(others) == 0 {
			fmt.Fprintf(api.StreamsOf(ctx).Err, "disk image '%s' does not exist\n", subvol)
			return nil
		}
		if err := p.erase(ctx, subvol); err != nil {
			return err
		}
		if pl := plan.From(ctx); pl != nil {
			pl.Write(subvol, nil)
			return nil
		}
		_ = os.Remove(filepath.Dir(subvol)) // fails as long as something is in it
		return nil
	})
}

// erase removes a subvolume and, before it, what belongs to it: as long as anything is
// there, so is the volume.
func (p *pool) erase(ctx context.Context, subvol string) error {
	others, err := beside(subvol)
	if err != nil {
		return err
	}
	args := []string{"subvolume", "delete", "--"}
	for _, file := range others {
		path := filepath.Join(filepath.Dir(subvol), file)
		switch {
		case strings.HasSuffix(file, receiving):
			if err := p.clear(ctx, path); err != nil {
				return err
			}
		case isSubvolume(path):
			args = append(args, path)
		}
	}
	// Snapshots without a volume are what is left of one that was killed while it was moved.
	if plan.From(ctx) != nil || isSubvolume(subvol) || len(args) == 3 && taken(ctx, subvol) {
		args = append(args, subvol)
	}
	if len(args) == 3 {
		return nil
	}
	return p.btrfs(ctx, args...)
}

// clear removes a folder into which subvolumes were received.
func (p *pool) clear(ctx context.Context, dir string) error {
	files, err := names(dir)
	if err != nil {
		return err
	}
	args := []string{"subvolume", "delete", "--"}
	for _, file := range files {
		args = append(args, filepath.Join(dir, file))
	}
	if len(files) > 0 {
		if err := p.btrfs(ctx, args...); err != nil {
			return err
		}
	}
	if pl := plan.From(ctx); pl != nil {
		pl.Stepf("rmdir %s", run.Quote(dir))
		return nil
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ActivateVolume checks that the volume is there.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	path, err := p.Path(name, snap)
	if err != nil {
		return err
	}
	return p.Bounded(ctx, func() error {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return storage.ErrNotExist
		}
		return err
	})
}

// Info looks at a volume.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return storage.Info{}, err
	case !own(n):
		return p.Tree.Info(ctx, name)
	}
	if plan.From(ctx) != nil && taken(ctx, subvol) {
		if _, err := os.Lstat(subvol); err != nil {
			return storage.Info{Format: n.Format}, nil // it would be there
		}
	}
	info, err := storage.ImageInfo(ctx, p.Env, inside(n, subvol), n.Format)
	if err == nil && n.Format == "subvol" {
		info.Size, info.Used = p.quota(ctx, subvol)
	}
	return info, err
}

// quota returns how much a subvolume may hold and how much it holds; 0 where quotas are
// not enabled.
func (p *pool) quota(ctx context.Context, subvol string) (size, used int64) {
	text, err := p.tells(ctx, "qgroup", "show", "--raw", "-r", "-f", "--", subvol)
	if err != nil {
		return 0, 0
	}
	return parseQuota(text)
}

// parseQuota reads the line of the one group that the list has.
func parseQuota(text string) (size, used int64) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "0/") {
			continue
		}
		used, _ = strconv.ParseInt(fields[1], 10, 64)
		size, _ = strconv.ParseInt(fields[3], 10, 64) // none is no number
		return max(size, 0), max(used, 0)
	}
	return 0, 0
}

// Resize grows an image, or sets what a subvolume may hold. The image of a running guest
// is QEMU's to grow.
func (p *pool) Resize(ctx context.Context, name string, size int64, running bool) error {
	n, subvol, err := p.find(name)
	switch {
	case err != nil:
		return err
	case !own(n):
		return p.Tree.Resize(ctx, name, size, running)
	case n.Format == "subvol":
		return p.limit(ctx, subvol, size)
	case running:
		return nil
	}
	streams := api.StreamsOf(ctx)
	return storage.Tool(p.Run(ctx, run.Cmd{
		Path: p.QEMUImg, Args: []string{"resize", "-f", "raw", inside(n, subvol), strconv.FormatInt(size, 10)},
		Stdout: streams.Out, Stderr: streams.Err,
	}))
}
