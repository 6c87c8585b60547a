package dataset

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// List returns the volumes that the filter lets through.
func (v *Volumes) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	if !slices.Contains(f.Content, storage.Images) && !slices.Contains(f.Content, storage.Rootdir) {
		return nil, nil
	}
	datasets, err := v.ZFS.List(ctx, v.Parent)
	if err != nil {
		return nil, err
	}
	kinds, err := v.Guests(ctx)
	if err != nil {
		return nil, err
	}
	var all []storage.Volume
	for _, d := range datasets {
		item, ok := v.describe(d)
		if !ok || f.Guest != 0 && item.Guest != f.Guest {
			continue
		}
		if kinds[item.Guest] == "lxc" {
			item.Content = storage.Rootdir
		}
		all = append(all, item)
	}
	slices.SortFunc(all, func(a, b storage.Volume) int { return cmp.Compare(a.Name, b.Name) })
	var found []storage.Volume
	for _, c := range f.Content {
		for _, item := range all {
			if item.Content == c {
				found = append(found, item)
			}
		}
	}
	return found, nil
}

// describe turns a dataset into a line of a list, if it is named as a volume is.
func (v *Volumes) describe(d zfs.Dataset) (storage.Volume, bool) {
	n, err := Parse(strings.TrimPrefix(d.Name, v.Parent+"/"))
	format := "subvol"
	if d.Volume {
		format = "raw"
	}
	// A file system that is called as a disk is none of ours.
	if err != nil || n.Base != "" || n.Format != format || !slices.Contains(v.Formats, format) {
		return storage.Volume{}, false
	}
	item := storage.Volume{Name: n.File, Content: storage.Images, Format: format, Size: d.Size, Guest: n.Guest, Parent: v.parent(d.Origin)}
	if base, ok := strings.CutSuffix(item.Parent, "@"+baseSnapshot); ok {
		if b, err := Parse(base); err == nil && b.IsBase && b.Base == "" {
			item.Name = volume(base, n.File)
		}
	}
	return item, true
}
