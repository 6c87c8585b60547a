package volumes

import (
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// rootOn returns who the root of a container with the given values is on the disk of a mount point:
// the same as on the host, if the point has no map of its own.
func rootOn(p container.Point, values schema.Params) (uid, gid int, err error) {
	if uid, gid, err = rootOf(values); err != nil || p.IDMap == nil {
		return uid, gid, err
	}
	ids, err := MountIDs(values)
	if err != nil || len(ids) == 0 {
		return uid, gid, err
	}
	own, err := mount.ParseIDMap(*p.IDMap)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.Key, err)
	}
	owner, err := own.OnDisk(ids, mount.Owner{UID: uid, GID: gid})
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w", p.Key, err)
	}
	return owner.UID, owner.GID, nil
}

// pointOf returns the mount point that a volume has; one without anything where it has none.
func pointOf(values schema.Params, volume string) (container.Point, error) {
	for key, value := range values {
		if container.IsMountPoint(key) && container.VolumeOf(value) == volume {
			return container.ParsePoint(key, value)
		}
	}
	return container.Point{}, nil
}
