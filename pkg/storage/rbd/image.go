package rbd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// mostImages bounds how many images a guest has on one storage.
const mostImages = 1024

// locked runs fn under the storage's lock; a dry run needs none.
func (p *pool) locked(ctx context.Context, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	return p.Lock(ctx, fn)
}

// slots is how many images can be made at once on a node.
const slots = 16

// namePatience is how long those before us may take to make theirs.
const namePatience = 5 * time.Minute

// naming runs fn while no other on this node chooses names for the guest. The lock of the
// storage would be too much: to make an image takes two calls of rbd, so a hundred for as
// many guests would wait for each other. Between nodes the lock of the guest, which
// callers hold, and the cluster, which gives a name once, do the same.
func (p *pool) naming(ctx context.Context, guest id.VM, fn func(context.Context) error) error {
	if plan.From(ctx) != nil {
		return fn(ctx)
	}
	path := filepath.Join(p.Root, "run/lock/pve-manager", fmt.Sprintf("rbd-%s-%d", p.ID, int(guest)%slots))
	return file.WithLock(ctx, path, file.LockOptions{Patience: namePatience, What: "storage " + string(p.ID)}, fn)
}

// take makes an image of a guest, by calling do with a name that no other has: the one
// that is given, or a free one. What a failed or ended do may have made is gone.
func (p *pool) take(ctx context.Context, guest id.VM, want string, do func(ctx context.Context, image string) error) (storage.Name, error) {
	const tries = 10
	var n storage.Name
	err := p.naming(ctx, guest, func(ctx context.Context) error {
		for try := 1; ; try++ {
			used, err := p.names(ctx)
			if err != nil {
				return err
			}
			image := want
			if image == "" {
				if image, err = p.free(ctx, guest, used); err != nil {
					return err
				}
			}
			if n, err = parse(image); err != nil {
				return err
			}
			if used[image] || p.planned(ctx, image) {
				return p.exists(image)
			}
			err = p.tried(ctx, image, do)
			switch {
			case !ceph.Exists(err):
				return err
			case want != "" || try == tries:
				return p.exists(image)
			}
			// Another node was faster.
		}
	})
	return n, err
}

func (p *pool) exists(image string) error {
	return storage.Told(fmt.Sprintf("rbd image '%s' already exists", p.spec(image, "")), storage.ErrExists)
}

// tried makes an image that was not there a moment ago, and undoes what it has begun.
func (p *pool) tried(ctx context.Context, image string, do func(ctx context.Context, image string) error) error {
	if plan := plan.From(ctx); plan != nil {
		plan.Write(p.noted(image), new(""))
		return do(ctx, image)
	}
	err := do(ctx, image)
	if err == nil || ceph.Exists(err) {
		return err
	}
	undo := context.WithoutCancel(ctx)
	if _, look := p.look(undo, image, ""); look == nil {
		if gone := p.remove(undo, image); gone != nil {
			api.Warnf(ctx, "%v", gone)
		}
	}
	return err
}

// free finds a name that no image of the guest has.
func (p *pool) free(ctx context.Context, guest id.VM, used map[string]bool) (string, error) {
	for i := range mostImages {
		end := fmt.Sprintf("-%s-disk-%d", guest, i)
		if !used["vm"+end] && !used["base"+end] && !p.planned(ctx, "vm"+end) && !p.planned(ctx, "base"+end) {
			return "vm" + end, nil
		}
	}
	return "", fmt.Errorf("unable to allocate an image name for VM %s in storage '%s'", guest, p.ID)
}

// noted is by which name a dry run notes an image.
func (p *pool) noted(image string) string { return "rbd:" + string(p.ID) + ":" + image }

// planned tells whether a dry run has given a name away.
func (p *pool) planned(ctx context.Context, image string) bool {
	if plan := plan.From(ctx); plan != nil {
		text, ok := plan.Read(p.noted(image))
		return ok && text != nil
	}
	return false
}

// mib rounds a size up to what rbd counts in.
func mib(size, unit int64) string {
	perMiB := (1 << 20) / unit
	return strconv.FormatInt((size+perMiB-1)/perMiB, 10)
}

// Alloc makes an image. Its size is rounded up to MiB.
func (p *pool) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	if r.Format != "" && r.Format != "raw" {
		return "", fmt.Errorf("unsupported format '%s'", r.Format)
	}
	if r.File != "" && !strings.HasPrefix(r.File, "vm-"+r.Guest.String()+"-") {
		return "", fmt.Errorf("illegal name '%s' - should be 'vm-%s-*'", r.File, r.Guest)
	}
	n, err := p.take(ctx, r.Guest, r.File, func(ctx context.Context, image string) error {
		op := []string{"create", "--image-format", "2", "--size", mib(r.Size, 1<<10)}
		return p.change(ctx, ceph.Change, "rbd create '"+image+"' error", append(p.withData(op), image)...)
	})
	if err != nil {
		return "", err
	}
	return volume(n), nil
}

// withData adds the pool for the data to a command that makes an image.
func (p *pool) withData(op []string) []string {
	if p.data != "" {
		op = append(op, "--data-pool", p.data)
	}
	return op
}

// Free removes an image with its snapshots. One that is open somewhere, or has clones,
// stays as it is.
func (p *pool) Free(ctx context.Context, name string) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	if plan := plan.From(ctx); plan != nil && p.planned(ctx, n.File) {
		plan.Stepf("rbd rm %s", p.spec(n.File, ""))
		plan.Write(p.noted(n.File), nil)
		return nil
	}
	return p.remove(ctx, n.File)
}

