package btrfs

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// List returns the volumes that the filter lets through.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	var found []storage.Volume
	var subvols []storage.Volume
	for _, c := range f.Content {
		list, err := p.Tree.List(ctx, storage.Filter{Content: []storage.Content{c}, Guest: f.Guest})
		if err != nil {
			return nil, err
		}
		if c != storage.Images && c != storage.Rootdir {
			found = append(found, list...)
			continue
		}
		if subvols == nil {
			if subvols, err = p.subvolumes(ctx, f.Guest); err != nil {
				return nil, err
			}
		}
		// What the tree takes for an image may be named like one of ours.
		list = slices.DeleteFunc(list, func(v storage.Volume) bool { return v.Format == "raw" || v.Format == "subvol" })
		for _, v := range subvols {
			if v.Content == c {
				list = append(list, v)
			}
		}
		slices.SortFunc(list, func(a, b storage.Volume) int { return cmp.Compare(a.Name, b.Name) })
		found = append(found, list...)
	}
	return found, nil
}

// subvolumes lists the volumes of one guest, or of all, that are subvolumes.
func (p *pool) subvolumes(ctx context.Context, guest id.VM) ([]storage.Volume, error) {
	kinds, err := p.Guests(ctx)
	if err != nil {
		return nil, err
	}
	top, err := p.Subdir(storage.Images)
	if err != nil {
		return nil, err
	}
	folders := []string{guest.String()}
	if guest == 0 {
		if folders, err = names(top); err != nil {
			return nil, err
		}
	}
	found := []storage.Volume{}
	for _, folder := range folders {
		if strings.Trim(folder, "0123456789") != "" {
			continue
		}
		files, err := names(filepath.Join(top, folder))
		if err != nil {
			return nil, err
		}
		seen := map[string]bool{}
		for _, file := range files {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			// Snapshots come after their volume. Those that have none are listed as if they had, so
			// that they can be found and removed.
			file, _, snapshot := strings.Cut(file, "@")
			if seen[file] {
				continue
			}
			if v, ok := p.look(ctx, folder, file, snapshot); ok {
				seen[file] = true
				if kinds[v.Guest] == "lxc" {
					v.Content = storage.Rootdir
				}
				found = append(found, v)
			}
		}
	}
	return found, nil
}

// look describes a volume by what lies in the folder of a guest.
func (p *pool) look(ctx context.Context, folder, file string, snapshot bool) (storage.Volume, bool) {
	name := folder + "/" + file
	if filepath.Ext(file) != ".subvol" {
		name += ".raw"
	}
	n, subvol, err := p.find(name)
	if err != nil || subvol == "" || !snapshot && !isSubvolume(subvol) {
		return storage.Volume{}, false
	}
	v := storage.Volume{Name: volume(n), Content: storage.Images, Format: n.Format, Guest: n.Guest}
	st, err := os.Stat(inside(n, subvol))
	if err != nil {
		return v, true // it is being made, or was left behind
	}
	v.Created = st.ModTime()
	if info, err := storage.ImageInfo(ctx, p.Env, inside(n, subvol), n.Format); err == nil {
		v.Size, v.Used = info.Size, info.Used
	}
	if n.Format == "subvol" {
		v.Size, v.Used = p.quota(ctx, subvol)
	}
	return v, true
}

// Locate returns the volume that lies at a path.
func (p *pool) Locate(ctx context.Context, path string) (storage.Content, string) {
	top, err := p.Subdir(storage.Images)
	if err != nil {
		return "", ""
	}
	rest, ok := strings.CutPrefix(path, top+"/")
	if !ok {
		return p.Tree.Locate(ctx, path)
	}
	if stem, raw := strings.CutSuffix(rest, "/"+disk); raw {
		rest = stem + ".raw"
	}
	n, subvol, err := p.find(rest)
	if err != nil || subvol == "" || inside(n, subvol) != path || !isSubvolume(subvol) {
		c, name := p.Tree.Locate(ctx, path)
		if n, err := p.Parse(name); err != nil || own(n) {
			return "", ""
		}
		return c, name
	}
	return storage.Images, volume(n)
}
