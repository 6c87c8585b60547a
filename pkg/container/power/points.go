package power

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Points says what the mount points of a container mount. Their volumes must be active.
func (s *Service) Points(ctx context.Context, conf *container.Config) ([]mount.Point, error) {
	var points []mount.Point
	for _, p := range conf.Points() {
		point, err := s.Point(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Key, err)
		}
		points = append(points, point)
	}
	return points, nil
}

// Point says what one mount point mounts.
func (s *Service) Point(ctx context.Context, p container.Point) (mount.Point, error) {
	point := mount.Point{
		Name: p.Key, Source: p.Volume, Target: p.MP, ACL: p.ACL,
		ReadOnly: is(p.RO), Quota: is(p.Quota), KeepAttrs: is(p.KeepAttrs),
	}
	var err error
	if p.MountOptions != nil {
		if point.Options, err = mount.ParseOptions(*p.MountOptions); err != nil {
			return point, err
		}
	}
	if p.IDMap != nil {
		if point.IDMap, err = mount.ParseIDMap(*p.IDMap); err != nil {
			return point, err
		}
	}
	switch p.Kind() {
	case container.BindSource:
		point.Kind = mount.Bind
		return point, nil
	case container.DeviceSource:
		point.Kind = mount.Device
		return point, nil
	}
	point.Kind = mount.Volume
	v, err := id.ParseVolume(p.Volume)
	if err != nil {
		return point, err
	}
	return point, s.locate(ctx, v, &point)
}

// locate finds where a volume is and what.
func (s *Service) locate(ctx context.Context, v id.Volume, point *mount.Point) error {
	name, err := s.Storage.Parse(ctx, v)
	if err != nil {
		return err
	}
	switch name.Format {
	case "raw":
		point.Format = mount.Raw
	case "subvol":
		point.Format = mount.Subvol
	case "iso":
		point.Format = mount.ISO
	default:
		return fmt.Errorf("unsupported image format '%s' of volume '%s'", name.Format, v)
	}
	point.Frozen = name.IsBase
	if point.Source, err = s.Storage.Path(ctx, v, ""); err != nil {
		return err
	}
	// The folder of a storage is the administrator's.
	point.Trusted = filepath.Dir(point.Source)
	return nil
}

// mapOf returns the map of users of a container.
func mapOf(conf *container.Config, raw []container.RawLine) (idmap.Map, error) {
	var lines []string
	for _, line := range raw {
		if idmap.IsKey(line.Key) {
			lines = append(lines, line.Value)
		}
	}
	return idmap.Of(lines, is(conf.Unprivileged))
}

// IDs returns a map as what mounts takes it.
func IDs(m idmap.Map) mount.IDs {
	var ids mount.IDs
	for _, e := range m {
		ids = append(ids, mount.IDRange{
			Group: e.Kind == idmap.Group, Inside: int64(e.Container), Outside: int64(e.Host), Count: int64(e.Count),
		})
	}
	return ids
}

// volumesOf lists the volumes of storages that a container mounts.
func volumesOf(conf *container.Config) ([]id.Volume, error) {
	var volumes []id.Volume
	for _, p := range conf.Points() {
		if p.Kind() != container.VolumeSource {
			continue
		}
		v, err := id.ParseVolume(p.Volume)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Key, err)
		}
		volumes = append(volumes, v)
	}
	return volumes, nil
}

func is(option *bool) bool { return option != nil && *option }