// remove does without the lock: a large image takes minutes, and its name is taken as
// long as it is there.
func (p *pool) remove(ctx context.Context, image string) error {
	if err := p.unmap(ctx, image, ""); err != nil {
		return err
	}
	if there, err := p.unwatched(ctx, image); err != nil || !there {
		return err
	}
	snaps, err := p.states(ctx, image)
	if err != nil && !ceph.Missing(err) { // half an image can be removed as well
		return err
	}
	for _, s := range snaps {
		if err := p.unmap(ctx, image, s.Name); err != nil {
			return err
		}
		if s.Protected == "true" {
			if err := p.unprotect(ctx, image, s.Name); err != nil {
				return err
			}
		}
	}
	if len(snaps) > 0 {
		if err := p.change(ctx, ceph.Move, "rbd snap purge '"+image+"' error", "snap", "purge", image, "--no-progress"); err != nil {
			return err
		}
	}
	err = p.change(ctx, ceph.Move, "rbd rm '"+image+"' error", "rm", image, "--no-progress")
	return inUse(err)
}

// inUse says of what is busy that it is in use.
func inUse(err error) error {
	if ceph.Busy(err) {
		return storage.Told(err.Error(), errors.Join(storage.ErrInUse, err))
	}
	return err
}

// unwatched fails when a client has an image open. To remove its snapshots first and
// find that out then would be too late. Of an image that is not there, the user is told.
func (p *pool) unwatched(ctx context.Context, image string) (there bool, err error) {
	var st struct {
		Watchers []struct {
			Address string `json:"address"`
		} `json:"watchers"`
	}
	if err := p.read(ctx, &st, "status", image); err != nil {
		if !ceph.Missing(err) {
			return false, err
		}
		names, err := p.names(ctx)
		if err == nil && !names[image] {
			fmt.Fprintf(api.StreamsOf(ctx).Err, "rbd image '%s' does not exist\n", p.spec(image, ""))
		}
		return names[image], err // half an image can be removed as well
	}
	if len(st.Watchers) == 0 {
		return true, nil
	}
	var who []string
	for _, w := range st.Watchers {
		host, _, _ := strings.Cut(w.Address, "/")
		who = append(who, host)
	}
	slices.Sort(who)
	return true, storage.Told(fmt.Sprintf("rbd image '%s' is in use by %s: a guest runs, or a client that died is still waited for, which takes 30 seconds",
		p.spec(image, ""), strings.Join(slices.Compact(who), ", ")), storage.ErrInUse)
}

// Resize sets the size of an image. That of a running guest is QEMU's to set, unless the
// kernel has mapped it.
func (p *pool) Resize(ctx context.Context, name string, size int64, running bool) error {
	n, err := parse(name)
	if err != nil || running && !p.krbd {
		return err
	}
	return p.change(ctx, ceph.Change, "rbd resize '"+name+"' error", "resize", "--size", mib(size, 1), n.File, "--no-progress")
}

// Info looks at an image.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	n, err := parse(name)
	if err != nil {
		return storage.Info{}, err
	}
	if p.planned(ctx, n.File) {
		return storage.Info{Format: "raw"}, nil
	}
	i, err := p.look(ctx, n.File, "")
	if err != nil {
		return storage.Info{}, err
	}
	info := storage.Info{Size: i.Size, Format: "raw", Parent: i.Parent.String()}
	// Without that feature, each object of the image would have to be asked for. Ceph 16
	// crashes on an image of no size.
	if slices.Contains(i.Features, "fast-diff") && i.Size > 0 {
		info.Used = p.used(ctx, n.File)
	}
	return info, nil
}

// used returns how much of an image is there, without its snapshots; 0 where that is not
// known.
func (p *pool) used(ctx context.Context, name string) int64 {
	var said struct {
		Images []struct {
			Name     string `json:"name"`
			Snapshot string `json:"snapshot"`
			Used     int64  `json:"used_size"`
		} `json:"images"`
	}
	if p.read(ctx, &said, "du", name) == nil {
		for _, i := range said.Images {
			if i.Name == name && i.Snapshot == "" {
				return i.Used
			}
		}
	}
	return 0
}

// Rename gives an image to a guest.
func (p *pool) Rename(ctx context.Context, name string, guest id.VM, want string) (string, error) {
	n, err := parse(name)
	if err != nil {
		return "", err
	}
	to := n
	err = p.naming(ctx, guest, func(ctx context.Context) error {
		used, err := p.names(ctx)
		if err != nil {
			return err
		}
		image := want
		if image == "" {
			if image, err = p.free(ctx, guest, used); err != nil {
				return err
			}
		}
		if used[image] || p.planned(ctx, image) {
			return storage.Told(fmt.Sprintf("target volume '%s' already exists", image), storage.ErrExists)
		}
		if to, err = parse(image); err != nil {
			return err
		}
		to.Base, to.BaseGuest = n.Base, n.BaseGuest
		return p.rename(ctx, n.File, image, fmt.Sprintf("could not rename image '%s' to '%s'", n.File, image))
	})
	if err != nil {
		return "", err
	}
	return volume(to), nil
}

// rename gives an image another name. The kernel's device of the old name goes first:
// under the new one nobody would find it.
func (p *pool) rename(ctx context.Context, from, to, what string) error {
	if err := p.unmap(ctx, from, ""); err != nil {
		return err
	}
	if plan := plan.From(ctx); plan != nil {
		plan.Write(p.noted(from), nil)
		plan.Write(p.noted(to), new(""))
	}
	return p.change(ctx, ceph.Change, what, "rename", p.spec(from, ""), p.spec(to, ""))
}
