package rbd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// device returns where the kernel's device of an image is found: below rbd-pve, where the
// host has upstream's rules for that, else where Ceph's own rules put it.
func (p *pool) device(image, snap string) string {
	if c, err := p.Parsed(); err == nil {
		if id := c.Get("global", "fsid"); id != "" {
			path := filepath.Join(p.dev, "rbd-pve", id, p.spec(image, snap))
			if _, err := os.Lstat(path); err == nil {
				return path
			}
		}
	}
	return filepath.Join(p.dev, "rbd", p.spec(image, snap))
}

// mapped returns the number of the kernel's device of an image; empty where it has none.
func (p *pool) mapped(ctx context.Context, image, snap string) (string, error) {
	folder := filepath.Join(p.sys, "bus/rbd/devices")
	devices, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if snap == "" {
		snap = "-" // as the kernel says it
	}
	for _, d := range devices {
		is := func(attribute, want string) bool {
			text, err := os.ReadFile(filepath.Join(folder, d.Name(), attribute))
			return err == nil && strings.TrimSpace(string(text)) == want
		}
		if !is("pool", p.name) || !is("name", image) || !is("current_snap", snap) || p.namespace != "" && !is("pool_ns", p.namespace) {
			continue
		}
		if p.namespace == "" {
			if text, err := os.ReadFile(filepath.Join(folder, d.Name(), "pool_ns")); err == nil && strings.TrimSpace(string(text)) != "" {
				continue
			}
		}
		// Another cluster may have an image of the same name.
		id, err := p.FSID(ctx)
		if err != nil {
			return "", err
		}
		if is("cluster_fsid", id) {
			return d.Name(), nil
		}
	}
	return "", nil
}

// ActivateVolume maps an image where the kernel is to have it, else it makes sure that
// it is there.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	if p.planned(ctx, n.File) {
		return nil
	}
	if !p.krbd {
		_, err := p.look(ctx, n.File, snap)
		return err
	}
	number, err := p.mapped(ctx, n.File, snap)
	if err != nil {
		return err
	}
	if number == "" {
		if err := p.fit(ctx, n.File); err != nil {
			return err
		}
		if err := p.change(ctx, ceph.Change, "can't map rbd volume "+n.File, "map", p.spec(n.File, snap)); err != nil {
			return err
		}
		if plan.From(ctx) != nil {
			return nil
		}
		if number, err = p.mapped(ctx, n.File, snap); err != nil {
			return err
		}
	}
	return p.link(p.device(n.File, snap), number)
}

// fit makes the features of an image those that the kernel knows and profits by.
func (p *pool) fit(ctx context.Context, image string) error {
	i, err := p.look(ctx, image, "")
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, f := range i.Features {
		has[f] = true
	}
	var missing []string
	for _, f := range []string{"exclusive-lock", "object-map", "fast-diff"} {
		if !has[f] {
			missing = append(missing, f)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, ",")
	api.Printf(ctx, "enable RBD image features this kernel RBD drivers supports: %s\n", list)
	what := fmt.Sprintf("could not enable krbd-compatible image features '%s' for rbd image: %s", list, image)
	if err := p.change(ctx, ceph.Change, what, append([]string{"feature", "enable", image}, missing...)...); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return nil
}

// link makes the path of a device where no rules of the host do.
func (p *pool) link(path, number string) error {
	if number == "" {
		return fmt.Errorf("the kernel has no device for '%s' although rbd has mapped it", path)
	}
	device := filepath.Join(p.dev, "rbd"+number)
	if real, err := filepath.EvalSymlinks(path); err == nil && real == device {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(device, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// DeactivateVolume unmaps an image, whoever wanted it mapped.
func (p *pool) DeactivateVolume(ctx context.Context, name, snap string) error {
	n, err := parse(name)
	if err != nil {
		return err
	}
	return p.unmap(ctx, n.File, snap)
}

// unmap takes the kernel's device of an image away, where it has one.
func (p *pool) unmap(ctx context.Context, image, snap string) error {
	number, err := p.mapped(ctx, image, snap)
	if err != nil || number == "" {
		return err
	}
	device := filepath.Join(p.dev, "rbd"+number)
	err = p.change(ctx, ceph.Change, "can't unmap rbd device "+device, "unmap", device)
	if err != nil || plan.From(ctx) != nil {
		return inUse(err)
	}
	// A link of ours has no rule that would remove it.
	path := p.device(image, snap)
	if to, err := os.Readlink(path); err == nil && filepath.Base(to) == "rbd"+number {
		_ = os.Remove(path)
	}
	return nil
}
