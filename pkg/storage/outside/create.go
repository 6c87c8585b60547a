package outside

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Alloc makes an image.
func (p *pool) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	if p.described.Existing {
		return "", fmt.Errorf("can't allocate space in %s storage", p.Type)
	}
	formats := p.described.Formats
	if len(formats) == 0 {
		formats = []string{p.described.format()}
	}
	if !slices.Contains(formats, r.Format) {
		return "", fmt.Errorf("unsupported format '%s'", r.Format)
	}
	size := r.Size << 10
	return p.named(ctx, r.Guest, r.Format, r.File, "", func(ctx context.Context, name string) error {
		return p.create(ctx, "alloc", volumeArgs{New: name, Format: r.Format, Size: &size})
	})
}

// mostImages bounds how many images a guest has on one storage.
const mostImages = 1024

// named lets make have the name of an image of a guest: that in file, or one after the
// other until there is one that is free. The program takes a name by making the volume,
// which fails where it is taken.
func (p *pool) named(ctx context.Context, guest id.VM, format, file, base string, make func(ctx context.Context, name string) error) (string, error) {
	if file != "" {
		n, ok := p.described.image(file)
		if !ok || n.Guest != guest || n.IsBase || n.Format != format {
			return "", fmt.Errorf("illegal name '%s' - should be like '%s'", file, p.described.file(guest, 0, format))
		}
		n.Base = base
		name := volume(n)
		if p.planned(ctx, name) {
			return "", storage.Told("volume '"+name+"' already exists", storage.ErrExists)
		}
		return name, make(ctx, name)
	}
	list, err := p.List(ctx, storage.Filter{Content: []storage.Content{storage.Images, storage.Rootdir}, Guest: guest})
	if err != nil {
		return "", err
	}
	used := map[string]bool{}
	for _, v := range list {
		if m := numbered.FindStringSubmatch(v.Name[strings.LastIndex(v.Name, "/")+1:]); m != nil && m[1] == guest.String() {
			used[m[2]] = true
		}
	}
	for number := range mostImages {
		name := volume(storage.Name{File: p.described.file(guest, number, format), Base: base})
		if used[strconv.Itoa(number)] || p.planned(ctx, name) {
			continue
		}
		err := make(ctx, name)
		if errors.Is(err, storage.ErrExists) { // somebody was faster
			continue
		}
		return name, err
	}
	return "", fmt.Errorf("unable to allocate an image name for VM %s in storage '%s'", guest, p.ID)
}

// create makes a call that makes the volume args.New. What an ended call has made is
// removed: not by the name alone, which another may have taken then, but while all of
// this node who want that name wait for us.
func (p *pool) create(ctx context.Context, call string, args volumeArgs) error {
	if told := plan.From(ctx); told != nil {
		told.Write(p.plannedPath(args.New), new(""))
		return p.do(ctx, call, args)
	}
	const slots, patience = 64, time.Hour
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(args.New)) // never fails
	path := filepath.Join("/", p.Root, "run/lock/pve-manager", fmt.Sprintf("outside-%s-%d", p.ID, sum.Sum32()%slots))
	return file.WithLock(ctx, path, file.LockOptions{Patience: patience, What: call + " " + args.New}, func(ctx context.Context) error {
		err := p.ask(ctx, "info", volumeArgs{Name: args.New}, nil)
		switch {
		case err == nil:
			return storage.Told("volume '"+args.New+"' already exists", storage.ErrExists)
		case !errors.Is(err, storage.ErrNotExist):
			return err
		}
		undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
		defer undo.Fail()
		undo.Add("free "+args.New, func(ctx context.Context) error {
			if err := p.do(ctx, "free", volumeArgs{Name: args.New}); !errors.Is(err, storage.ErrNotExist) {
				return err
			}
			return nil
		})
		err = p.do(ctx, call, args)
		if err == nil || errors.Is(err, storage.ErrExists) { // of another node
			undo.Success()
		}
		return err
	})
}

// plannedPath is where a dry run notes a name.
func (p *pool) plannedPath(name string) string { return "storage/" + string(p.ID) + "/" + name }

// planned tells whether a dry run has made a volume.
func (p *pool) planned(ctx context.Context, name string) bool {
	if told := plan.From(ctx); told != nil {
		text, ok := told.Read(p.plannedPath(name))
		return ok && text != nil
	}
	return false
}

// ActivateVolume makes a volume ready, or checks that it is there.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	if !slices.Contains(p.described.Abilities, Activate) {
		_, err := p.Info(ctx, name)
		return err
	}
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.do(ctx, "activateVolume", volumeArgs{Name: name, Snapshot: snap})
}

// DeactivateVolume is the inverse.
func (p *pool) DeactivateVolume(ctx context.Context, name, snap string) error {
	if !slices.Contains(p.described.Abilities, Activate) {
		return nil
	}
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return p.do(ctx, "deactivateVolume", volumeArgs{Name: name, Snapshot: snap})
}
