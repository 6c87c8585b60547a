package rbd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// List returns the images of guests.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	if !slices.Contains(f.Content, storage.Images) && !slices.Contains(f.Content, storage.Rootdir) {
		return nil, nil
	}
	kinds, err := p.Guests(ctx)
	if err != nil {
		return nil, err
	}
	images, err := p.details(ctx)
	if err != nil {
		return nil, err
	}
	var all []storage.Volume
	for name, i := range images {
		n, err := parse(name)
		if err != nil || f.Guest != 0 && n.Guest != f.Guest {
			continue
		}
		// A clone is called after its base, if that is one of ours.
		if i.Parent != nil && i.Parent.Snapshot == base && strings.HasPrefix(i.Parent.Image, "base-") {
			n.Base = i.Parent.Image
		}
		v := storage.Volume{Name: volume(n), Content: storage.Images, Format: "raw", Size: i.Size, Guest: n.Guest, Parent: i.Parent.String()}
		if kinds[v.Guest] == "lxc" {
			v.Content = storage.Rootdir
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b storage.Volume) int { return cmp.Compare(a.Name, b.Name) })
	var found []storage.Volume
	for _, c := range f.Content {
		for _, v := range all {
			if v.Content == c {
				found = append(found, v)
			}
		}
	}
	return found, nil
}

// details lists the images of the pool with what is known of each. Of those that are
// damaged, or go while they are looked at, it is only the name.
func (p *pool) details(ctx context.Context) (map[string]image, error) {
	var list []struct {
		image
		Image    string `json:"image"`
		Snapshot string `json:"snapshot"`
	}
	images := map[string]image{}
	failed := p.read(ctx, &list, "ls", "-l")
	if failed != nil {
		names, err := p.names(ctx)
		if err != nil {
			return nil, err
		}
		for name := range names {
			images[name] = image{Name: name}
		}
	}
	for _, i := range list {
		if i.Snapshot == "" {
			images[i.Image] = i.image
		}
	}
	return images, nil
}

// dataPool is the pool that the data of images is in.
func (p *pool) dataPool() string {
	if p.data != "" {
		return p.data
	}
	return p.name
}

// Status asks how full the pool is, as far as its images can fill it: without copies, and
// no further than its quota.
func (p *pool) Status(ctx context.Context) (storage.Status, error) {
	out, err := p.Ask(ctx, "df", "detail", "--format", "json")
	if err != nil {
		return storage.Status{}, err
	}
	return usage(out, p.dataPool())
}

// usage reads what ceph df prints.
func usage(out []byte, pool string) (storage.Status, error) {
	var said struct {
		Pools []struct {
			Name  string `json:"name"`
			Stats struct {
				Stored    *int64 `json:"stored"`
				BytesUsed int64  `json:"bytes_used"`
				Available int64  `json:"max_avail"`
				Quota     int64  `json:"quota_bytes"`
			} `json:"stats"`
		} `json:"pools"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return storage.Status{}, fmt.Errorf("got unexpected data from ceph df: %w", err)
	}
	for _, d := range said.Pools {
		if d.Name != pool {
			continue
		}
		used, free := d.Stats.BytesUsed, max(d.Stats.Available, 0)
		if d.Stats.Stored != nil {
			used = *d.Stats.Stored
		}
		used = max(used, 0)
		if d.Stats.Quota > 0 {
			free = min(free, max(d.Stats.Quota-used, 0))
		}
		return storage.Status{Total: used + free, Used: used, Available: free}, nil
	}
	return storage.Status{}, fmt.Errorf("could not get usage stats for pool '%s'", pool)
}
