package volumes

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// MountPoint makes what a mount point names ready and says how it is mounted. snap is the
// state to mount, empty for the present one.
func (s *Service) MountPoint(ctx context.Context, p container.Point, snap string) (mount.Point, error) {
	m := mount.Point{
		Name: p.Key, Source: p.Volume, Target: p.MP, ReadOnly: is(p.RO), Quota: is(p.Quota), ACL: p.ACL, KeepAttrs: is(p.KeepAttrs),
	}
	var err error
	if m.Options, err = mount.ParseOptions(value(p.MountOptions)); err != nil {
		return m, fmt.Errorf("%s: %w", p.Key, err)
	}
	if m.IDMap, err = mount.ParseIDMap(value(p.IDMap)); err != nil {
		return m, fmt.Errorf("%s: %w", p.Key, err)
	}
	switch p.Kind() {
	case container.BindSource:
		m.Kind = mount.Bind
		return m, nil
	case container.DeviceSource:
		m.Kind = mount.Device
		return m, nil
	}
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return m, err
	}
	return m, s.volumePoint(ctx, v, snap, &m)
}

// MountPoints is MountPoint for all of a container's.
func (s *Service) MountPoints(ctx context.Context, c *container.Config) ([]mount.Point, error) {
	var all []mount.Point
	for _, p := range c.Points() {
		m, err := s.MountPoint(ctx, p, "")
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// volumePoint says how a volume is mounted.
func (s *Service) volumePoint(ctx context.Context, v id.Volume, snap string, m *mount.Point) error {
	n, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	if err := s.Storage.ActivateVolumes(ctx, snap, v); err != nil {
		return err
	}
	if m.Source, err = s.devicePath(ctx, v, snap); err != nil {
		return err
	}
	m.Kind, m.Frozen = mount.Volume, snap != "" || n.IsBase
	switch {
	case n.Content == storage.ISO:
		m.Format = mount.ISO
	case n.Format == "subvol":
		// The folder itself is the storage's; what is below is the container's.
		m.Format, m.Trusted = mount.Subvol, m.Source
	case n.Format == "raw":
		m.Format = mount.Raw
	default:
		return fmt.Errorf("unsupported image format '%s'", n.Format)
	}
	return nil
}

// MountIDs returns the map of users of a container with the given values as mounts need it.
func MountIDs(values schema.Params) (mount.IDs, error) {
	ids, err := IDs(values)
	if err != nil {
		return nil, err
	}
	var all mount.IDs
	for _, e := range ids {
		all = append(all, mount.IDRange{
			Group: e.Kind == 'g', Inside: int64(e.Container), Outside: int64(e.Host), Count: int64(e.Count),
		})
	}
	return all, nil
}

// open mounts a volume for us alone. Owners are those on disk.
func (s *Service) open(ctx context.Context, v id.Volume, snap string, readOnly bool) (*mount.View, error) {
	m := mount.Point{Name: v.String(), Target: "/", Options: mount.Options{NoATime: true}}
	if err := s.volumePoint(ctx, v, snap, &m); err != nil {
		return nil, err
	}
	// One that is only read is mounted to be written to nonetheless: the journal of a
	// container that has ended badly has to be played back, or files would be missing.
	// Nothing but that changes.
	if m.Format == mount.Subvol {
		m.ReadOnly = readOnly
	}
	return s.mounter(ctx).Open(ctx, m, nil)
}

// openInUse mounts, once more and for us alone, the file system of a volume that is mounted
// already: by a container that runs, or on the host. No path leads through the container.
// The view is nil where it is mounted nowhere.
func (s *Service) openInUse(ctx context.Context, v id.Volume, running bool) (*mount.View, error) {
	m := mount.Point{Name: v.String(), Target: "/"}
	if err := s.volumePoint(ctx, v, "", &m); err != nil {
		return nil, err
	}
	h := s.mounter(ctx)
	if m.Format == mount.Subvol {
		return h.Open(ctx, m, nil)
	}
	devices, err := h.Loops(m.Source)
	if err != nil {
		return nil, err
	}
	if len(devices) == 0 && running {
		devices = []string{m.Source} // a device of its own
	}
	for _, device := range devices {
		m.Kind, m.Source, m.Frozen = mount.Device, device, false
		// It can be mounted again only as it is mounted.
		for _, m.ReadOnly = range []bool{false, true} {
			var view *mount.View
			if view, err = h.Open(ctx, m, nil); err == nil {
				return view, nil
			}
		}
	}
	return nil, err
}

func is(option *bool) bool { return option != nil && *option }

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
