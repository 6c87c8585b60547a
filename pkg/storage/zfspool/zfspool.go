// Package zfspool is the storage type of a ZFS pool of the host, or of a dataset in
// one. Disks are block devices below /dev/zvol, file systems of containers are file
// systems with a limit.
package zfspool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dataset"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// Config is what storage.cfg says of a pool.
type Config struct {
	storage.Common
	storage.Limited
	Pool       string  `pve:"pool" fixed:"1" doc:"ZFS pool, or dataset in one, in which the volumes lie."`
	BlockSize  *string `pve:"blocksize" format:"pve-storage-zfs-blocksize" doc:"Size of the blocks of new disks."`
	Sparse     *bool   `pve:"sparse" doc:"Let new disks take no space before they are written."`
	Mountpoint *string `pve:"mountpoint" format:"pve-storage-path" doc:"Folder at which the dataset is mounted."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "zfspool",
		Contents: []storage.Content{storage.Images, storage.Rootdir},
		Default:  []storage.Content{storage.Images, storage.Rootdir},
		Formats:  []string{"raw", "subvol"},
	}, open)
}

// A pool is a dataset of the host.
type pool struct {
	dataset.Volumes
	mountpoint string
	configured bool   // the mount point is what storage.cfg says
	links      string // below it are the links to disks
	disks      string // below it are the links to the disks that pools are made of
	proc       string
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{
		Volumes: dataset.Volumes{
			Env: env, ZFS: zfs.Tool{Runner: dataset.Planner(env)}, Parent: c.Pool,
			Sparse: c.Sparse != nil && *c.Sparse, Formats: []string{"raw", "subvol"},
		},
		mountpoint: "/" + c.Pool, links: "/dev/zvol", disks: "/dev/disk/by-id", proc: "/proc",
	}
	if c.BlockSize != nil {
		p.BlockSize = *c.BlockSize
	}
	if c.Mountpoint != nil {
		p.mountpoint, p.configured = filepath.Clean(*c.Mountpoint), true
	}
	p.Door = door{p}
	return p, nil
}

// Path returns the link to a disk, or the folder of a file system. It is not looked
// for.
func (p *pool) Path(name, snap string) (string, error) {
	n, err := dataset.Parse(name)
	if err != nil {
		return "", err
	}
	path := p.link(n.File)
	if n.Format == "subvol" {
		path = filepath.Join(p.mountpoint, n.File)
	}
	if snap != "" {
		path += "@" + snap
	}
	return path, nil
}

func (p *pool) link(file string) string { return filepath.Join(p.links, p.Parent, file) }

// Has tells whether a volume can do what the feature says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := dataset.Parse(name)
	if err != nil {
		return false
	}
	able := map[storage.Feature]struct{ base, current, snap bool }{
		storage.FeatureSnapshot:  {current: true, snap: true},
		storage.FeatureClone:     {base: true},
		storage.FeatureTemplate:  {current: true},
		storage.FeatureCopy:      {base: true, current: true},
		storage.FeatureSparse:    {base: true, current: true},
		storage.FeatureReplicate: {base: true, current: true},
		storage.FeatureRename:    {current: true},
	}[f]
	switch {
	case snap != "":
		return able.snap
	case n.IsBase:
		return able.base
	}
	return able.current
}

// Activate imports the pool if it is not, and mounts the dataset.
func (p *pool) Activate(ctx context.Context) error {
	if err := p.activate(ctx); err != nil {
		return fmt.Errorf("could not activate storage '%s', %w", p.ID, err)
	}
	return nil
}

func (p *pool) activate(ctx context.Context) error {
	// What the kernel says of its pools takes no program, and answers when the pool does
	// not: whoever asks zfs then, hangs, and cannot be ended.
	name := zfs.PoolOf(p.Parent)
	health, err := os.ReadFile(filepath.Join(p.proc, "spl/kstat/zfs", name, "state"))
	imported := err == nil
	if strings.TrimSpace(string(health)) == "SUSPENDED" {
		return suspended(name)
	}
	if p.mounted() {
		return nil
	}
	if !imported {
		if err := p.bring(ctx, name); err != nil {
			return err
		}
	}
	return p.mount(ctx)
}

func suspended(pool string) error {
	return fmt.Errorf("pool '%s' is suspended, as its disks do not answer: see zpool status -v %s", pool, pool)
}

// bring imports the pool if zpool does not know it.
func (p *pool) bring(ctx context.Context, name string) error {
	health, err := p.ZFS.Health(ctx, name)
	switch {
	case err == nil && health == "SUSPENDED":
		return suspended(name)
	case err == nil:
		return nil
	case !errors.Is(err, zfs.ErrNotExist):
		return err
	}
	err = p.ZFS.Import(ctx, name, p.disks)
	if err == nil {
		return nil
	}
	if _, again := p.ZFS.Health(ctx, name); again == nil {
		return nil // another was faster
	}
	return err
}

// mount mounts the dataset, where its properties want that.
func (p *pool) mount(ctx context.Context) error {
	values, err := p.ZFS.Get(ctx, p.Parent, "mounted", "canmount", "mountpoint")
	if plan.From(ctx) != nil && errors.Is(err, zfs.ErrNotExist) {
		return nil // it would be imported
	}
	if err != nil {
		return err
	}
	if values[0] != "no" || values[1] != "on" || !strings.HasPrefix(values[2], "/") {
		return nil
	}
	return p.ZFS.Mount(ctx, p.Parent)
}

// mounted tells whether the kernel's list of mounts has the dataset, or one below it.
func (p *pool) mounted() bool {
	text, err := os.ReadFile(filepath.Join(p.proc, "self/mounts"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 2 && f[2] == "zfs" && (f[0] == p.Parent || strings.HasPrefix(f[0], p.Parent+"/")) {
			return true
		}
	}
	return false
}

// Deactivate leaves the pool as it is: others may use it.
func (p *pool) Deactivate(context.Context) error { return nil }

// ActivateVolume waits for the link to a disk, and mounts a file system.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	n, err := dataset.Parse(name)
	if err != nil || snap != "" {
		return err
	}
	if n.Format == "raw" && isDevice(p.link(n.File)) {
		return nil
	}
	path := p.Dataset(n.File)
	values, err := p.ZFS.Get(ctx, path, "type", "mounted")
	switch {
	case errors.Is(err, zfs.ErrNotExist):
		return fmt.Errorf("%w: %w", storage.ErrNotExist, err)
	case err != nil:
		return err
	case n.Format == "raw":
		return p.await(ctx, n.File)
	case values[1] != "yes":
		return p.ZFS.Mount(ctx, path)
	}
	return nil
}

// DeactivateVolume has nothing to do.
func (p *pool) DeactivateVolume(context.Context, string, string) error { return nil }

// Rename gives a volume to another guest.
func (p *pool) Rename(ctx context.Context, name string, guest id.VM, file string) (string, error) {
	return p.RenameTo(ctx, name, guest, file)
}

// Found returns where the dataset is mounted. The pool may not be there.
func (p *pool) Found(ctx context.Context) map[string]string {
	at := p.mountedAt(ctx)
	if at == "" {
		return nil
	}
	return map[string]string{"mountpoint": at}
}

// Added looks whether the mount point is the right one.
func (p *pool) Added(ctx context.Context, _ map[string]string) error {
	if at := p.mountedAt(ctx); p.configured && at != "" && filepath.Clean(at) != p.mountpoint {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "warning for %s - mountpoint: %s does not match current mount point: %s\n", p.ID, p.mountpoint, at)
	}
	return nil
}

// mountedAt asks where the dataset is mounted; nothing where it is nowhere.
func (p *pool) mountedAt(ctx context.Context) string {
	tool := p.ZFS
	tool.Look = time.Second
	values, err := tool.Get(ctx, p.Parent, "mountpoint")
	if err != nil || schema.CheckFormat("pve-storage-path", values[0]) != nil {
		return "" // activation tells what is wrong with the pool
	}
	return values[0]
}

// Changed has nothing to do.
func (p *pool) Changed(context.Context, map[string]*string) error { return nil }

// Removed has nothing to do.
func (p *pool) Removed(context.Context) error { return nil }

// Scan lists the pools of the host and the datasets in them that can be storages.
func Scan(ctx context.Context, r run.Runner) ([]Found, error) {
	all, err := zfs.Tool{Runner: r}.Filesystems(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(f zfs.Filesystem) bool {
		n, err := dataset.Parse(filepath.Base(f.Name))
		return strings.Contains(f.Name, "/") && err == nil && n.Format == "subvol"
	})
	found := make([]Found, len(all))
	for i, f := range all {
		found[i] = Found{Pool: f.Name, Size: f.Available + f.Used, Free: f.Available}
	}
	return found, nil
}

// Found is a dataset that can be a storage.
type Found struct {
	Pool string `pve:"pool" doc:"ZFS pool, or dataset in one."`
	Size int64  `pve:"size,optional" doc:"Space in bytes, the used one included."`
	Free int64  `pve:"free,optional" doc:"Free space in bytes."`
}
