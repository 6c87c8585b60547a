package zfspool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// A door waits for udev, which makes the links to disks some time after the kernel has
// made the disks.
type door struct{ pool *pool }

const (
	linkPatience = 30 * time.Second
	gonePatience = 3 * time.Second
	linkPause    = 20 * time.Millisecond
)

// Open waits for the link to a new disk, or sees to it that one which was put back to an
// old state is read anew.
func (d door) Open(ctx context.Context, file string, again bool) error {
	switch {
	case plan.From(ctx) != nil:
		return nil
	case again:
		return d.pool.changed(ctx, file)
	}
	return d.pool.await(ctx, file)
}

// Close has nothing to do.
func (d door) Close(context.Context, string) error { return nil }

// Gone waits until the link is gone: else the next disk of that name would seem to be
// there, and lose its link.
func (d door) Gone(ctx context.Context, file string) {
	_ = until(ctx, gonePatience, func() bool {
		_, err := os.Lstat(d.pool.link(file))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// Resized has nothing to do: the kernel knows.
func (d door) Resized(context.Context, string, int64) error { return nil }

// await waits for the link to a disk.
func (p *pool) await(ctx context.Context, file string) error {
	err := until(ctx, linkPatience, func() bool { return p.linked(file) })
	if errors.Is(err, errLate) {
		return fmt.Errorf("timeout: no zvol device link for '%s' found after %d sec.", file, int(linkPatience.Seconds()))
	}
	return err
}

// linked tells whether the link to a disk is there and leads to it: one that udev has not
// come to remove yet may lead to the disk of somebody else, which has got its number.
func (p *pool) linked(file string) bool {
	link := p.link(file)
	if !isDevice(link) {
		return false
	}
	of, err := zfs.DeviceOf(link)
	return err == nil && (of == "" || of == p.Dataset(file))
}

// changed waits for the link to a disk that ZFS has given another content.
func (p *pool) changed(ctx context.Context, file string) error {
	if err := p.await(ctx, file); err != nil {
		return err
	}
	return zfs.ReadAnew(p.link(file))
}

var errLate = errors.New("not in time")

// until waits for a condition.
func until(ctx context.Context, patience time.Duration, done func() bool) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	pause := time.NewTicker(linkPause)
	defer pause.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late.C:
			return errLate
		case <-pause.C:
		}
	}
	return nil
}

func isDevice(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice
}
