package volumes

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Clone says which volumes to clone, and for whom.
type Clone struct {
	From     schema.Params // the mount points of the source, with its other options
	Snapshot string        // the state to clone; empty for the present one
	To       id.VM
	Values   schema.Params // what the new container is configured with
	Storage  id.Storage    // where full clones go; empty for that of each source
	Full     bool          // copy all; else volumes are linked to their sources
	BWLimit  *int          // KiB/s; nil for what is set
	// Made, which may be nil, is told of each mount point that is done, and of one that is to be
	// filled as soon as its volume is there: whoever is ended meanwhile has noted it.
	Made func(ctx context.Context, key, value string) error
}

// CheckClone returns why volumes cannot be cloned. It touches nothing.
func (s *Service) CheckClone(ctx context.Context, c Clone, running bool) error {
	for _, p := range clonable(c.From) {
		v, err := id.ParseVolume(p.Volume)
		if err != nil {
			return err
		}
		if !c.Full {
			able, err := s.linkable(ctx, v, c.Snapshot)
			if err == nil && !able {
				err = fmt.Errorf("Linked clone feature for '%s' is not available", v) //nolint:staticcheck // upstream's text
			}
			if err != nil {
				return err
			}
			continue
		}
		able, err := s.Storage.Has(ctx, storage.FeatureCopy, v, c.Snapshot)
		switch {
		case err != nil:
			return err
		case running && c.Snapshot == "":
			return fmt.Errorf("Cannot do full clones on a running container without snapshots") //nolint:staticcheck // upstream's text
		case !able:
			return fmt.Errorf("Full clone feature is not supported for drive '%s'", p.Key) //nolint:staticcheck // upstream's text
		}
	}
	return nil
}

// linkable tells whether a volume can be cloned as what a container can mount. Storages of
// files make a qcow2 image, which none can; btrfs makes a copy that shares its blocks.
func (s *Service) linkable(ctx context.Context, v id.Volume, snap string) (bool, error) {
	d, err := s.Storage.Lookup(ctx, v.Storage)
	if err != nil {
		return false, err
	}
	_, formats, err := s.Storage.DefaultFormat(ctx, v.Storage)
	if err != nil || d.Type != "btrfs" && slices.Contains(formats, "qcow2") {
		return false, err
	}
	return s.Storage.Has(ctx, storage.FeatureClone, v, snap)
}

// clonable lists the mount points that have volumes, by name. Folders and devices of the
// host are not cloned.
func clonable(values schema.Params) []container.Point {
	var all []container.Point
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !container.IsMountPoint(key) {
			continue
		}
		p, err := container.ParsePoint(key, values[key])
		if err == nil && p.Kind() == container.VolumeSource {
			all = append(all, p)
		}
	}
	return all
}

// Clone clones the volumes of a container for another one and returns its mount points. How
// to undo it is added to undo; when it fails, nothing is left and nothing is added.
func (s *Service) Clone(ctx context.Context, c Clone, undo *revert.List) (schema.Params, error) {
	made, mine := schema.Params{}, undoList(ctx)
	defer mine.Fail()
	for _, p := range clonable(c.From) {
		cloned, err := s.cloneOne(ctx, c, p, mine)
		if err != nil {
			return nil, err
		}
		made[p.Key] = cloned.Value()
		if c.Made != nil {
			if err := c.Made(ctx, p.Key, made[p.Key]); err != nil {
				return nil, err
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	mine.Move(undo)
	return made, nil
}

func (s *Service) cloneOne(ctx context.Context, c Clone, p container.Point, undo *revert.List) (container.Point, error) {
	src := Source{Point: p, Snapshot: c.Snapshot}
	if !c.Full {
		tell(ctx, "create linked clone of mount point %s (%s)\n", p.Key, p.Volume)
		return s.LinkedClone(ctx, src, c.To, undo)
	}
	tell(ctx, "create full clone of mountpoint %s (%s)\n", p.Key, p.Volume)
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return p, err
	}
	to := Target{VM: c.To, Storage: c.Storage, Values: c.Values}
	if c.Made != nil {
		to.Allocated = func(ctx context.Context, made id.Volume) error {
			empty := p
			empty.Volume = made.String()
			return c.Made(ctx, p.Key, empty.Value())
		}
	}
	if to.BWLimit, err = s.limit(ctx, "clone", c.BWLimit, v.Storage, c.Storage); err != nil {
		return p, err
	}
	return s.Copy(ctx, src, to, undo)
}
