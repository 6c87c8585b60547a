package restore

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Volumes says what becomes of the mount points of a backup.
type Volumes struct {
	// New are volumes to make, by key, in the form in which options ask for one: the value
	// of the mount point with storage:GiB for its volume.
	New schema.Params
	// Delayed are folders and devices of the host, by key. They are not to be mounted while
	// the files are unpacked: nothing in the archive is meant for them.
	Delayed schema.Params
	// Empty are the keys of New whose content was not backed up.
	Empty    []string
	Warnings []string
}

// Plan says which volumes to make for the mount points that the configuration in a backup
// has, all on one storage. Folders and devices of the host are for root alone.
func Plan(values schema.Params, storage id.Storage, root bool) (Volumes, error) {
	v := Volumes{New: schema.Params{}, Delayed: schema.Params{}}
	if values[container.Root] == "" {
		//lint:ignore ST1005 upstream's words
		return v, errors.New("rootfs configuration could not be recovered, please check and specify manually!")
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !container.IsMountPoint(key) {
			continue
		}
		if err := v.point(key, values[key], storage, root); err != nil {
			return v, err
		}
	}
	return v, nil
}

// keysOf returns the schema of the property string that a mount point is.
func keysOf(key string) *schema.Schema {
	f, _ := schema.TypeOf(reflect.TypeFor[container.Config]()).Lookup(key)
	return f.Schema
}

func (v *Volumes) point(key, value string, storage id.Storage, root bool) error {
	keys := keysOf(key)
	p, err := keys.ParseString(value)
	if err != nil {
		return fmt.Errorf("mount point %s of the backup: %w", key, err)
	}
	kind := container.KindOfSource(p["volume"])
	backup, _ := schema.ParseBool(p["backup"])
	backed := key == container.Root || backup
	if kind == container.VolumeSource {
		size, err := schema.ParseSize(p["size"])
		if err != nil || p["size"] == "" {
			return fmt.Errorf("unable to detect disk size - please specify %s (size)", key)
		}
		if !backed {
			v.Empty = append(v.Empty, key)
		}
		delete(p, "size")
		p["volume"] = string(storage) + ":" + strconv.FormatFloat(float64(size)/float64(schema.GiB), 'f', -1, 64)
		v.New[key] = keys.PrintString(p)
		return nil
	}
	switch {
	case key == container.Root:
		//lint:ignore ST1005 upstream's words
		return fmt.Errorf("restoring rootfs to %s mount is only possible by specifying -rootfs manually!", kind)
	case !root:
		return fmt.Errorf("restoring '%s' to %s mount is only possible for root", key, kind)
	case backed:
		v.Warnings = append(v.Warnings, "unsupported configuration!",
			fmt.Sprintf("backup was enabled for %s mount point %s ('%s')", kind, key, p["mp"]),
			"mount point configuration will be restored after archive extraction!",
			"contained files will be restored to wrong directory!")
	}
	v.Delayed[key] = keys.PrintString(p)
	return nil
}
