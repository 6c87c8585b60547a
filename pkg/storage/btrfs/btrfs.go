// Package btrfs is the storage type of a folder on btrfs. A raw image is a file
// disk.raw in a subvolume of its own, and the volume of a container is a subvolume, so
// that both have snapshots and clones that cost nothing. All else lies as in any folder.
package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of a folder on btrfs.
type Config struct {
	storage.Common
	tree.Folders
	tree.Backups
	Path          string  `pve:"path" fixed:"1" format:"pve-storage-path" doc:"Folder of the host in which the volumes lie."`
	Shared        *bool   `pve:"shared" doc:"The folder has the same content on all nodes."`
	Format        *string `pve:"format" enum:"raw|qcow2|subvol|vmdk" doc:"Format that new images get."`
	Preallocation *string `pve:"preallocation" enum:"off|metadata|falloc|full" default:"metadata" doc:"How much of a new image is written at once."`
	IsMountpoint  *string `pve:"is_mountpoint" default:"no" doc:"Use the folder only when it, or the given one, is mounted."`
	NoCOW         *bool   `pve:"nocow" default:"0" doc:"Write raw images in place, without checksums of their data."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "btrfs",
		Contents: append(storage.AllContents(), storage.None),
		Default:  []storage.Content{storage.Images, storage.Rootdir},
		Formats:  []string{"raw", "subvol"},
	}, open)
}

// A pool is a folder on btrfs, which may have to be mounted.
type pool struct {
	tree.Tree
	mount string // must be mounted; empty for need not
	nocow bool
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{Tree: tree.New(env, c.Path, c.Folders, nil, c.Preallocation), nocow: c.NoCOW != nil && *c.NoCOW}
	if c.IsMountpoint != nil {
		if on, ok := schema.ParseBool(*c.IsMountpoint); !ok {
			p.mount = filepath.Clean(*c.IsMountpoint)
		} else if on {
			p.mount = p.Root
		}
	}
	return p, nil
}

// Activate checks that what must be mounted is, and that it is btrfs, before anything is
// made there.
func (p *pool) Activate(ctx context.Context) error {
	if p.mount != "" {
		_, ok, err := mount.At(p.mount, func(look func() error) error { return p.Bounded(ctx, look) })
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("unable to activate storage '%s' - directory is expected to be a mount point but is not mounted: '%s'", p.ID, p.mount)
		}
	}
	if err := p.Bounded(ctx, func() error { return p.isBtrfs(plan.From(ctx) == nil) }); err != nil {
		return err
	}
	return p.Tree.Activate(ctx)
}

// isBtrfs makes the folder where it is missing and may be made, and looks what it lies on.
func (p *pool) isBtrfs(mayMake bool) error {
	if p.MakeBase && mayMake {
		if err := os.MkdirAll(p.Root, 0o755); err != nil {
			return fmt.Errorf("unable to activate storage '%s' - %w", p.ID, err)
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(p.Root, &st); err != nil {
		return fmt.Errorf("statfs on '%s' failed - %w", p.Root, err)
	}
	if st.Type != unix.BTRFS_SUPER_MAGIC {
		return fmt.Errorf("'%s' is not a btrfs file system", p.Root)
	}
	return nil
}

// btrfs runs the tool. What it says when all is well is of no use to anybody.
func (p *pool) btrfs(ctx context.Context, args ...string) error {
	return p.Run(ctx, run.Cmd{Path: "btrfs", Args: append([]string{"-q"}, args...), Env: []string{"LC_ALL=C"}})
}

// tells runs the tool and returns what it prints.
func (p *pool) tells(ctx context.Context, args ...string) (string, error) {
	out, err := run.OutputOf(ctx, p.Runner, run.Cmd{Path: "btrfs", Args: args, Env: []string{"LC_ALL=C"}, ReadOnly: true})
	return string(out), err
}

// told returns the value after a label in what btrfs subvolume show prints.
func told(text, label string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), label+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
