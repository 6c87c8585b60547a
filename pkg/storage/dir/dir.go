// Package dir is the storage type of a folder of the host.
package dir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of a folder.
type Config struct {
	storage.Common
	storage.Limited
	tree.Folders
	tree.Backups
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
	if c.IsMountpoint != nil {
		if on, ok := schema.ParseBool(*c.IsMountpoint); !ok {
			p.mount = filepath.Clean(*c.IsMountpoint)
		} else if on {
			p.mount = p.Root
		}
	}
	return p, nil
}

// Activate checks that what must be mounted is, so that nothing is written below it
// when it is not.
func (p *pool) Activate(ctx context.Context) error {
	if p.mount != "" {
		// What is looked at has to answer in time: the tree looks with patience.
		if err := p.Bounded(ctx, func() error { return p.mounted() }); err != nil {
			return err
		}
	}
	return p.Tree.Activate(ctx)
}

// mounted fails unless the mount point is on another file system than its parent.
func (p *pool) mounted() error {
	var at, above syscall.Stat_t
	if syscall.Stat(p.mount, &at) == nil && syscall.Stat(filepath.Dir(p.mount), &above) == nil && (at.Dev != above.Dev || p.mount == "/") {
		return nil
	}
	if listed(p.mount) { // a folder mounted from the same file system
		return nil
	}
	return fmt.Errorf("unable to activate storage '%s' - directory is expected to be a mount point but is not mounted: '%s'", p.ID, p.mount)
}

// listed tells whether the kernel's list of mounts has a path.
func listed(path string) bool {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && unescape.Replace(fields[1]) == path {
			return true
		}
	}
	return false
}
