// Package snapshot takes snapshots of containers, removes them and goes back to them. In
// which order that is done, and what the configuration says meanwhile, is with package
// guest; here is what a container does its own way.
//
// A running container is frozen, and its file systems are written out, while its volumes
// are snapshot. Its memory is never part of a snapshot.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Service does it for the containers of a node.
type Service struct {
	*ct.Host
	Volumes *volumes.Service
	// Stop ends a running container at once. Its configuration is locked meanwhile.
	Stop func(context.Context, id.VM) error
	// Start starts a container after a rollback.
	Start func(context.Context, id.VM) error
}

// Create takes a snapshot.
func (s *Service) Create(ctx context.Context, vmid id.VM, name, description string) error {
	return s.of(vmid, "snapshot").Create(ctx, name, description, false)
}

// Delete removes a snapshot. With force it is gone from the configuration whatever becomes
// of the volumes.
func (s *Service) Delete(ctx context.Context, vmid id.VM, name string, force bool) error {
	return s.of(vmid, "removal of a snapshot").Delete(ctx, name, force)
}

// Rollback makes a container what it was; with start it runs afterwards.
func (s *Service) Rollback(ctx context.Context, vmid id.VM, name string, start bool) error {
	if err := s.of(vmid, "rollback").Rollback(ctx, name); err != nil || !start {
		return err
	}
	return s.Start(ctx, vmid)
}

// Describe notes a text with a snapshot; nil leaves it as it is.
func (s *Service) Describe(ctx context.Context, vmid id.VM, name string, description *string) error {
	return s.Change(ctx, vmid, what(vmid, "note on a snapshot"), func(_ context.Context, doc *config.Doc) error {
		if err := guest.CheckLock(cluster.Container, doc); err != nil {
			return err
		}
		return describe(doc, name, description)
	})
}

func describe(doc *config.Doc, name string, description *string) error {
	snap, err := guest.Snapshot(doc, name)
	switch {
	case err != nil:
		return err
	case description == nil:
		return ct.ErrUnchanged
	case *description == "":
		delete(snap, config.Description)
	default:
		snap[config.Description] = *description
	}
	return nil
}

func what(vmid id.VM, does string) string { return fmt.Sprintf("%s of CT %d", does, vmid) }

// of returns the snapshots of a container. does tells those who wait what for.
func (s *Service) of(vmid id.VM, does string) *guest.Snapshots {
	return &guest.Snapshots{
		Kind: cluster.Container, ID: vmid, Now: s.Now,
		Store: store{s.Host, vmid, what(vmid, does)},
		Guest: &frozen{Service: s, vmid: vmid},
	}
}

// store is the configuration of one container.
type store struct {
	host *ct.Host
	vmid id.VM
	what string
}

func (s store) Load(ctx context.Context) (*config.Doc, error) { return s.host.Load(ctx, s.vmid) }

func (s store) Save(ctx context.Context, doc *config.Doc) error {
	return s.host.Save(ctx, s.vmid, doc)
}

func (s store) Locked(ctx context.Context, fn func(context.Context) error) error {
	return s.host.Locked(ctx, s.vmid, s.what, fn)
}

// frozen is one container as the steps of a snapshot see it.
type frozen struct {
	*Service
	vmid    id.VM
	stopped bool // in a dry run: it would be
}

var _ guest.Snapshotter = (*frozen)(nil)

// Volumes lists what a snapshot covers.
func (f *frozen) Volumes(values schema.Params) []guest.Volume { return container.Volumes(values) }

// CanSnapshot tells whether all that is mounted can be snapshot.
func (f *frozen) CanSnapshot(ctx context.Context, doc *config.Doc, _ string) (bool, error) {
	return f.able(ctx, storage.FeatureSnapshot, doc.Values, "")
}

// Able tells whether a container, or its state in a snapshot, can do what the feature says,
// which is what each of its mount points can do. A folder or a device of the host can
// nothing of that.
func (s *Service) Able(ctx context.Context, f storage.Feature, doc *config.Doc, name string) (bool, error) {
	values := doc.Values
	if name != "" {
		snap, err := guest.Snapshot(doc, name)
		if err != nil {
			return false, err
		}
		values = snap
	}
	return s.able(ctx, f, values, name)
}

