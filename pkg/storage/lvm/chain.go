package lvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// measure returns how large a logical volume has to be, in KiB, for a qcow2 image of the
// given size to be filled.
func (p *pool) measure(ctx context.Context, kib int64) (int64, error) {
	args := []string{"measure", "--output", "json", "--size", strconv.FormatInt(kib, 10) + "K", "-O", "qcow2"}
	ctx, cancel := context.WithTimeout(ctx, measurePatience)
	defer cancel()
	out, err := run.OutputOf(ctx, p.Runner, run.Cmd{Path: p.QEMUImg, Args: args, Env: []string{"LC_ALL=C"}, ReadOnly: true})
	if err != nil {
		return 0, fmt.Errorf("size of a qcow2 image: %w", err)
	}
	return parseMeasure(out)
}

// measurePatience is how long qemu-img may calculate.
const measurePatience = 30 * time.Second

func parseMeasure(text []byte) (int64, error) {
	var said struct {
		Full int64 `json:"fully-allocated"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return 0, fmt.Errorf("size of a qcow2 image: qemu-img said what cannot be read: %w", err)
	}
	if said.Full <= 0 || said.Full > 1<<60 {
		return 0, fmt.Errorf("size of a qcow2 image: qemu-img said %d bytes", said.Full)
	}
	return (said.Full + 1023) / 1024, nil
}

// format makes an empty image in a logical volume, on top of another one if that is named,
// which need not be there yet.
func (p *pool) format(ctx context.Context, lv string, kib int64, backing string) error {
	args := []string{"create", "-f", "qcow2"}
	if backing != "" {
		// No extended_l2: QEMU before 8.2 ends where it copies into such an image of a running guest.
		args = append(args, "-u", "-b", p.Device(backing), "-F", "qcow2")
	}
	return p.image(ctx, append(args, p.Device(lv), strconv.FormatInt(kib, 10)+"K")...)
}

// image runs qemu-img.
func (p *pool) image(ctx context.Context, args ...string) error {
	streams := api.StreamsOf(ctx)
	return storage.Tool(p.Run(ctx, run.Cmd{Path: p.QEMUImg, Args: args, Stdout: streams.Out, Stderr: streams.Err}))
}

// checkChain fails where a volume has no snapshots.
func (p *pool) checkChain(name, cannot string) (storage.Name, error) {
	n, err := p.Parse(name)
	if err == nil && n.Format != "qcow2" {
		err = fmt.Errorf("can't %s '%s' volume", cannot, n.Format)
	}
	return n, err
}

// Snapshot keeps the state of a volume: it gets another name, and an empty image on top
// of it takes its place.
func (p *pool) Snapshot(ctx context.Context, name, snap string) error {
	return p.snapshot(ctx, name, snap, false)
}

// snapshot is Snapshot for a volume that may be open.
func (p *pool) snapshot(ctx context.Context, name, snap string, open bool) error {
	if _, err := p.checkChain(name, "snapshot"); err != nil {
		return err
	}
	if !volgroup.SnapName(snap) || snap == "current" {
		return fmt.Errorf("invalid snapshot name '%s'", snap)
	}
	v, all, err := p.find(ctx, name)
	if err != nil {
		return err
	}
	state := volgroup.StateName(name, snap, suffix)
	if _, there := volgroup.Lookup(all, state); there {
		return storage.Told(fmt.Sprintf("snapshot '%s' of '%s' exists already", snap, name), storage.ErrExists)
	}
	if v.Open() && !open {
		return p.InUse(name, lvm.ErrInUse)
	}
	if err := p.overlay(ctx, name, name, state); err != nil {
		return fmt.Errorf("can't allocate new volume %s: %w", name, err)
	}
	// From here on it is brought to its end.
	return p.Locked(context.WithoutCancel(ctx), func(ctx context.Context) error {
		if err := p.Tool.Rename(ctx, p.VG, name, state); err != nil {
			return errors.Join(err, p.Tool.Remove(ctx, p.VG, volgroup.Next+name))
		}
		return p.Tool.Rename(ctx, p.VG, volgroup.Next+name, name)
	})
}

// overlay makes what is to take the place of a volume: an empty image of the size of
// another, on top of what will be called backing.
func (p *pool) overlay(ctx context.Context, name, like, backing string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	next := volgroup.Next + name
	var kib, size int64
	if plan.From(ctx) == nil {
		if err := p.ActivateVolume(ctx, name, ""); err != nil {
			return err
		}
		info, err := storage.ImageInfo(ctx, p.Env, p.Device(like), "qcow2")
		if err != nil {
			return err
		}
		kib = (info.Size + 1023) / 1024
	}
	if size, err = p.measure(ctx, kib); err != nil {
		return err
	}
	err = p.Locked(ctx, func(ctx context.Context) error {
		if plan.From(ctx) == nil {
			all, err := p.All(ctx)
			if err != nil {
				return err
			}
			if _, left := volgroup.Lookup(all, next); left { // of something that was cut off
				if err := p.Tool.Remove(ctx, p.VG, next); err != nil {
					return err
				}
			}
		}
		return p.create(ctx, next, n.Guest, size)
	})
	if err != nil {
		return err
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	undo.Add("lvremove "+p.VG+"/"+next, func(ctx context.Context) error { return p.Tool.Remove(ctx, p.VG, next) })
	if err := p.format(ctx, next, kib, backing); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	undo.Success()
	return nil
}

// states returns the states that a volume is backed by, the newest first.
func (p *pool) states(ctx context.Context, name string) ([]string, error) {
	if plan.From(ctx) != nil {
		return p.statesByAge(ctx, name)
	}
	if err := p.ActivateVolume(ctx, name, ""); err != nil {
		return nil, err
	}
	all, err := p.All(ctx)
	if err != nil {
		return nil, err
	}
	var found []string
	for lv := name; len(found) <= len(all); {
		info, err := storage.ImageInfo(ctx, p.Env, p.Device(lv), "qcow2")
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.Device(lv), err)
		}
		if info.Parent == "" {
			return found, nil
		}
		lv = filepath.Base(info.Parent)
		snap := volgroup.StateOf(all, lv, name, suffix)
		if snap == "" || slices.Contains(found, snap) {
			return nil, fmt.Errorf("volume '%s' is backed by '%s', which is no snapshot of it", name, info.Parent)
		}
		found = append(found, snap)
	}
	return nil, fmt.Errorf("volume '%s' is backed by itself", name)
}

// statesByAge is states for a dry run, which cannot look into what is not active.
func (p *pool) statesByAge(ctx context.Context, name string) ([]string, error) {
	_, all, err := p.find(ctx, name)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b lvm.Volume) int { return b.Created.Compare(a.Created) })
	var found []string
	for _, lv := range all {
		if snap := volgroup.StateOf(all, lv.Name, name, suffix); snap != "" {
			found = append(found, snap)
		}
	}
	return found, nil
}

// Snapshots lists the states of a volume, the oldest first.
func (p *pool) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	n, err := p.Parse(name)
	if err != nil || n.Format != "qcow2" {
		return nil, err
	}
	states, err := p.states(ctx, name)
	if err != nil {
		return nil, err
	}
	all, err := p.All(ctx)
	if err != nil {
		return nil, err
	}
	var found []storage.Snapshot
	for _, snap := range slices.Backward(states) {
		lv := volgroup.StateName(name, snap, suffix)
		// The logical volume is as old as the image that was kept; that is the best known.
		v, _ := volgroup.Lookup(all, lv)
		found = append(found, storage.Snapshot{Name: snap, ID: lv, Created: v.Created})
	}
	return found, nil
}

// CanRollback says why not: only the last state can be gone back to, as others are what
// it lies on.
func (p *pool) CanRollback(ctx context.Context, name, snap string) error {
	if _, err := p.checkChain(name, "rollback snapshot for"); err != nil {
		return err
	}
	states, err := p.states(ctx, name)
	if err != nil {
		return err
	}
	switch i := slices.Index(states, snap); {
	case i < 0:
		return fmt.Errorf("can't rollback, snapshot '%s' does not exist on '%s'", snap, name)
	case i > 0:
		blockers := slices.Clone(states[:i])
		slices.Reverse(blockers)
		return &storage.BlockedError{Text: fmt.Sprintf("can't rollback, '%s' is not most recent snapshot on '%s'", snap, name), Blockers: blockers}
	}
	return nil
}

// Rollback puts an empty image on top of the last state in the place of the volume.
func (p *pool) Rollback(ctx context.Context, name, snap string) error {
	if err := p.CanRollback(ctx, name, snap); err != nil {
		return err
	}
	v, _, err := p.find(ctx, name)
	if err != nil {
		return err
	}
	if v.Open() {
		return p.InUse(name, lvm.ErrInUse)
	}
	state := volgroup.StateName(name, snap, suffix)
	if err := p.overlay(ctx, name, state, state); err != nil {
		return fmt.Errorf("can't allocate new volume %s: %w", name, err)
	}
	return p.replace(ctx, volgroup.Next+name, name)
}

// replace puts one logical volume in the place of another and removes that.
func (p *pool) replace(ctx context.Context, by, name string) error {
	var buried string
	err := p.Locked(context.WithoutCancel(ctx), func(ctx context.Context) (err error) {
		buried, err = p.TakePlace(ctx, by, name)
		return err
	})
	if err != nil || buried == "" {
		return err
	}
	return p.dispose(ctx, buried)
}

// DeleteSnapshot forgets a state. Where the guest is running, its QEMU has merged the
// state already, and only the logical volume is removed.
func (p *pool) DeleteSnapshot(ctx context.Context, name, snap string, running bool) error {
	if _, err := p.checkChain(name, "delete snapshot for"); err != nil {
		return err
	}
	state := volgroup.StateName(name, snap, suffix)
	if running {
		return p.remove(ctx, state)
	}
	states, err := p.states(ctx, name)
	if err != nil {
		return err
	}
	i := slices.Index(states, snap)
	if i < 0 {
		_, all, err := p.find(ctx, name)
		if err != nil {
			return err
		}
		if _, left := volgroup.Lookup(all, state); left { // of a removal that was cut off
			return p.remove(ctx, state)
		}
		return storage.Told(fmt.Sprintf("snapshot '%s' does not exist on '%s'", snap, name), storage.ErrNotExist)
	}
	child := name
	if i > 0 {
		child = volgroup.StateName(name, states[i-1], suffix)
	}
	if i == len(states)-1 {
		return p.commit(ctx, name, state, child)
	}
	return p.rebase(ctx, name, state, child, volgroup.StateName(name, states[i+1], suffix))
}

// commit writes what the child of the first state holds into that, which then takes its
// place: the first state is the one that holds most. Until then the child is complete.
func (p *pool) commit(ctx context.Context, name, state, child string) error {
	api.Printf(ctx, "%s: deleting snapshot volume '%s' by committing '%s'\n", name, state, child)
	if plan.From(ctx) == nil {
		if err := p.makeRoom(ctx, state, child); err != nil {
			return err
		}
	}
	if err := p.image(ctx, "commit", "-d", "-f", "qcow2", p.Device(child)); err != nil {
		return fmt.Errorf("the state in %s cannot be used any more, but deleted again; %s is as it was: %w", state, child, err)
	}
	return p.takeOver(ctx, state, child)
}

// makeRoom makes the logical volume of a state as large as that of an image which goes
// into it: the disk may have grown since.
func (p *pool) makeRoom(ctx context.Context, state, child string) error {
	all, err := p.All(ctx)
	if err != nil {
		return err
	}
	from, _ := volgroup.Lookup(all, child)
	to, ok := volgroup.Lookup(all, state)
	if !ok {
		return fmt.Errorf("volume '%s' is missing", state)
	}
	return p.Grow(ctx, to, from.Size, true)
}

// rebase has the child of a state hold what the state holds.
func (p *pool) rebase(ctx context.Context, name, state, child, parent string) error {
	api.Printf(ctx, "%s: deleting snapshot volume '%s' by rebasing '%s' on top of '%s'\n", name, state, child, parent)
	if err := p.image(ctx, "rebase", "-f", "qcow2", "-b", p.Device(parent), "-F", "qcow2", p.Device(child)); err != nil {
		return fmt.Errorf("rebase %s: %w", child, err)
	}
	return p.remove(ctx, state)
}
