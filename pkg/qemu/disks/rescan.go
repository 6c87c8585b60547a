package disks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// found are the volumes that the storages have for a VM, by volume id.
type found map[string]foundVolume

type foundVolume struct {
	path string
	size int64
}

// Rescan compares the storages with the configuration of a VM, or with all of them where
// vmid is 0: sizes are put right, volumes that nobody names are noted as unused.
// With try nothing is written.
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
	guests, err := s.Cluster.LocalGuests(ctx, cluster.VM)
	if err != nil {
		return err
	}
	for _, g := range guests {
		if err := s.rescan(ctx, g.ID, volumes[g.ID], try); err != nil {
			return fmt.Errorf("VM %s: %w", g.ID, err)
		}
	}
	return nil
}

// scan lists the images on all storages that can be used, by their guest. A storage
// that does not answer is told and left out.
func (s *Service) scan(ctx context.Context, vmid id.VM) (map[id.VM]found, error) {
	c, err := s.Storage.Config(ctx)
	if err != nil {
		return nil, err
	}
	all := map[id.VM]found{}
	for _, def := range c.Storages {
		if def.Disabled || !def.On(s.Node) || !def.Has(storage.Images) {
			continue
		}
		list, err := s.Storage.List(ctx, def.ID, storage.Filter{Content: []storage.Content{storage.Images}, Guest: vmid})
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
		if err := guest.CheckLock(cluster.VM, doc); err != nil {
			return err
		}
		changed, err := compare(ctx, vmid, doc, volumes)
		if err == nil && (try || !changed) {
			err = vm.ErrUnchanged
		}
		return err
	})
}

// compare puts a configuration right.
func compare(ctx context.Context, vmid id.VM, doc *config.Doc, volumes found) (changed bool, err error) {
	// Two storages may have one folder: then a volume has two ids and one path.
	ids, paths := map[string]bool{}, map[string]bool{}
	mark := func(volume string) {
		ids[volume] = true
		if v, ok := volumes[volume]; ok {
			paths[v.path] = true
		}
	}
	for d := range qemu.Drives(doc.Values, qemu.Volumes) {
		mark(d.File)
		v, ok := volumes[d.File]
		if !ok || d.IsCDROM() || d.Size != nil && int64(*d.Size) == v.size {
			continue
		}
		var old schema.Size
		if d.Size != nil {
			old = *d.Size
		}
		d.Size = new(schema.Size(v.size))
		doc.Values[d.Key()], changed = qemu.PrintDrive(d), true
		api.Printf(ctx, "VM %s (%s): size of disk '%s' updated from %s to %s\n", vmid, d.Key(), d.File, old, *d.Size)
	}
	for d := range qemu.Drives(doc.Values, qemu.UnusedDisks) {
		if ids[d.File] || paths[volumes[d.File].path] {
			api.Printf(ctx, "VM %s remove entry '%s', its volume '%s' is in use\n", vmid, d.Key(), d.File)
			delete(doc.Values, d.Key())
			changed = true
		}
		mark(d.File)
	}
	markSaved(doc, mark)
	for _, volume := range slices.Sorted(maps.Keys(volumes)) {
		if strings.Contains(volume, "vm-"+vmid.String()+"-state-") || ids[volume] || paths[volumes[volume].path] {
			continue
		}
		key, err := guest.AddUnused(doc.Values, volume)
		if err != nil {
			return changed, err
		}
		api.Printf(ctx, "VM %s add unreferenced volume '%s' as '%s' to config\n", vmid, volume, key)
		mark(volume)
		changed = true
	}
	return changed, nil
}

// markSaved marks the volumes that are named beside what holds now: by changes that wait,
// as saved memory, and by an interrupted backup.
func markSaved(doc *config.Doc, mark func(string)) {
	mark(doc.Values["vmstate"])
	for d := range qemu.Drives(doc.Pending, qemu.Volumes) {
		mark(d.File)
	}
	for _, volume := range schema.SplitList(doc.Special["fleecing"]["fleecing-images"]) {
		mark(volume)
	}
}
