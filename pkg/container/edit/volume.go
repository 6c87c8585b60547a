package edit

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// isWish tells whether a mount point asks for a volume to be made: local:4 is one of 4 GiB.
func isWish(volume string) bool {
	_, _, ok := volumes.AsksNew(volume)
	return ok
}

// checkPoint checks what a mount point names, and touches nothing.
func (s *Service) checkPoint(ctx context.Context, p container.Point) error {
	if p.Kind() != container.VolumeSource {
		return nil
	}
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return err
	}
	if _, err := s.Storage.Enabled(ctx, v.Storage); err != nil {
		return err
	}
	return s.Volumes.CheckStorage(ctx, v.Storage)
}

// owned returns the volume that text names where it belongs to the container.
func (s *Service) owned(ctx context.Context, vmid id.VM, text string) (v id.Volume, ok bool) {
	v, err := id.ParseVolume(text)
	if err != nil {
		return v, false
	}
	name, err := s.Storage.Parse(ctx, v)
	return v, err == nil && name.Guest == vmid
}

// release notes the volume of a mount point that went away as unused, where it is the
// container's and no other mount point has it.
func (s *Service) release(ctx context.Context, vmid id.VM, doc *config.Doc, value string) {
	v, ok := s.owned(ctx, vmid, container.VolumeOf(value))
	if !ok || names(doc.Values, v.String()) || names(doc.Pending, v.String()) {
		return
	}
	if _, err := guest.AddUnused(doc.Values, v.String()); err != nil {
		api.Warnf(ctx, "%s is nowhere noted any more: %v", v, err)
	}
}

// Free removes the volume that the container has under key, which goes away. A volume that
// is not the container's own stays, as does one that a mount point or a snapshot has.
func (s *Service) Free(ctx context.Context, vmid id.VM, doc *config.Doc, key, volume string) error {
	v, ok := s.owned(ctx, vmid, volume)
	if !ok || names(doc.Values, v.String()) || names(doc.Pending, v.String()) {
		return nil
	}
	for _, values := range doc.Snapshots {
		if names(values, v.String()) {
			return fmt.Errorf("unable to delete '%s' - volume is still in use (snapshot?)", key)
		}
	}
	return s.Storage.Free(ctx, v)
}

// names tells whether one of the mount points of values has a volume.
func names(values schema.Params, volume string) bool {
	for _, v := range container.Volumes(values) {
		if v.ID == volume {
			return true
		}
	}
	return false
}
