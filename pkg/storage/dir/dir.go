// Package dir is the storage type of a folder of the host.
package dir

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of a folder.
type Config struct {
	storage.Common
	storage.Limited
	tree.Folders
	tree.Backups
	tree.Chaining
	Path          string  `pve:"path" fixed:"1" format:"pve-storage-path" doc:"Folder of the host in which the volumes lie."`
	ContentDirs   *string `pve:"content-dirs" format:"pve-dir-override-list" doc:"Folders of contents, where they are not the usual ones."`
	Shared        *bool   `pve:"shared" doc:"The folder has the same content on all nodes."`
	Format        *string `pve:"format" enum:"raw|qcow2|subvol|vmdk" doc:"Format that new images get."`
	Preallocation *string `pve:"preallocation" enum:"off|metadata|falloc|full" default:"metadata" doc:"How much of a new image is written at once."`
	IsMountpoint  *string `pve:"is_mountpoint" default:"no" doc:"Use the folder only when it, or the given one, is mounted."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "dir",
		Contents: append(storage.AllContents(), storage.None),
		Default:  []storage.Content{storage.Images, storage.Rootdir},
		Formats:  []string{"raw", "qcow2", "vmdk", "subvol"},
	}, open)
}

// A pool is a folder that may have to be mounted.
type pool struct {
	tree.Tree
	mount string // must be mounted; empty for need not
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{Tree: tree.New(env, c.Path, c.Folders, c.ContentDirs, c.Preallocation)}
	p.StateFiles = c.Chains()
	if c.IsMountpoint != nil {
		if on, ok := schema.ParseBool(*c.IsMountpoint); !ok {
			p.mount = filepath.Clean(*c.IsMountpoint)
		} else if on {
			p.mount = p.Root
		}
	}
	p.Remote = p.mount != "" // it may be the mount of an NFS of the administrator's own
	return p, nil
}

// Activate checks that what must be mounted is, so that nothing is written below it
// when it is not.
func (p *pool) Activate(ctx context.Context) error {
	if p.mount != "" {
		if err := p.mounted(ctx); err != nil {
			return err
		}
	}
	return p.Tree.Activate(ctx)
}

// Status fails where nothing is mounted: it would be that of another file system.
func (p *pool) Status(ctx context.Context) (storage.Status, error) {
	if p.mount != "" {
		if err := p.mounted(ctx); err != nil {
			return storage.Status{}, err
		}
	}
	return p.Tree.Status(ctx)
}

// mounted fails unless something is mounted at the mount point. Only the kernel's table
// is looked at: what is mounted there may hang.
func (p *pool) mounted(ctx context.Context) error {
	_, ok, err := mount.At(p.mount, func(look func() error) error { return p.Bounded(ctx, look) })
	if err != nil || ok {
		return err
	}
	return fmt.Errorf("unable to activate storage '%s' - directory is expected to be a mount point but is not mounted: '%s'", p.ID, p.mount)
}
