// Package iscsi is the storage type of the LUNs of an iSCSI target that the kernel of
// the host logs in to. They are block devices then, for guests or for storages that
// lie on them, as LVM.
//
// LUNs are made on the target's side: here they can only be used. Who may log in, and
// with which password, is what the records of open-iscsi say (/etc/iscsi).
package iscsi

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Config is what storage.cfg says of a target.
type Config struct {
	storage.Common
	storage.Limited
	Portal string `pve:"portal" fixed:"1" format:"pve-storage-portal-dns" doc:"Address of the iSCSI server, with or without a port."`
	Target string `pve:"target" fixed:"1" doc:"Name of the iSCSI target, as iqn.2003-01.org.example:disks."`
}

// Type describes the type.
func Type() storage.Type {
	return storage.NewType(storage.Type{
		Name:     "iscsi",
		Contents: []storage.Content{storage.Images, storage.None},
		Default:  []storage.Content{storage.Images},
		Shared:   true,
		Existing: true,
	}, open)
}

// patience is how long one step of open-iscsi may take.
const patience = 10 * time.Second

// A pool is a target.
type pool struct {
	storage.Env
	portal, target string
	host           host
	patience       time.Duration
}

func open(c Config, env storage.Env) (storage.Pool, error) {
	return &pool{Env: env, portal: c.Portal, target: c.Target, host: host{sys: "/sys", dev: "/dev"}, patience: patience}, nil
}

// volumeName is how volumes are called: channel, id and number of the LUN, then the name
// by which udev knows it for good.
var volumeName = pattern.New(`^\d+\.\d+\.\d+\.([^/\s]+)$`)

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) {
	m := volumeName.FindStringSubmatch(name)
	if m == nil || m[1] == "." || m[1] == ".." {
		return storage.Name{}, fmt.Errorf("unable to parse iscsi volume name '%s'", name)
	}
	return storage.Name{Content: storage.Images, File: m[1], Format: "raw"}, nil
}

// Path returns the device of a LUN.
func (p *pool) Path(name, snap string) (string, error) {
	n, err := p.Parse(name)
	if err != nil {
		return "", err
	}
	if snap != "" {
		return "", errors.New("snapshot is not possible on iscsi storage")
	}
	return filepath.Join(p.host.dev, "disk/by-id", n.File), nil
}

// Has tells that a LUN can be copied, and nothing else.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	_, err := p.Parse(name)
	return err == nil && f == storage.FeatureCopy && snap == ""
}

// Activate logs in to the target by all its portals that answer, and sees which LUNs
// there are, if that was not done a moment ago. With a target that is there it runs no
// program, most of the time. One portal that is there is enough.
func (p *pool) Activate(ctx context.Context) error {
	sessions := p.host.sessions(p.target)
	if len(sessions) == 0 {
		return p.login(ctx)
	}
	if slices.ContainsFunc(sessions, func(s session) bool { return s.alive }) {
		return p.refresh(ctx, sessions)
	}
	var err error
	if plan.From(ctx) == nil { // a portal that was down before may be there now
		var done int
		if done, err = p.loginByOthers(ctx, sessions); done > 0 {
			return p.appear(ctx)
		}
	}
	lost := fmt.Errorf("storage '%s' is not online: the connection to target '%s' is lost, and is not restored yet", p.ID, p.target)
	return errors.Join(lost, err)
}

// Deactivate logs out of the target, unless one of its LUNs is in use.
func (p *pool) Deactivate(ctx context.Context) error {
	if len(p.host.sessions(p.target)) == 0 {
		return nil
	}
	for _, d := range p.host.devices(p.target) {
		if err := p.host.unused(ctx, d); err != nil {
			return fmt.Errorf("storage '%s' stays active: %w", p.ID, err)
		}
	}
	return p.logout(ctx)
}

// Status has nothing to tell: what the target has beside its LUNs is not known.
func (p *pool) Status(context.Context) (storage.Status, error) { return storage.Status{}, nil }

// List returns the LUNs of the target. They belong to no guest. Where the storage only
// serves others, they are listed as well: one has to be chosen then, too.
func (p *pool) List(_ context.Context, f storage.Filter) ([]storage.Volume, error) {
	if f.Guest != 0 || !slices.Contains(f.Content, storage.Images) && !slices.Contains(f.Content, storage.None) {
		return nil, nil
	}
	var list []storage.Volume
	for _, d := range p.host.devices(p.target) {
		if d.stable != "" && d.size > 0 {
			list = append(list, storage.Volume{Name: d.volume(), Content: storage.Images, Format: "raw", Size: d.size})
		}
	}
	slices.SortFunc(list, func(a, b storage.Volume) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(list, func(a, b storage.Volume) bool { return a.Name == b.Name }), nil
}

// Info looks at one LUN. It does not open it, as that may hang with a target that is
// gone.
func (p *pool) Info(_ context.Context, name string) (storage.Info, error) {
	d, err := p.find(name)
	return storage.Info{Size: d.size, Format: "raw"}, err
}

// find returns the device of a volume.
func (p *pool) find(name string) (device, error) {
	n, err := p.Parse(name)
	if err != nil {
		return device{}, err
	}
	kernel := p.host.resolve(n.File)
	for _, d := range p.host.devices(p.target) {
		// A device has several names for good. Which of them is told has changed
		// between releases of udev; configurations keep the older ones.
		if kernel != "" && (d.kernel == kernel || d.path == kernel) {
			return d, nil
		}
	}
	return device{}, storage.ErrNotExist
}

// ActivateVolume checks that the LUN is there and is one of the target, and looks for it
// anew before it gives up.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	if _, err := p.Path(name, snap); err != nil {
		return err
	}
	if _, err := p.find(name); err == nil || plan.From(ctx) != nil {
		return err
	}
	if p.rescan(ctx, p.host.sessions(p.target), 0, p.patience) {
		p.named(ctx)
	} else { // another is at it
		p.await(ctx, p.patience, func() bool {
			_, err := p.find(name)
			return err == nil
		})
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	_, err := p.find(name)
	return err
}

// DeactivateVolume has nothing to do.
func (p *pool) DeactivateVolume(context.Context, string, string) error { return nil }

// Alloc is for the target's side.
func (p *pool) Alloc(context.Context, storage.Alloc) (string, error) {
	return "", errors.New("can't allocate space in iscsi storage")
}

// Free is for the target's side.
func (p *pool) Free(_ context.Context, name string) error {
	if _, err := p.Parse(name); err != nil {
		return err
	}
	return errors.New("can't free space in iscsi storage")
}
