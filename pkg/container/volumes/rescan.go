package volumes

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// found are the volumes that the storages have for a container, by volume id.
type found map[string]foundVolume

type foundVolume struct {
	path string
	size int64
}

// Rescan compares the storages with the configuration of a container, or with all of them
// where vmid is 0: sizes are put right, volumes that nobody names are noted as unused. With
// try nothing is written.
func (s *Service) Rescan(ctx context.Context, vmid id.VM, try bool) error {
	if try {
		api.Printf(ctx, "NOTE: running in dry-run mode, won't write changes out!\n")
	}
	api.Printf(ctx, "rescan volumes...\n")
	volumes, err := s.scan(ctx, vmid)
	if err != nil {
		return err
	}
	if vmid != 0 {
		return s.rescan(ctx, vmid, volumes[vmid], try)
	}
	guests, err := s.Cluster.LocalGuests(ctx, cluster.Container)
	if err != nil {
		return err
	}
	for _, g := range guests {
		if err := s.rescan(ctx, g.ID, volumes[g.ID], try); err != nil {
			return err
		}
	}
	return nil
}

// scan lists the volumes of containers on all storages that can be used, by their guest. A
// storage that does not answer is told and left out.
func (s *Service) scan(ctx context.Context, vmid id.VM) (map[id.VM]found, error) {
	c, err := s.Storage.Config(ctx)
	if err != nil {
		return nil, err
	}
	all := map[id.VM]found{}
	for _, def := range c.Storages {
		if def.Disabled || !def.On(s.Node) || !def.Has(storage.Rootdir) {
			continue
		}
		list, err := s.Storage.List(ctx, def.ID, storage.Filter{Content: []storage.Content{storage.Rootdir}, Guest: vmid})
		if err != nil {
			api.Warnf(ctx, "%v", err)
			continue
		}
		for _, item := range list {
			v := id.Volume{Storage: def.ID, Name: item.Name}
			path, err := s.Storage.Path(ctx, v, "")
			if err != nil {
				continue
			}
			if all[item.Guest] == nil {
				all[item.Guest] = found{}
			}
			all[item.Guest][v.String()] = foundVolume{path: path, size: item.Size}
		}
	}
	return all, nil
}

func (s *Service) rescan(ctx context.Context, vmid id.VM, volumes found, try bool) error {
	return s.Change(ctx, vmid, "rescan", func(ctx context.Context, doc *config.Doc) error {
		if err := guest.CheckLock(cluster.Container, doc); err != nil {
			return err
		}
		added, err := noteUnused(ctx, vmid, doc, volumes)
		if err != nil {
			return err
		}
		changed := noteSizes(ctx, vmid, doc, volumes)
		if try || !added && !changed {
			return ct.ErrUnchanged
		}
		return nil
	})
}

// noteSizes puts the sizes of mount points right. What is not found may be on a storage that
// is away just now, and what has no size of its own keeps what its configuration says.
func noteSizes(ctx context.Context, vmid id.VM, doc *config.Doc, volumes found) (changed bool) {
	for _, v := range container.Volumes(doc.Values) {
		p, err := container.ParsePoint(v.Key, doc.Values[v.Key])
		at, ok := volumes[v.ID]
		if err != nil || !ok || at.size == 0 {
			continue
		}
		if p.Size != nil {
			if size, err := schema.ParseSize(*p.Size); err == nil && int64(size) == at.size {
				continue
			}
		}
		p.Size = new(schema.Size(at.size).String())
		doc.Values[v.Key], changed = p.Value(), true
		api.Printf(ctx, "CT %s: updated volume size of '%s' in config.\n", vmid, v.ID)
	}
	return changed
}

// noteUnused notes the volumes that nothing names.
func noteUnused(ctx context.Context, vmid id.VM, doc *config.Doc, volumes found) (changed bool, err error) {
	// Two storages may have one folder: then a volume has two ids and one path.
	ids, paths := map[string]bool{}, map[string]bool{}
	mark := func(volume string) {
		ids[volume] = true
		if v, ok := volumes[volume]; ok {
			paths[v.path] = true
		}
	}
	for volume := range named(doc) {
		mark(volume)
	}
	for _, volume := range slices.Sorted(maps.Keys(volumes)) {
		if ids[volume] || paths[volumes[volume].path] {
			continue
		}
		key, err := guest.AddUnused(doc.Values, volume)
		if err != nil {
			return changed, fmt.Errorf("CT %s: %w", vmid, err)
		}
		api.Printf(ctx, "CT %s: add unreferenced volume '%s' as '%s' to config.\n", vmid, volume, key)
		mark(volume)
		changed = true
	}
	return changed, nil
}

// named are the volumes that a configuration names: now, pending, in snapshots, unused ones
// too.
func named(doc *config.Doc) map[string]bool {
	all := map[string]bool{}
	sections := append(slices.Collect(maps.Values(doc.Snapshots)), doc.Values, doc.Pending)
	for _, values := range sections {
		for _, v := range container.Volumes(values) {
			all[v.ID] = true
		}
		for key, text := range values {
			if guest.IsUnused(key) {
				all[container.VolumeOf(text)] = true
			}
		}
	}
	return all
}
