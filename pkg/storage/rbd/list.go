package rbd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
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
	images, err := p.details(ctx, f.Guest)
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

// one is how many images of a guest are looked at one by one: rbd opens every image of the
// pool to list them all, a thousand in seconds.
const one = 16

// details lists the images of the pool, or of one guest, with what is known of each. Of
// those that are damaged, or go while they are looked at, it is only the name.
func (p *pool) details(ctx context.Context, guest id.VM) (map[string]image, error) {
	if guest != 0 {
		images, err := p.ofGuest(ctx, guest)
		if err != nil || images != nil {
			return images, err
		}
	}
	var list []struct {
		image
		Image    string `json:"image"`
		Snapshot string `json:"snapshot"`
	}
	images := map[string]image{}
	patience := ceph.Look
	patience.All = 10 * time.Minute
	failed := p.readSlowly(ctx, patience, &list, "ls", "-l")
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

// ofGuest looks at the images of a guest, or returns nothing where there are many.
func (p *pool) ofGuest(ctx context.Context, guest id.VM) (map[string]image, error) {
	names, err := p.names(ctx)
	if err != nil {
		return nil, err
	}
	images := map[string]image{}
	for name := range names {
		if n, err := parse(name); err == nil && n.Guest == guest {
			images[name] = image{Name: name}
		}
	}
	if len(images) > one {
		return nil, nil
	}
	for name := range images {
		i, err := p.look(ctx, name, "")
		switch {
		case errors.Is(err, storage.ErrNotExist):
			delete(images, name)
		case err == nil:
			images[name] = i
		case !ceph.Missing(err): // which is one that is damaged
			return nil, err
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
