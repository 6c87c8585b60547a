// Package zfs is the storage type of ZFS over iSCSI: disks are block devices of a ZFS
// pool on a server, which gives them out as LUNs of an iSCSI target. QEMU reaches them by
// itself, through libiscsi.
//
// Everything is done on the server, as root, over ssh. What gives out LUNs there is a
// provider: LIO, istgt, iet or comstar, each in a file of its own.
package zfs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dataset"
	"github.com/virtsmith/virtsmith/pkg/zfs"
)

// Config is what storage.cfg says of a pool on a server.
type Config struct {
	storage.Common
	storage.Limited
	Portal       string  `pve:"portal" fixed:"1" format:"pve-storage-portal-dns" doc:"Address of the server, which is both its iSCSI portal and reached by ssh."`
	Target       string  `pve:"target" fixed:"1" doc:"Name of the iSCSI target, as iqn.2003-01.org.example:disks."`
	Pool         string  `pve:"pool" fixed:"1" doc:"ZFS pool of the server, or dataset in one, in which the volumes lie."`
	BlockSize    string  `pve:"blocksize" fixed:"1" format:"pve-storage-zfs-blocksize" doc:"Size of the blocks of new disks."`
	Provider     string  `pve:"iscsiprovider" fixed:"1" doc:"What gives out LUNs on the server: comstar, istgt, iet or LIO."`
	NoWriteCache *bool   `pve:"nowritecache" doc:"Let comstar and istgt write at once what they are given."`
	Sparse       *bool   `pve:"sparse" doc:"Let new disks take no space before they are written."`
	ComstarHG    *string `pve:"comstar_hg" doc:"Host group of comstar that sees the disks."`
	ComstarTG    *string `pve:"comstar_tg" doc:"Target group of comstar in which the disks are."`
	LIOTPG       *string `pve:"lio_tpg" doc:"Portal group of the LIO target, as tpg1."`
	BasePath     *string `pve:"zfs-base-path" format:"pve-storage-path" doc:"Folder of the server in which the devices of the pools lie."`
}

// Type describes the type.
func Type() storage.Type {
	return typeOf(way{ssh: "/usr/bin/ssh", port: "22", look: lookPatience, change: changePatience})
}

// A way is how servers are reached.
type way struct {
	ssh, port    string        // the program, and where the server listens to it
	look, change time.Duration // how long an answer may take
}

func typeOf(w way) storage.Type {
	return storage.NewType(storage.Type{
		Name:     "zfs",
		Contents: []storage.Content{storage.Images},
		Default:  []storage.Content{storage.Images},
		Shared:   true,
	}, func(c Config, env storage.Env) (storage.Pool, error) { return open(c, env, w) })
}

// A pool is a dataset of a server, and the target that gives out its disks.
type pool struct {
	storage.Env
	volumes dataset.Volumes
	server  server
	unit    unit
	portal  string
	target  string
}

const (
	lookPatience   = 10 * time.Second
	changePatience = 2 * time.Minute
)

func open(c Config, env storage.Env, w way) (storage.Pool, error) {
	p := &pool{Env: env, portal: c.Portal, target: c.Target}
	p.server = server{
		way: w, next: dataset.Planner(env), portal: c.Portal, key: env.Secrets.Path("zfs/" + c.Portal + "_id_rsa"),
	}
	var err error
	if p.unit, err = newUnit(c, &p.server); err != nil {
		return nil, err
	}
	p.volumes = dataset.Volumes{
		Env:    env,
		ZFS:    zfs.Tool{Runner: &p.server, Look: p.server.look, Change: p.server.change, Whole: true},
		Parent: c.Pool, BlockSize: c.BlockSize, Sparse: c.Sparse != nil && *c.Sparse, Formats: []string{"raw"},
	}
	p.volumes.Door = door{p}
	return p, nil
}

// A unit gives out block devices of a server as LUNs of a target. It asks the server
// each time. What it changes is done under the storage's lock.
type unit interface {
	// device returns the path that a dataset's block device has on the server.
	device(dataset string) string
	// lun returns the number of the LUN that a device is; ok is false for none.
	lun(ctx context.Context, device string) (number int, ok bool, err error)
	// add gives out a device that is none. With again it has been one before, and was put
	// back to an old state since.
	add(ctx context.Context, device string, again bool) error
	// remove takes a device back, also one that was given out by half. One that is not
	// given out is no error.
	remove(ctx context.Context, device string) error
	// resized is told of a new size in bytes.
	resized(ctx context.Context, device string, size int64) error
}

