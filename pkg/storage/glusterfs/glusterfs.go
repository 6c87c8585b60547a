// Package glusterfs is the storage type of a Gluster volume. The host uses it through
// a mount; QEMU speaks to the servers itself.
package glusterfs

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of a volume.
type Config struct {
	storage.Common
	storage.Limited
	tree.Folders
	tree.Backups
	Server        *string `pve:"server" format:"pve-storage-server" doc:"Name or address of a server of the volume; localhost if not given."`
	Server2       *string `pve:"server2" format:"pve-storage-server" requires:"server" doc:"Another server, for when the first one does not answer."`
	Volume        string  `pve:"volume" fixed:"1" doc:"Name of the volume."`
	Transport     *string `pve:"transport" enum:"tcp|rdma|unix" doc:"How QEMU reaches the volume."`
	Path          string  `pve:"path" fixed:"1" format:"pve-storage-path" doc:"Mount point; /mnt/pve/<storage> if not given."`
	Format        *string `pve:"format" format:"pve-storage-format" doc:"Format that new images get."`
	Preallocation *string `pve:"preallocation" enum:"off|metadata|falloc|full" default:"metadata" doc:"How much of a new image is written at once."`
	MaxFiles      *int    `pve:"maxfiles" min:"0" doc:"How many backups of a guest are kept; prune-backups says more."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "glusterfs",
		Contents: []storage.Content{storage.Images, storage.Templates, storage.ISO, storage.Backups, storage.Snippets},
		Default:  []storage.Content{storage.Images},
		Formats:  []string{"raw", "qcow2", "vmdk"},
		Shared:   true,
		Complete: mount.Complete,
	}, open)
}

// A pool is a volume of Gluster. qemu-img uses the mount: each time QEMU's own client
// closes a volume it waits for ten seconds.
type pool struct {
	*mount.Pool
	config  Config
	servers []string

	mu     sync.Mutex
	answer string // the server that has answered
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{config: c, servers: []string{"localhost"}}
	if c.Server != nil {
		p.servers[0] = *c.Server
	}
	if c.Server2 != nil {
		p.servers = append(p.servers, *c.Server2)
	}
	p.Pool = mount.New(tree.New(env, c.Path, c.Folders, nil, c.Preallocation), strings.Join(p.servers, " or "), mount.Source{
		Type:   "glusterfs",
		Device: mount.Host(p.servers[0]) + ":" + c.Volume,
		Is: func(e mount.Entry) bool {
			// Any server of the volume may have told the client where the volume is.
			server, volume, ok := cutLast(e.Device, ":")
			return ok && server != "" && e.Type == "fuse.glusterfs" && strings.Trim(volume, "/") == c.Volume
		},
		Check: p.choose,
		Hint:  hint,
		Cache: "writethrough",
	})
	p.Command = p.from
	return p, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// hint says more of an error of mount.glusterfs.
func hint(said string) string {
	switch {
	case strings.Contains(said, "unknown filesystem type"), strings.Contains(said, "helper program"):
		return "is the package glusterfs-client installed?"
	case strings.Contains(said, "Mount failed"), strings.Contains(said, "Mounting glusterfs on"):
		return "does the volume exist, and is it started? the log is in /var/log/glusterfs"
	}
	return ""
}

// glusterd answers calls of ONC RPC; what we call is its handshake.
const (
	glusterPort     = "24007"
	handshake       = 14398633
	handshakeNumber = 2
)

// choose makes the first server that answers the one to mount from.
func (p *pool) choose(ctx context.Context) error {
	var errs []error
	for _, server := range p.servers {
		err := mount.RPC(ctx, net.JoinHostPort(server, glusterPort), handshake, handshakeNumber)
		if err == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.answer = server
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// from returns what mounts the volume.
func (p *pool) from() (run.Cmd, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Mount(mount.Host(p.answer)+":"+p.config.Volume, nil), nil
}

// Path returns the address under which QEMU finds an image, or where a file is
// mounted. It names the first server; see Blockdev for both.
func (p *pool) Path(name, snap string) (string, error) {
	path, err := p.Tree.Path(name, snap)
	if err != nil {
		return "", err
	}
	n, err := p.Parse(name)
	if err != nil || n.Content != storage.Images {
		return path, err
	}
	scheme := "gluster"
	if p.config.Transport != nil {
		scheme += "+" + *p.config.Transport
	}
	return scheme + "://" + mount.Host(p.servers[0]) + "/" + p.config.Volume + "/" + inside(n), nil
}

// inside returns the path of an image in the volume.
func inside(n storage.Name) string { return "images/" + n.Guest.String() + "/" + n.File }

// Blockdev returns how QEMU reaches an image: through whichever server answers.
func (p *pool) Blockdev(name string) (map[string]any, error) {
	n, err := p.Parse(name)
	if err != nil {
		return nil, err
	}
	if n.Content != storage.Images {
		path, err := p.Tree.Path(name, "")
		// The client of Gluster may not survive that QEMU asks for locks.
		return map[string]any{"driver": "file", "filename": path, "locking": "off"}, err
	}
	transport := ""
	if p.config.Transport != nil {
		transport = *p.config.Transport
	}
	var servers []any
	for _, server := range p.servers {
		switch transport {
		case "unix":
			servers = append(servers, map[string]any{"type": "unix", "path": server})
		default: // QEMU has no other than tcp, whatever it is called
			servers = append(servers, map[string]any{"type": "inet", "host": server, "port": glusterPort})
		}
	}
	return map[string]any{"driver": "gluster", "volume": p.config.Volume, "path": inside(n), "server": servers}, nil
}