func (s *Service) able(ctx context.Context, f storage.Feature, values schema.Params, name string) (bool, error) {
	for key, value := range values {
		if container.IsMountPoint(key) && container.KindOfSource(container.VolumeOf(value)) != container.VolumeSource {
			return false, nil
		}
	}
	for _, v := range container.Volumes(values) {
		volume, err := id.ParseVolume(v.ID)
		if err != nil {
			return false, err
		}
		if able, err := s.Storage.Has(ctx, f, volume, name); err != nil || !able {
			return false, err
		}
	}
	return true, nil
}

// Activate makes the storages of the volumes ready.
func (f *frozen) Activate(ctx context.Context, values schema.Params, _ bool) error {
	var storeids []id.Storage
	for _, v := range f.Volumes(values) {
		volume, err := id.ParseVolume(v.ID)
		if err != nil {
			return err
		}
		storeids = append(storeids, volume.Storage)
	}
	return f.Storage.Activate(ctx, storeids...)
}

// thawPatience is how long a container may take to go on, whatever ended the command.
const thawPatience = 30 * time.Second

// Begin freezes the container and writes out its file systems.
func (f *frozen) Begin(ctx context.Context, doc *config.Doc, _ schema.Params) (func(context.Context), error) {
	if p := plan.From(ctx); p != nil {
		p.Stepf("freeze CT %d", f.vmid)
		return nil, nil
	}
	name := f.vmid.String()
	thaw := func(ctx context.Context) {
		// Who ends the command must not leave the container frozen.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawPatience)
		defer cancel()
		if err := f.LXC.Unfreeze(ctx, name); err != nil {
			api.Warnf(ctx, "unable to unfreeze CT %d: %v; 'pct resume %d' tries again", f.vmid, err, f.vmid)
		}
	}
	if err := f.LXC.Freeze(ctx, name); err != nil {
		thaw(ctx) // it may be half frozen
		return nil, fmt.Errorf("freeze CT %d: %w", f.vmid, err)
	}
	if err := f.sync(ctx, container.Typed(doc.Values)); err != nil {
		thaw(ctx)
		return nil, err
	}
	return thaw, nil
}

// sync writes out the file systems that the container has mounted, seen from its init.
func (f *frozen) sync(ctx context.Context, c *container.Config) error {
	pid, err := f.LXC.InitPID(ctx, f.vmid.String())
	if err != nil {
		return err
	}
	root, err := unix.Open(filepath.Join("/proc", strconv.Itoa(pid), "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("root of CT %d: %w", f.vmid, err)
	}
	defer unix.Close(root)
	for _, point := range c.Points() {
		if err := syncBelow(root, point.MP); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write out %s of CT %d: %w", point.Key, f.vmid, err)
		}
	}
	return nil
}

func syncBelow(root int, path string) error {
	fd, err := unix.Openat2(root, "./"+strings.TrimLeft(path, "/"), &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

// SnapshotVolume keeps the state of a volume.
func (f *frozen) SnapshotVolume(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	return f.Storage.Snapshot(ctx, volume, name)
}

// DeleteVolumeSnapshot forgets a state of a volume.
func (f *frozen) DeleteVolumeSnapshot(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	return f.Storage.DeleteSnapshot(ctx, volume, name, false)
}

// CheckRollback tells whether a volume can go back.
func (f *frozen) CheckRollback(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	return f.Storage.CanRollback(ctx, volume, name)
}

// RollbackVolume brings a volume back.
func (f *frozen) RollbackVolume(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("bring %s back to snapshot '%s'", v.ID, name)
		return nil
	}
	if err := f.Storage.Rollback(ctx, volume, name); err != nil {
		return err
	}
	if err := f.Service.Volumes.Settle(ctx, volume); err != nil {
		// It only makes the next start slow.
		api.Warnf(ctx, "%s: %v", v.Key, err)
	}
	return nil
}

// Running tells whether the container runs.
func (f *frozen) Running(ctx context.Context) (bool, error) {
	if f.stopped {
		return false, nil
	}
	return f.Host.Running(ctx, f.vmid)
}

// Stop ends the container at once, where it runs.
func (f *frozen) Stop(ctx context.Context) error {
	running, err := f.Running(ctx)
	if err != nil || !running {
		return err
	}
	if p := plan.From(ctx); p != nil {
		f.stopped = true
		p.Stepf("stop CT %d", f.vmid)
		return nil
	}
	return f.Service.Stop(ctx, f.vmid)
}

// RolledBack has nothing to adapt: all that a container has is in its options.
func (f *frozen) RolledBack(_, _ *config.Doc, _ schema.Params) error { return nil }
