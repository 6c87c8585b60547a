// Package cifs is the storage type of a share of an SMB server, as Windows and Samba
// have them.
package cifs

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of a share.
type Config struct {
	storage.Common
	storage.Limited
	tree.Folders
	tree.Backups
	tree.Chaining
	Server        string  `pve:"server" fixed:"1" format:"pve-storage-server" doc:"Name or address of the server."`
	Share         string  `pve:"share" fixed:"1" doc:"Name of the share."`
	Subdir        *string `pve:"subdir" format:"pve-storage-path" doc:"Folder of the share that is mounted instead of all of it."`
	Path          string  `pve:"path" fixed:"1" format:"pve-storage-path" doc:"Mount point; /mnt/pve/<storage> if not given."`
	Username      *string `pve:"username" doc:"Who logs in; guest if not given."`
	Password      *string `pve:"password" secret:"1" maxlen:"256" doc:"Password of that user."`
	Domain        *string `pve:"domain" maxlen:"256" doc:"Domain of that user."`
	SMBVersion    *string `pve:"smbversion" enum:"default|2.0|2.1|3|3.0|3.11" default:"default" doc:"Version of the protocol; the highest that both sides know by default."`
	Options       *string `pve:"options" format:"pve-storage-options" doc:"Further options of the mount."`
	ContentDirs   *string `pve:"content-dirs" format:"pve-dir-override-list" doc:"Folders of contents, where they are not the usual ones."`
	Format        *string `pve:"format" enum:"raw|qcow2|subvol|vmdk" doc:"Format that new images get."`
	Preallocation *string `pve:"preallocation" enum:"off|metadata|falloc|full" default:"metadata" doc:"How much of a new image is written at once."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "cifs",
		Contents: storage.AllContents(),
		Default:  []storage.Content{storage.Images},
		Formats:  []string{"raw", "qcow2", "vmdk"},
		Shared:   true,
		Complete: mount.Complete,
	}, open)
}

// A pool is a share.
type pool struct {
	*mount.Pool
	config Config
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	for name, value := range map[string]*string{"username": c.Username, "domain": c.Domain} {
		if value != nil && strings.Contains(*value, ",") {
			return nil, fmt.Errorf("storage '%s': %s '%s': what follows the comma would be another option of the mount", env.ID, name, *value)
		}
	}
	device := "//" + mount.Host(c.Server) + "/" + c.Share
	if c.Subdir != nil {
		device += *c.Subdir
	}
	p := &pool{config: c}
	p.Pool = mount.New(tree.New(env, c.Path, c.Folders, c.ContentDirs, c.Preallocation), c.Server, mount.Source{
		Type:   "cifs",
		Device: device,
		Check:  func(ctx context.Context) error { return answers(ctx, c.Server, port(c.Options)) },
		Hint:   hint,
		Cache:  "writethrough", // without a cache at all it can only be used by an option of the mount
	})
	// The password may come later.
	p.Command = func() (run.Cmd, error) { return p.Mount(device, options(c, p.credentials())), nil }
	p.StateFiles = c.Chains()
	return p, nil
}

// credentials returns the file that has the password; empty where there is none.
func (p *pool) credentials() string {
	if path := p.Secrets.Path(p.secret()); path != "" && file.Exists(path) {
		return path
	}
	return ""
}

// options are those of the mount. The password is never among them.
func options(c Config, credentials string) []string {
	o := []string{"soft"}
	if credentials != "" && c.Username != nil {
		o = append(o, "username="+*c.Username, "credentials="+credentials)
		if c.Domain != nil {
			o = append(o, "domain="+*c.Domain)
		}
	} else {
		o = append(o, "guest,username=guest")
	}
	version := "default"
	if c.SMBVersion != nil {
		version = *c.SMBVersion
	}
	o = append(o, "vers="+version)
	// QEMU marks images by locks on single bytes of them. For SMB such a lock keeps also its
	// owner from writing there, which is the header: "Permission denied". So they stay on
	// this host; an option brl has the last word.
	o = append(o, "nobrl")
	if c.Options != nil && *c.Options != "" {
		o = append(o, *c.Options)
	}
	return o
}

// hint says more of an error of mount.cifs.
func hint(said string) string {
	switch {
	case strings.Contains(said, "helper program"):
		return "is the package cifs-utils installed?"
	case strings.Contains(said, "error(13)"):
		return "the server refuses the user, the password or the share"
	case strings.Contains(said, "error(2)"):
		return "the server has no such share or folder"
	}
	return ""
}

const smbPort = 445

// port returns where the server is, if the options of the mount say.
func port(options *string) int {
	if options != nil {
		for _, pair := range schema.SplitList(*options) {
			if value, ok := strings.CutPrefix(pair, "port="); ok {
				if n, err := strconv.ParseUint(value, 10, 16); err == nil {
					return int(n)
				}
			}
		}
	}
	return smbPort
}

// answers fails unless the server answers an SMB2 NEGOTIATE ([MS-SMB2] 2.2.3), whatever
// it says: a program that hangs has its connections accepted as well.
func answers(ctx context.Context, server string, port int) error {
	b, err := mount.Ask(ctx, net.JoinHostPort(server, strconv.Itoa(port)), negotiate(), 8)
	if err != nil {
		return err
	}
	if magic := string(b[4:8]); magic != "\xfeSMB" && magic != "\xffSMB" {
		return fmt.Errorf("%s does not speak SMB", server)
	}
	return nil
}
