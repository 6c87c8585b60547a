// Package nfs is the storage type of a folder that an NFS server exports.
package nfs

import (
	"cmp"
	"context"
	"net"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of an export.
type Config struct {
	storage.Common
	storage.Limited
	tree.Folders
	tree.Backups
	tree.Chaining
	Server        string  `pve:"server" fixed:"1" format:"pve-storage-server" doc:"Name or address of the server."`
	Export        string  `pve:"export" fixed:"1" format:"pve-storage-path" doc:"Folder of the server that is mounted."`
	Path          string  `pve:"path" fixed:"1" format:"pve-storage-path" doc:"Mount point; /mnt/pve/<storage> if not given."`
	Options       *string `pve:"options" format:"pve-storage-options" doc:"Options of the mount, as vers=4.2,soft."`
	ContentDirs   *string `pve:"content-dirs" format:"pve-dir-override-list" doc:"Folders of contents, where they are not the usual ones."`
	Format        *string `pve:"format" enum:"raw|qcow2|subvol|vmdk" doc:"Format that new images get."`
	Preallocation *string `pve:"preallocation" enum:"off|metadata|falloc|full" default:"metadata" doc:"How much of a new image is written at once."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "nfs",
		Contents: storage.AllContents(),
		Default:  []storage.Content{storage.Images},
		Formats:  []string{"raw", "qcow2", "vmdk"},
		Shared:   true,
		Complete: mount.Complete,
	}, open)
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	s := mount.Source{
		Type:   "nfs",
		Device: mount.Host(c.Server) + ":" + c.Export,
		Hint:   hint,
		Cache:  "none", // each write is the server's before it is done
	}
	if c.Options != nil && *c.Options != "" {
		s.Options = []string{*c.Options}
	}
	if o := parseOptions(c.Options); !o.rdma {
		s.Check = func(ctx context.Context) error { return answers(ctx, c.Server, o) }
	}
	p := mount.New(tree.New(env, c.Path, c.Folders, c.ContentDirs, c.Preallocation), c.Server, s)
	p.StateFiles = c.Chains()
	return p, nil
}

// hint says more of an error of mount.nfs.
func hint(said string) string {
	switch {
	case strings.Contains(said, "helper program"):
		return "is the package nfs-common installed?"
	case strings.Contains(said, "access denied by server"):
		return "does the server export it to this node? see 'pvesm scan nfs'"
	}
	return ""
}

const nfsPort = "2049"

// options are those of a mount that say how the server is found.
type options struct {
	version uint32 // 0 where any will do
	port    string // empty where none is given
	rdma    bool
}

// parseOptions reads what nfs(5) says of finding the server.
func parseOptions(text *string) options {
	var o options
	if text == nil {
		return o
	}
	for _, pair := range schema.SplitList(*text) {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "vers", "nfsvers":
			o.version = 4
			if strings.HasPrefix(value, "3") {
				o.version = 3
			}
		case "port":
			o.port = value
		case "rdma":
			o.rdma = true
		case "proto":
			o.rdma = o.rdma || strings.HasPrefix(value, "rdma")
		}
	}
	return o
}

// answers fails unless the server does. One that is not where it usually is has a port
// mapper that knows.
func answers(ctx context.Context, server string, o options) error {
	version := cmp.Or(o.version, 4)
	ask := func(port string) error {
		return mount.RPC(ctx, net.JoinHostPort(server, port), mount.NFSProgram, version)
	}
	if o.port != "" && o.port != "0" {
		return ask(o.port)
	}
	if o.port == "" {
		err := ask(nfsPort)
		if err == nil || o.version == 4 {
			return err
		}
		version = 3
		if port, mapped := mount.Port(ctx, server, mount.NFSProgram, version); mapped == nil && port != nfsPort {
			return ask(port)
		}
		return err
	}
	port, err := mount.Port(ctx, server, mount.NFSProgram, version)
	if err != nil {
		return err
	}
	return ask(port)
}
