package container

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A SourceKind is what a mount point mounts.
type SourceKind string

// The kinds.
const (
	VolumeSource SourceKind = "volume" // a volume of a storage
	BindSource   SourceKind = "bind"   // a folder of the host
	DeviceSource SourceKind = "device" // a block device of the host
)

// KindOfSource tells what the volume of a mount point is.
func KindOfSource(volume string) SourceKind {
	switch {
	case strings.HasPrefix(volume, "/dev/"):
		return DeviceSource
	case strings.HasPrefix(volume, "/"):
		return BindSource
	}
	return VolumeSource
}

// Root is the key of the mount point that is the root of a container.
const Root = "rootfs"

// IsMountPoint tells whether an option is a mount point: rootfs or mpN.
func IsMountPoint(key string) bool {
	family, _, ok := schema.Member(key)
	return key == Root || ok && family == "mp"
}

// A Point is a mount point with its option; that of the root has "/" as its place.
type Point struct {
	Key string
	MountPoint
}

// Kind tells what the point mounts.
func (p Point) Kind() SourceKind { return KindOfSource(p.Volume) }

// Points lists the mount points of a configuration: the root, then the others by number,
// which is the order in which they are mounted.
func (c *Config) Points() []Point {
	var points []Point
	if r := c.RootFS; r != nil {
		points = append(points, Point{Root, MountPoint{
			Volume: r.Volume, MP: "/", ACL: r.ACL, IDMap: r.IDMap, MountOptions: r.MountOptions, Quota: r.Quota,
			Replicate: r.Replicate, RO: r.RO, Shared: r.Shared, Size: r.Size,
		}})
	}
	for _, n := range sortedKeys(c.MountPoint) {
		points = append(points, Point{"mp" + strconv.Itoa(n), c.MountPoint[n]})
	}
	return points
}

func sortedKeys[T any](m map[int]T) []int {
	keys := make([]int, 0, len(m))
	for n := range m {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	return keys
}

// Volumes lists the volumes of storages that the mount points of values name, the root
// first, then by number. Folders and devices of the host are none.
func Volumes(values schema.Params) []guest.Volume {
	var volumes []guest.Volume
	for key, value := range values {
		if volume := VolumeOf(value); IsMountPoint(key) && KindOfSource(volume) == VolumeSource && id.IsVolume(volume) {
			volumes = append(volumes, guest.Volume{Key: key, ID: volume})
		}
	}
	slices.SortFunc(volumes, func(a, b guest.Volume) int { return cmp.Compare(pointOrder(a.Key), pointOrder(b.Key)) })
	return volumes
}

// pointOrder says in which order mount points are gone through.
func pointOrder(key string) int {
	if key == Root {
		return -1
	}
	n, _ := strconv.Atoi(strings.TrimPrefix(key, "mp"))
	return n
}

// VolumeOf returns what the value of a mount point or an unused volume names.
func VolumeOf(value string) string {
	for part := range strings.SplitSeq(value, ",") {
		key, named, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			return part
		case key == "volume":
			return named
		}
	}
	return ""
}