func newUnit(c Config, s *server) (unit, error) {
	base := func(usual string) string {
		if c.BasePath != nil {
			return strings.TrimRight(*c.BasePath, "/")
		}
		return usual
	}
	switch c.Provider {
	case "LIO":
		return newLIO(c, s, base("/dev"))
	case "istgt":
		return &istgt{server: s, base: base("/dev/zvol"), target: c.Target, writeThrough: isSet(c.NoWriteCache)}, nil
	case "iet":
		return &iet{server: s, base: base("/dev"), target: c.Target}, nil
	case "comstar":
		return &comstar{server: s, base: base("/dev/zvol/rdsk"), hostGroup: text(c.ComstarHG), targetGroup: text(c.ComstarTG), writeThrough: isSet(c.NoWriteCache)}, nil
	}
	return nil, fmt.Errorf("%s: unknown iscsi provider. Available [comstar, istgt, iet, LIO]", c.Provider)
}

func isSet(b *bool) bool { return b != nil && *b }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) {
	n, err := dataset.Parse(name)
	if err == nil && n.Format != "raw" {
		err = fmt.Errorf("unable to parse zfs volume name '%s'", name)
	}
	return n, err
}

// Path fails, as only the server knows the number of a LUN: see Address.
func (p *pool) Path(name, snap string) (string, error) {
	if _, err := p.located(name, snap); err != nil {
		return "", err
	}
	return "", fmt.Errorf("the address of volume '%s' is known to the server alone", name)
}

func (p *pool) located(name, snap string) (string, error) {
	n, err := p.Parse(name)
	if err == nil && snap != "" {
		err = errors.New("direct access to snapshots not implemented")
	}
	return n.File, err
}

// Address asks the server for the number of the LUN that a volume is.
func (p *pool) Address(ctx context.Context, name, snap string) (string, error) {
	file, err := p.located(name, snap)
	if err != nil {
		return "", err
	}
	lun, err := p.lun(ctx, file)
	if err != nil {
		return "", err
	}
	return "iscsi://" + p.portal + "/" + p.target + "/" + strconv.Itoa(lun), nil
}

func (p *pool) lun(ctx context.Context, file string) (int, error) {
	lun, ok, err := p.unit.lun(ctx, p.unit.device(p.volumes.Dataset(file)))
	if err == nil && !ok {
		if plan.From(ctx) != nil {
			return 0, nil // it would have one
		}
		err = fmt.Errorf("Could not find lu_name for zvol %s", file)
	}
	return lun, err
}

// Attach is how QEMU reaches a volume.
func (p *pool) Attach(ctx context.Context, name string) (map[string]any, error) {
	file, err := p.located(name, "")
	if err != nil {
		return nil, err
	}
	lun, err := p.lun(ctx, file)
	if err != nil {
		return nil, err
	}
	return map[string]any{"driver": "iscsi", "transport": "tcp", "portal": p.portal, "target": p.target, "lun": lun}, nil
}

// Image is how qemu-img is told of a volume.
func (p *pool) Image(ctx context.Context, name, snap string, _ bool) (storage.Image, error) {
	address, err := p.Address(ctx, name, snap)
	if err != nil {
		return storage.Image{}, err
	}
	return storage.ISCSIImage(address, storage.InitiatorName())
}

// Has tells whether a volume can do what the feature says.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	n, err := p.Parse(name)
	if err != nil {
		return false
	}
	switch f {
	case storage.FeatureSnapshot:
		return snap != "" || !n.IsBase
	case storage.FeatureClone:
		return snap == "" && n.IsBase
	case storage.FeatureTemplate:
		return snap == "" && !n.IsBase
	case storage.FeatureCopy:
		return snap == ""
	}
	return false
}

// Activate checks that the server can be reached: to use it, nothing has to be done.
func (p *pool) Activate(ctx context.Context) error {
	if err := storage.Reach(ctx, p.server.host(), p.server.port); err != nil {
		return fmt.Errorf("storage '%s' is not online: %w", p.ID, err)
	}
	return nil
}

// Deactivate has nothing to do.
func (p *pool) Deactivate(context.Context) error { return nil }

// ActivateVolume checks that the volume is there.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	if snap != "" {
		return errors.New("unable to activate snapshot from remote zfs storage")
	}
	_, err := p.Info(ctx, name)
	return err
}

// DeactivateVolume has nothing to do.
func (p *pool) DeactivateVolume(_ context.Context, _, snap string) error {
	if snap != "" {
		return errors.New("unable to deactivate snapshot from remote zfs storage")
	}
	return nil
}
