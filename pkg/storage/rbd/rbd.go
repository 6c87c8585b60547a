// Package rbd is the storage type of images in a pool of a Ceph cluster.
//
// QEMU reaches images by itself, through librbd; with krbd, and for containers, the
// kernel maps them as block devices. A name is taken by making the image, which costs
// the same for all sizes.
//
// A monitor or an OSD that is gone keeps Ceph's programs waiting for minutes, so each is
// told how long it may wait; see [ceph.Patience].
package rbd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/ceph"
)

// Config is what storage.cfg says of a pool.
type Config struct {
	storage.Common
	storage.Limited
	ceph.Options
	Pool      *string `pve:"pool" doc:"Pool in which the images lie; rbd without it."`
	DataPool  *string `pve:"data-pool" doc:"Erasure-coded pool for the data of the images."`
	Namespace *string `pve:"namespace" doc:"Namespace of the pool in which the images lie."`
	KRBD      *bool   `pve:"krbd" default:"0" doc:"Let the kernel map the images of VMs as well."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "rbd",
		Contents: []storage.Content{storage.Images, storage.Rootdir},
		Default:  []storage.Content{storage.Images},
		Shared:   true,
	}, open)
}

// A pool is a pool of a cluster, or a namespace in one.
type pool struct {
	storage.Env
	*ceph.Access

	name      string
	namespace string
	data      string // pool for the data, empty for the same
	krbd      bool
	sys       string // where the kernel tells of its devices
	dev       string
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	p := &pool{Env: env, Access: ceph.New(env, ceph.RBD, c.Options), name: "rbd", sys: "/sys", dev: "/dev"}
	for _, o := range []struct{ to, from *string }{{&p.name, c.Pool}, {&p.namespace, c.Namespace}, {&p.data, c.DataPool}} {
		if o.from != nil && *o.from != "" {
			*o.to = *o.from
		}
	}
	p.krbd = c.KRBD != nil && *c.KRBD
	return p, nil
}

// volumeName is how volumes are called: an image, and before it the base that it is a
// clone of.
var volumeName = pattern.New(`^(?:(base-(\d+)-[^\s/@:\\]+)/)?((base|vm)-(\d+)-[^\s/@:\\]+)$`)

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) { return parse(name) }

func parse(name string) (storage.Name, error) {
	m := volumeName.FindStringSubmatch(name)
	if m == nil || vmid(m[5]).String() != m[5] || m[2] != "" && vmid(m[2]).String() != m[2] {
		return storage.Name{}, fmt.Errorf("unable to parse rbd volume name '%s'", name)
	}
	n := storage.Name{Content: storage.Images, File: m[3], Guest: vmid(m[5]), IsBase: m[4] == "base", Format: "raw", Base: m[1]}
	if m[1] != "" {
		n.BaseGuest = vmid(m[2])
	}
	return n, nil
}

func vmid(text string) id.VM {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0
	}
	return id.VM(n)
}

// volume returns the name of the volume that n describes.
func volume(n storage.Name) string {
	if n.Base != "" {
		return n.Base + "/" + n.File
	}
	return n.File
}

// spec names an image, or a state of it, with its pool and namespace.
func (p *pool) spec(image, snap string) string {
	text := p.name + "/"
	if p.namespace != "" {
		text += p.namespace + "/"
	}
	text += image
	if snap != "" {
		text += "@" + snap
	}
	return text
}

// Path returns the address that QEMU takes, or with krbd the device of the kernel.
func (p *pool) Path(name, snap string) (string, error) {
	n, err := parse(name)
	if err != nil {
		return "", err
	}
	if p.krbd {
		return p.device(n.File, snap), nil
	}
	return p.address(n.File, snap, nil), nil
}

// address is what QEMU takes for a file name, with further options.
func (p *pool) address(image, snap string, more []string) string {
	text := "rbd:" + p.spec(image, snap)
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, "@", `\@`, "=", `\=`).Replace
	add := func(key, value string) { text += ":" + key + "=" + escape(value) }
	if c := p.Config(); c != "" {
		add("conf", c)
	}
	if !p.Managed() {
		add("mon_host", p.Hosts(";"))
		add("auth_supported", p.Auth())
	}
	if key := p.Key(); key != "" {
		add("id", p.User)
		add("keyring", key)
	}
	for i := 0; i+1 < len(more); i += 2 {
		add(more[i], more[i+1])
	}
	return text
}

// Image is how qemu-img is told of a volume. It must not wait for a dead cluster for ever,
// as a guest would.
func (p *pool) Image(_ context.Context, name, snap string, _ bool) (storage.Image, error) {
	if p.krbd {
		return storage.PlainImage(p, name, snap)
	}
	n, err := parse(name)
	return storage.Image{Path: p.address(n.File, snap, ceph.Move.Options()), Format: "raw"}, err
}

// Blockdev is how QEMU reaches a volume.
func (p *pool) Blockdev(name string) (map[string]any, error) {
	n, err := parse(name)
	if err != nil {
		return nil, err
	}
	if p.krbd {
		return map[string]any{"driver": "host_device", "filename": p.device(n.File, "")}, nil
	}
	node := map[string]any{"driver": "rbd", "pool": p.name, "image": n.File}
	if p.namespace != "" {
		node["namespace"] = p.namespace
	}
	if c := p.Config(); c != "" {
		node["conf"] = c
	}
	if !p.Managed() {
		var servers []any
		for _, m := range p.Given() {
			port := m.Port
			if port == "" {
				port = "3300"
			}
			servers = append(servers, map[string]any{"host": m.Host, "port": port})
		}
		node["server"] = servers
		node["auth-client-required"] = []any{p.Auth()}
	}
	if p.Key() != "" {
		node["user"] = p.User
	}
	return node, nil
}

// Has tells whether a volume can do what the feature says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := parse(name)
	if err != nil {
		return false
	}
	able := map[storage.Feature]struct{ base, current, snap bool }{
		storage.FeatureSnapshot: {current: true, snap: true},
		storage.FeatureClone:    {base: true, snap: true},
		storage.FeatureTemplate: {current: true},
		storage.FeatureCopy:     {base: true, current: true, snap: true},
		storage.FeatureSparse:   {base: true, current: true},
		storage.FeatureRename:   {current: true},
	}[f]
	switch {
	case snap != "":
		return able.snap
	case n.IsBase:
		return able.base
	}
	return able.current
}

// Activate makes the configuration of a cluster elsewhere, where it is missing. Nothing
// else has to be made ready: what uses the cluster asks it in bounded time.
func (p *pool) Activate(ctx context.Context) error { return p.Configure(ctx) }

// Deactivate has nothing to do.
func (p *pool) Deactivate(context.Context) error { return nil }
