package power

import (
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/idmap"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/id"
)

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
