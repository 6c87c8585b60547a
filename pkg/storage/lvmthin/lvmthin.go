// Package lvmthin is the storage type of a thin pool of LVM.
//
// Volumes and their snapshots share what they have in common, so snapshots and clones
// cost nothing at first. A clone does not depend on its base: that may be removed.
package lvmthin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lvm"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/volgroup"
)

// Config is what storage.cfg says of a thin pool.
type Config struct {
	storage.Common
	storage.Limited
	VGName   string `pve:"vgname" fixed:"1" format:"pve-storage-vgname" doc:"Volume group that the pool is in."`
	ThinPool string `pve:"thinpool" fixed:"1" format:"pve-storage-vgname" doc:"Thin pool in which the volumes lie."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "lvmthin",
		Contents: []storage.Content{storage.Images, storage.Rootdir},
		Default:  []storage.Content{storage.Images, storage.Rootdir},
	}, open)
}

// A pool is a thin pool.
type pool struct {
	volgroup.Group
	thin string
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{thin: c.ThinPool}
	p.Group = volgroup.New(env, c.VGName, func(v lvm.Volume) bool { return v.Thin() && v.Pool == c.ThinPool })
	return p, nil
}

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) { return volgroup.Parse(name) }

// Path returns where QEMU finds a volume, or its state in a snapshot.
func (p *pool) Path(name, snap string) (string, error) {
	if _, err := p.Parse(name); err != nil {
		return "", err
	}
	return p.Device(volume(name, snap)), nil
}

// Blockdev returns how QEMU reaches a volume, which may not be active yet.
func (p *pool) Blockdev(name string) (map[string]any, error) {
	path, err := p.Path(name, "")
	return map[string]any{"driver": "host_device", "filename": path}, err
}

// Image returns how qemu-img is told of a volume. Targets are written to at once: what the
// host keeps back is lost, without a word, when the pool has become full meanwhile.
func (p *pool) Image(_ context.Context, name, snap string, target bool) (storage.Image, error) {
	path, err := p.Path(name, snap)
	img := storage.Image{Path: path, Format: "raw"}
	if target {
		img.Cache = "none"
	}
	return img, err
}

// volume returns the logical volume of a volume or of a state of it.
func volume(name, snap string) string {
	if snap == "" {
		return name
	}
	return volgroup.StateName(name, snap, "")
}

// Has tells whether a volume can do what the feature says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := p.Parse(name)
	if err != nil {
		return false
	}
	switch f {
	case storage.FeatureSnapshot, storage.FeatureTemplate, storage.FeatureRename:
		return snap == "" && !n.IsBase
	case storage.FeatureClone:
		return snap != "" || n.IsBase
	case storage.FeatureCopy:
		return true
	case storage.FeatureSparse:
		return snap == ""
	}
	return false
}

// Activate checks that the pool is there and makes it usable.
func (p *pool) Activate(ctx context.Context) error {
	// The pool has this device as long as it is active, under any name of its volumes.
	if _, err := os.Stat(filepath.Join(p.Dev, "mapper", lvm.Mapper(p.VG, p.thin)+"-tpool")); err == nil {
		return nil
	}
	v, err := p.thinPool(ctx)
	if err != nil {
		return err
	}
	if v.Active() {
		return nil
	}
	return p.Tool.ActivateSkipped(ctx, p.VG, p.thin)
}

// thinPool reports on the pool.
func (p *pool) thinPool(ctx context.Context) (lvm.Volume, error) {
	all, err := p.All(ctx)
	if err != nil {
		return lvm.Volume{}, err
	}
	v, ok := volgroup.Lookup(all, p.thin)
	switch {
	case !ok:
		return v, fmt.Errorf("no such logical volume %s/%s", p.VG, p.thin)
	case !v.IsPool():
		return v, fmt.Errorf("logical volume %s/%s is no thin pool", p.VG, p.thin)
	}
	return v, nil
}

// Status returns how full the pool is.
func (p *pool) Status(ctx context.Context) (storage.Status, error) {
	v, err := p.thinPool(ctx)
	if err != nil {
		return storage.Status{}, err
	}
	return storage.Status{Total: v.Size, Used: v.Used(), Available: v.Size - v.Used()}, nil
}

// List returns the volumes that the filter lets through.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	return p.Group.List(ctx, f, p.Parse, info)
}

func info(v lvm.Volume) storage.Info {
	return storage.Info{Size: v.Size, Used: v.Used(), Format: "raw"}
}

// Info looks at a volume.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	if _, err := p.Parse(name); err != nil {
		return storage.Info{}, err
	}
	v, _, err := p.Find(ctx, name)
	return info(v), err
}

// Alloc makes a volume.
func (p *pool) Alloc(ctx context.Context, r storage.Alloc) (string, error) {
	if r.Format != "raw" {
		return "", fmt.Errorf("unsupported format '%s'", r.Format)
	}
	return p.make(ctx, r.Guest, r.File, func(ctx context.Context, name string) error {
		return p.Tool.CreateThin(ctx, p.VG, p.thin, name, r.Size)
	})
}

// make takes a name for a volume and has it made. It is gone when ctx has ended
// meanwhile.
func (p *pool) make(ctx context.Context, guest id.VM, file string, create func(ctx context.Context, name string) error) (string, error) {
	name, err := p.Reserve(ctx, guest, file, "", func(ctx context.Context, name string, _ []lvm.Volume) error {
		return create(ctx, name)
	})
	if err != nil {
		return "", err
	}
	if err := p.Tool.NoAutoActivation(ctx, p.VG, name); err != nil && ctx.Err() == nil {
		api.Warnf(ctx, "could not set autoactivation: %v", err)
	}
	if ctx.Err() != nil {
		return "", errors.Join(context.Cause(ctx), p.Tool.Remove(context.WithoutCancel(ctx), p.VG, name))
	}
	return name, nil
}

// Free removes a volume and its snapshots.
func (p *pool) Free(ctx context.Context, name string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	v, all, err := p.Find(ctx, name)
	gone := errors.Is(err, storage.ErrNotExist)
	if err != nil && !gone {
		return err
	}
	if v.Open() { // rather than to lose the snapshots first
		return p.InUse(name, lvm.ErrInUse)
	}
	for _, lv := range all {
		// A kill between two removals leaves snapshots without a volume.
		if p.Mine(lv) && volgroup.StateOf(all, lv.Name, name, "") != "" || lv.Name == volgroup.Next+name || volgroup.Buried(lv.Name) == name {
			if err := p.Tool.Remove(ctx, p.VG, lv.Name); err != nil {
				return p.InUse(lv.Name, err)
			}
		}
	}
	if gone {
		p.Absent(ctx, name)
		return nil
	}
	if err := p.Tool.Remove(ctx, p.VG, name); err != nil {
		return p.InUse(name, err)
	}
	if d := plan.From(ctx); d != nil {
		d.Write(p.Device(name), nil)
	}
	return nil
}

// ActivateVolume makes a volume, or its state in a snapshot, usable.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	lv := volume(name, snap)
	if _, err := os.Stat(p.Device(lv)); err == nil && !p.stale(lv) {
		return nil
	}
	v, all, err := p.Find(ctx, name)
	if err != nil {
		return err
	}
	if snap != "" {
		var ok bool
		if v, ok = volgroup.Lookup(all, lv); !ok {
			return storage.Told("no such logical volume "+p.VG+"/"+lv, storage.ErrNotExist)
		}
	}
	if v.Active() || plan.From(ctx) != nil && v.Attr == "" {
		return nil
	}
	return p.Tool.ActivateSkipped(ctx, p.VG, lv)
}

// stale tells whether a device is only a name that was left behind.
func (p *pool) stale(lv string) bool {
	st, err := os.Stat(p.Device(lv))
	return err != nil || st.Mode()&os.ModeDevice == 0
}

// DeactivateVolume makes a state of a volume, or a base, unusable. Others stay as they
// are.
func (p *pool) DeactivateVolume(ctx context.Context, name, snap string) error {
	n, err := p.Parse(name)
	if err != nil {
		return err
	}
	lv := volume(name, snap)
	if snap == "" && !n.IsBase || p.stale(lv) {
		return nil
	}
	return p.Tool.Deactivate(ctx, p.VG, lv)
}

// Resize makes a volume larger.
func (p *pool) Resize(ctx context.Context, name string, size int64, _ bool) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	v, _, err := p.Find(ctx, name)
	if err != nil {
		return err
	}
	return p.Grow(ctx, v, size, false)
}

// CreateBase turns a volume into a base: renamed, read-only and inactive.
func (p *pool) CreateBase(ctx context.Context, name string) (string, error) {
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	if n.IsBase {
		return "", errors.New("create_base not possible with base image")
	}
	v, all, err := p.Find(ctx, name)
	if err != nil {
		return "", err
	}
	for _, lv := range all {
		if p.Mine(lv) && volgroup.StateOf(all, lv.Name, name, "") != "" {
			return "", fmt.Errorf("unable to create base volume - found snapshot '%s'", lv.Name)
		}
	}
	base := storage.BaseFile(name)
	if v.Open() {
		return "", p.InUse(name, lvm.ErrInUse)
	}
	if err := p.Locked(ctx, func(ctx context.Context) error { return p.Tool.Rename(ctx, p.VG, name, base) }); err != nil {
		return "", err
	}
	if d := plan.From(ctx); d != nil {
		d.Write(p.Device(name), nil)
		d.Write(p.Device(base), new(""))
	}
	if err := p.Tool.MakeBase(context.WithoutCancel(ctx), p.VG, base); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return base, nil
}

// Clone makes a volume that begins with the content of a base, or of a state of a volume.
func (p *pool) Clone(ctx context.Context, name string, guest id.VM, snap string) (string, error) {
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	if snap == "" && !n.IsBase {
		return "", errors.New("clone_image only works on base images")
	}
	return p.make(ctx, guest, "", func(ctx context.Context, clone string) error {
		err := p.Tool.Fork(ctx, p.VG, volume(name, snap), clone)
		if errors.Is(err, lvm.ErrMissing) {
			return storage.Told("no such logical volume "+p.VG+"/"+volume(name, snap), storage.ErrNotExist)
		}
		return err
	})
}

// Rename gives a volume to a guest. Its snapshots go with it.
func (p *pool) Rename(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	if n.IsBase {
		return "", fmt.Errorf("can't rename base volume '%s'", name)
	}
	_, all, err := p.Find(ctx, name)
	if err != nil {
		return "", err
	}
	for _, lv := range all {
		if p.Mine(lv) && volgroup.StateOf(all, lv.Name, name, "") != "" {
			return "", fmt.Errorf("can't rename volume '%s': it has snapshot '%s'", name, lv.Name)
		}
	}
	return p.Group.Rename(ctx, name, guest, file, "")
}

// Locate returns the volume that lies at a path.
func (p *pool) Locate(_ context.Context, path string) (storage.Content, string) {
	name, ok := strings.CutPrefix(path, p.Device("")+"/")
	if !ok {
		return "", ""
	}
	if _, err := p.Parse(name); err != nil || p.stale(name) {
		return "", ""
	}
	return storage.Images, name
}

// A Found is a thin pool of the host.
type Found struct {
	LV string `pve:"lv" doc:"Name of the thin pool."`
}

// Scan lists the thin pools of a volume group.
func Scan(ctx context.Context, r run.Runner, vg string) ([]Found, error) {
	all, err := lvm.Tool{Runner: r}.Volumes(ctx, vg)
	if errors.Is(err, lvm.ErrMissing) {
		return nil, storage.Told(fmt.Sprintf("no such volume group '%s'", vg), lvm.ErrMissing)
	}
	found := []Found{}
	for _, v := range all {
		if v.IsPool() {
			found = append(found, Found{LV: v.Name})
		}
	}
	return found, err
}

var (
	_ storage.Resizer         = (*pool)(nil)
	_ storage.Snapshotter     = (*pool)(nil)
	_ storage.Cloner          = (*pool)(nil)
	_ storage.BaseCreator     = (*pool)(nil)
	_ storage.Renamer         = (*pool)(nil)
	_ storage.VolumeActivator = (*pool)(nil)
	_ storage.Attacher        = (*pool)(nil)
	_ storage.Imager          = (*pool)(nil)
)
