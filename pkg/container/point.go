package container

import (
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// ParsePoint reads the value of a mount point, or of an unused volume, which has no place.
func ParsePoint(key, value string) (Point, error) {
	if guest.IsUnused(key) {
		var u Unused
		err := schema.Parse(value, &u)
		return Point{Key: key, MountPoint: MountPoint{Volume: u.Volume}}, err
	}
	if key == Root {
		c := &Config{RootFS: new(RootFS)}
		if err := schema.Parse(value, c.RootFS); err != nil {
			return Point{}, err
		}
		return c.Points()[0], nil
	}
	p := Point{Key: key}
	err := schema.Parse(value, &p.MountPoint)
	return p, err
}

// Value returns the point as a configuration has it under its key.
func (p Point) Value() string {
	switch {
	case guest.IsUnused(p.Key):
		return p.Volume
	case p.Key == Root:
		return schema.Print(&RootFS{
			Volume: p.Volume, ACL: p.ACL, IDMap: p.IDMap, MountOptions: p.MountOptions, Quota: p.Quota,
			Replicate: p.Replicate, RO: p.RO, Shared: p.Shared, Size: p.Size,
		})
	}
	return schema.Print(&p.MountPoint)
}
