// Package cephfs is the storage type of a folder in the file system of a Ceph cluster.
//
// The kernel mounts it, or ceph-fuse, which knows more of newer clusters and is slower.
package cephfs

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/ceph/conf"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/tree"
)

// Config is what storage.cfg says of a file system.
type Config struct {
	storage.Common
	storage.Limited
	tree.Folders
	tree.Backups
	ceph.Options
	Path        string  `pve:"path" fixed:"1" format:"pve-storage-path" doc:"Mount point; /mnt/pve/<storage> if not given."`
	Subdir      *string `pve:"subdir" format:"pve-storage-path" doc:"Folder of the file system that is mounted."`
	FSName      *string `pve:"fs-name" format:"pve-configid" doc:"Name of the file system, where the cluster has several."`
	Fuse        *bool   `pve:"fuse" doc:"Mount with ceph-fuse and not with the kernel."`
	MountWith   *string `pve:"options" format:"pve-storage-options" doc:"Options of the mount."`
	ContentDirs *string `pve:"content-dirs" format:"pve-dir-override-list" doc:"Folders of contents, where they are not the usual ones."`
	Format      *string `pve:"format" enum:"raw|qcow2|subvol|vmdk" doc:"Format that new images get."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "cephfs",
		Contents: []storage.Content{storage.Templates, storage.ISO, storage.Backups, storage.Snippets, storage.Imports},
		Default:  []storage.Content{storage.Backups},
		Shared:   true,
		Complete: mount.Complete,
	}, open)
}

// A pool is a tree in a file system that has to be mounted.
type pool struct {
	*mount.Pool
	*ceph.Access
	fs      string // name of the file system, empty for the one there is
	subdir  string
	options string // of the mount
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{Access: ceph.New(env, ceph.CephFS, c.Options), subdir: "/"}
	for _, o := range []struct{ to, from *string }{{&p.fs, c.FSName}, {&p.subdir, c.Subdir}, {&p.options, c.MountWith}} {
		if o.from != nil && *o.from != "" {
			*o.to = *o.from
		}
	}
	s := mount.Source{Type: "ceph", Device: ":" + p.subdir, Is: p.is, Check: p.answers, Command: p.kernel, Hint: hint}
	if c.Fuse != nil && *c.Fuse {
		s.Type, s.Command = "fuse.ceph", p.fuse
	}
	p.Pool = mount.New(tree.New(env, c.Path, c.Folders, c.ContentDirs, nil), "of Ceph", s)
	return p, nil
}

// is tells whether what is mounted is the file system: with either way to mount it, as the
// option may have changed since.
func (p *pool) is(e mount.Entry) bool {
	if e.Type == "fuse.ceph-fuse" {
		return e.Device == "ceph-fuse"
	}
	return e.Type == "ceph" && (strings.HasSuffix(e.Device, ":"+p.subdir) || strings.HasSuffix(e.Device, "="+p.subdir))
}

// monitors returns where the monitors are, as the kernel is told. Unless it is told to
// speak the newer protocol, those that listen for that alone are of no use to it.
func (p *pool) monitors() ([]conf.Monitor, error) {
	if !p.Managed() {
		return p.Given(), nil
	}
	c, err := p.Parsed()
	if err != nil {
		return nil, err
	}
	all := c.Monitors()
	older := slices.DeleteFunc(slices.Clone(all), func(m conf.Monitor) bool { return m.Protocol == "v2" })
	if len(older) > 0 && !strings.Contains(p.options, "ms_mode=") {
		all = older
	}
	if len(all) == 0 {
		return nil, errors.New("'" + p.Config() + "' names no monitors")
	}
	return all, nil
}

// answers fails unless one of the monitors accepts connections.
func (p *pool) answers(ctx context.Context) error {
	if err := p.Check(); err != nil {
		return err
	}
	monitors, err := p.monitors()
	if err != nil {
		return err
	}
	var addresses []string
	for _, m := range monitors {
		ports := []string{m.Port}
		if m.Port == "" {
			ports = []string{"6789", "3300"}
		}
		for _, port := range ports {
			addresses = append(addresses, storage.JoinPort(m.Host, port))
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := make(chan error, len(addresses))
	for _, address := range addresses {
		go func() { asked <- storage.Reach(ctx, address, "") }()
	}
	for range addresses {
		if err = <-asked; err == nil {
			return nil
		}
	}
	return err
}

// kernel returns the command that lets the kernel mount it.
func (p *pool) kernel() (run.Cmd, error) {
	monitors, err := p.monitors()
	if err != nil {
		return run.Cmd{}, err
	}
	var hosts []string
	for _, m := range monitors {
		hosts = append(hosts, m.String())
	}
	options := []string{"name=" + p.User}
	if key := p.Key(); key != "" {
		options = append(options, "secretfile="+key)
	}
	if c := p.Config(); c != "" {
		options = append(options, "conf="+c)
	}
	if p.fs != "" {
		options = append(options, "fs="+p.fs)
	}
	if p.options != "" {
		options = append(options, p.options)
	}
	device := strings.Join(hosts, ",") + ":" + p.subdir
	return run.Command("mount", "-t", "ceph", device, p.Pool.Root, "-o", strings.Join(options, ",")), nil
}

// patience is how long ceph-fuse may look for the cluster: less than we wait for it.
const patience = 10 * time.Second

// fuse returns the command that lets a process of this host mount it.
func (p *pool) fuse() (run.Cmd, error) {
	args := append(p.Args(), "--client_mount_timeout", strconv.Itoa(int(patience.Seconds())))
	if p.subdir != "/" {
		args = append(args, "-r", p.subdir)
	}
	if p.fs != "" {
		args = append(args, "--client_fs", p.fs)
	}
	args = append(args, p.Pool.Root)
	if options := fuseOptions(p.options); options != "" {
		args = append(args, "-o", options)
	}
	return run.Cmd{Path: "ceph-fuse", Args: args, Env: ceph.Env()}, nil
}

// fuseOptions leaves out what is meant for those who mount at the start of the host.
func fuseOptions(text string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(text, ","), func(o string) bool {
		return slices.Contains([]string{"", "defaults", "auto", "noauto", "_netdev", "nofail"}, o)
	}), ",")
}

// hint says more of an error of what mounts.
func hint(said string) string {
	switch {
	case strings.Contains(said, "bad option") || strings.Contains(said, "unknown filesystem type"):
		return "is the package ceph-common installed, and has the kernel the module ceph? fuse can do without"
	case strings.Contains(said, "not found"):
		return "is the package ceph-fuse installed?"
	case strings.Contains(said, "handle_auth_bad_method") || strings.Contains(said, "Permission denied"):
		return "is the key of the client right?"
	case strings.Contains(said, "no mds server is up"): // all that the kernel tells of one who was refused
		return "is the key of the client right? is a metadata server up? the log of the kernel says more"
	}
	return ""
}
