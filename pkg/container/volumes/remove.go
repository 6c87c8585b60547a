package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// CheckBases refuses to remove a template of which there are linked clones.
func (s *Service) CheckBases(ctx context.Context, doc *config.Doc) error {
	if !guest.IsTemplate(doc) {
		return nil
	}
	for _, p := range container.Volumes(doc.Values) {
		v, err := id.ParseVolume(p.ID)
		if err != nil {
			continue
		}
		if err := s.Storage.CheckUnused(ctx, v); errors.Is(err, storage.ErrInUse) {
			return storage.Told(fmt.Sprintf("base volume '%s' is still in use by linked clones", v), err)
		}
	}
	return nil
}

// Remove removes the volumes that are the container's own: those that its configuration
// names, and with unreferenced all. One that cannot be removed is told and left.
func (s *Service) Remove(ctx context.Context, vmid id.VM, doc *config.Doc, unreferenced bool) error {
	done := map[id.Volume]bool{}
	for _, volume := range slices.Sorted(maps.Keys(named(doc))) {
		v, err := id.ParseVolume(volume)
		if err != nil || container.KindOfSource(volume) != container.VolumeSource {
			continue
		}
		n, err := s.Storage.Parse(ctx, v)
		if err != nil || !isImage(n) {
			continue
		}
		if n.Guest != vmid {
			api.Warnf(ctx, "ignoring deletion of '%s', CT %s isn't the owner", v, vmid)
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		done[v] = true
		if err := s.Storage.Free(ctx, v); err != nil {
			api.Warnf(ctx, "Could not remove volume '%s', check manually: %v", v, err)
		}
	}
	if !unreferenced {
		return nil
	}
	left, err := s.Storage.GuestVolumes(ctx, vmid, func(_ id.Storage, err error) { api.Warnf(ctx, "%v", err) })
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
