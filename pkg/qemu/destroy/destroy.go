// Package destroy ends the life of VMs: it removes their volumes and configurations,
// and the places elsewhere that name them.
package destroy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/guest/purge"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Service destroys the VMs of a node.
type Service struct{ *vm.Host }

// Options say what to destroy.
type Options struct {
	VM           id.VM
	Purge        bool // also where jobs and high availability name it
	Unreferenced bool // also volumes that only their name says are the VM's
	SkipLock     bool
}

func (o Options) guest() purge.Guest { return purge.Guest{Kind: cluster.VM, ID: o.VM} }

// Check returns why a VM cannot be destroyed. It touches nothing.
func (s *Service) Check(ctx context.Context, o Options) error {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return err
	}
	return s.check(ctx, o, doc)
}

func (s *Service) check(ctx context.Context, o Options, doc *config.Doc) error {
	if err := guest.CheckProtection(doc, fmt.Sprintf("can't remove VM %s", o.VM)); err != nil {
		return err
	}
	if !o.Purge {
		if err := purge.Check(ctx, s.Cluster, o.guest()); err != nil {
			return err
		}
	}
	running, err := s.Running(o.VM)
	if err == nil && running {
		err = fmt.Errorf("VM %s is running - destroy failed", o.VM)
	}
	return err
}

// Destroy removes a VM. Its configuration goes last, so that what is left of one that
// was interrupted can be destroyed again.
func (s *Service) Destroy(ctx context.Context, o Options) error {
	return s.Locked(ctx, o.VM, "destroy", func(ctx context.Context) error {
		doc, err := s.Load(ctx, o.VM)
		if err != nil {
			return err
		}
		if err := s.check(ctx, o, doc); err != nil {
			return err
		}
		// One that was suspended to disk has nothing that goes on.
		if !o.SkipLock && doc.Values["lock"] != "suspended" {
			if err := guest.CheckLock(cluster.VM, doc); err != nil {
				return err
			}
		}
		if err := s.checkBases(ctx, doc); err != nil {
			return err
		}
		if err := s.Cluster.CheckChangeable(ctx, cluster.VM, o.VM); err != nil {
			return err
		}
		return s.destroy(ctx, o, doc)
	})
}

func (s *Service) destroy(ctx context.Context, o Options, doc *config.Doc) error {
	if err := s.removeVolumes(ctx, o, doc); err != nil {
		return err
	}
	if err := purge.Leave(ctx, s.Cluster, o.VM); err != nil {
		return err
	}
	if o.Purge {
		if err := purge.Jobs(ctx, s.Cluster, o.guest()); err != nil {
			return err
		}
	}
	return s.Cluster.RemoveGuest(ctx, cluster.VM, o.VM)
}

// checkBases refuses to destroy a template of which there are linked clones.
func (s *Service) checkBases(ctx context.Context, doc *config.Doc) error {
	if !guest.IsTemplate(doc) {
		return nil
	}
	for d := range qemu.Drives(doc.Values, qemu.AllDrives) {
		v, err := id.ParseVolume(d.Volume())
		if err != nil || d.IsCDROM() {
			continue
		}
		if err := s.Storage.CheckUnused(ctx, v); errors.Is(err, storage.ErrInUse) {
			return storage.Told(fmt.Sprintf("base volume '%s' is still in use by linked clones", v), err)
		}
	}
	return nil
}

// removeVolumes removes the volumes that are the VM's own: those that its configuration
// names, and with o.Unreferenced all. One that cannot be removed is told and left.
func (s *Service) removeVolumes(ctx context.Context, o Options, doc *config.Doc) error {
	done := map[id.Volume]bool{}
	for _, v := range named(doc) {
		if done[v] || !s.owns(ctx, o.VM, v) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		done[v] = true
		if err := s.Storage.Free(ctx, v); err != nil {
			api.Warnf(ctx, "Could not remove disk '%s', check manually: %v", v, err)
		}
	}
	if !o.Unreferenced {
		return nil
	}
	left, err := s.Storage.GuestVolumes(ctx, o.VM, func(_ id.Storage, err error) { api.Warnf(ctx, "%v", err) })
	if err != nil {
		return err
	}
	for _, v := range left {
		if done[v] {
			continue
		}
		if err := s.Storage.Free(ctx, v); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
	return nil
}

// owns tells whether a volume belongs to the VM. The storage may be gone.
func (s *Service) owns(ctx context.Context, vmid id.VM, v id.Volume) bool {
	n, err := s.Storage.Parse(ctx, v)
	return err == nil && n.Guest == vmid && (n.Content == storage.Images || n.Content == storage.Rootdir)
}

// named lists the volumes that a configuration names, the media of CD drives aside.
func named(doc *config.Doc) []id.Volume {
	var all []id.Volume
	add := func(text string) {
		if v, err := id.ParseVolume(text); err == nil && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	for _, values := range []schema.Params{doc.Values, doc.Pending} {
		for d := range qemu.Drives(values, qemu.AllDrives) {
			if !d.IsDisc() {
				add(d.Volume())
			}
		}
		add(values["vmstate"])
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Snapshots)) {
		add(doc.Snapshots[name]["vmstate"])
	}
	for _, volume := range schema.SplitList(doc.Special["fleecing"]["fleecing-images"]) {
		add(volume)
	}
	return all
}
