package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// A wipe says how volumes are overwritten before they go.
type wipe struct {
	step int64 // bytes
	rate int64 // bytes per second
}

// usualRate is how fast a device is overwritten that has to be given the zeros.
const usualRate = 10 << 20

func newWipe(stepMiB *int, throughput *string) (*wipe, error) {
	w := &wipe{step: 32 << 20, rate: usualRate}
	if stepMiB != nil {
		w.step = int64(*stepMiB) << 20
	}
	if throughput != nil {
		rate, err := parseRate(*throughput)
		if err != nil {
			return nil, err
		}
		w.rate = rate
	}
	return w, nil
}

// parseRate reads a rate as the program cstream takes it, which upstream uses: bytes per
// second, with a unit or without. A minus says that no second may be above it, which
// holds here in any case.
func parseRate(text string) (int64, error) {
	digits := strings.TrimPrefix(text, "-")
	unit := int64(1)
	if n := len(digits); n > 0 {
		switch digits[n-1] {
		case 'k', 'K':
			unit, digits = 1<<10, digits[:n-1]
		case 'm', 'M':
			unit, digits = 1<<20, digits[:n-1]
		case 'g', 'G':
			unit, digits = 1<<30, digits[:n-1]
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<50/unit {
		return 0, fmt.Errorf("saferemove_throughput '%s' is no rate: use bytes per second, as 10485760 or 10m", text)
	}
	return n * unit, nil
}

// Free removes a volume and its snapshots.
func (p *pool) Free(ctx context.Context, name string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	v, all, err := p.find(ctx, name)
	gone := errors.Is(err, storage.ErrNotExist)
	switch {
	case gone:
		v = lvm.Volume{}
	case err != nil:
		return err
	case v.Open():
		return p.InUse(name, lvm.ErrInUse)
	}
	var names []string
	for _, lv := range all {
		state := volgroup.StateOf(all, strings.TrimPrefix(lv.Name, volgroup.Merged), name, suffix)
		// What was cut off may have left states without a volume, or what was to be one.
		if n.Format == "qcow2" && state != "" || lv.Name == volgroup.Next+name || lv.Name == volgroup.Merged+name {
			names = append(names, lv.Name)
		}
	}
	if gone {
		p.Absent(ctx, name)
	} else {
		names = append([]string{name}, names...)
	}
	if err := p.remove(ctx, names...); err != nil {
		return err
	}
	if d := plan.From(ctx); d != nil {
		d.Write(p.Device(name), nil)
		return nil
	}
	if slices.ContainsFunc(all, func(v lvm.Volume) bool { return volgroup.Buried(v.Name) != "" }) {
		return p.sweep(ctx)
	}
	return nil
}

// remove removes logical volumes. Those that are overwritten before get another name,
// by which they are found should the work be cut off.
func (p *pool) remove(ctx context.Context, names ...string) error {
	if p.wipe == nil {
		return p.Locked(ctx, func(ctx context.Context) error {
			for _, name := range names {
				if err := p.Tool.Remove(ctx, p.VG, name); err != nil {
					return p.InUse(name, err)
				}
			}
			return nil
		})
	}
	var buried []string
	if err := p.Locked(ctx, func(ctx context.Context) error {
		for _, name := range names {
			lv, err := p.Bury(ctx, name)
			if err != nil {
				return err
			}
			buried = append(buried, lv)
		}
		return nil
	}); err != nil {
		return err
	}
	return p.dispose(ctx, buried...)
}

// dispose removes what is buried, see [volgroup.Group.Bury].
func (p *pool) dispose(ctx context.Context, buried ...string) error {
	for _, lv := range buried {
		if p.wipe != nil && plan.From(ctx) == nil {
			switch err := p.clear(ctx, lv); {
			case errors.Is(err, syscall.EBUSY):
				api.Printf(ctx, "%s is being overwritten by another process, which removes it\n", lv)
				continue
			case err != nil:
				return fmt.Errorf("%s/%s is left, and removed together with the next volume: %w", p.VG, lv, err)
			}
		}
		if err := p.Locked(ctx, func(ctx context.Context) error { return p.Tool.Remove(ctx, p.VG, lv) }); err != nil {
			return p.InUse(lv, err)
		}
		if p.wipe != nil && plan.From(ctx) == nil {
			api.Printf(ctx, "successfully removed volume %s (%s/%s)\n", volgroup.Buried(lv), p.VG, lv)
		}
	}
	return nil
}

// clear overwrites a logical volume.
func (p *pool) clear(ctx context.Context, lv string) error {
	api.Printf(ctx, "zero-out data on image %s (%s)\n", volgroup.Buried(lv), p.Device(lv))
	if err := p.activate(ctx, lv); err != nil {
		return err
	}
	return lvm.Zero(ctx, p.Device(lv), 0, 0, lvm.ZeroOptions{Step: p.wipe.step, Rate: p.wipe.rate, Exclusive: true})
}

// sweep removes what earlier removals have left behind, on this host.
func (p *pool) sweep(ctx context.Context) error {
	all, err := p.All(ctx)
	if err != nil {
		return err
	}
	for _, v := range all {
		// On a group that several hosts share, one that is not active here may be about to
		// be overwritten elsewhere.
		if volgroup.Buried(v.Name) == "" || !v.Plain() || v.Open() || p.shared && !v.Active() {
			continue
		}
		if err := p.dispose(ctx, v.Name); err != nil && !errors.Is(err, lvm.ErrMissing) {
			api.Warnf(ctx, "%v", err)
		}
	}
	return nil
}
