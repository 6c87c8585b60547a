package edit

import (
	"context"
	"fmt"
	"maps"
	"regexp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// isWish tells whether a mount point asks for a volume to be made: local:4 is one of 4 GiB.
func isWish(volume string) bool {
	ok, _ := regexp.MatchString(`^[^:\s/]+:\d+(\.\d+)?$`, volume)
	return ok
}

// kept returns mount points as they are kept: those that ask for a volume with one that
// was made for them, the others with the sizes of theirs.
func (s *Service) kept(ctx context.Context, vmid id.VM, points, values schema.Params, undo *revert.List) (schema.Params, error) {
	kept, wishes := schema.Params{}, schema.Params{}
	for _, key := range sorted(points) {
		p, err := container.ParsePoint(key, points[key])
		if err != nil {
			return nil, err
		}
		switch {
		case isWish(p.Volume):
			wishes[key] = points[key]
			continue
		case p.Kind() == container.VolumeSource:
			if err := s.rescan(ctx, &p); err != nil {
				fmt.Fprintf(api.StreamsOf(ctx).Err, "Could not rescan volume size - %v\n\n", err)
			}
		}
		kept[key] = p.Value()
	}
	if len(wishes) == 0 {
		return kept, nil
	}
	made, err := s.Volumes.Make(ctx, vmid, wishes, values, undo)
	maps.Copy(kept, made)
	return kept, err
}

// rescan notes the size that the volume of a mount point has.
func (s *Service) rescan(ctx context.Context, p *container.Point) error {
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return err
	}
	if _, err := s.Storage.Parse(ctx, v); err != nil {
		return err
	}
	if err := s.Storage.Activate(ctx, v.Storage); err != nil {
		return err
	}
	info, err := s.Storage.Info(ctx, v)
	if err == nil && info.Size > 0 {
		p.Size = new(schema.Size(info.Size).String())
	}
	return err
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
	d, err := s.Storage.Enabled(ctx, v.Storage)
	if err == nil && !d.Has(storage.Rootdir) {
		err = fmt.Errorf("storage '%s' does not allow content type 'rootdir' (Container)", v.Storage)
	}
	return err
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
