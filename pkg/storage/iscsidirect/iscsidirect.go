// Package iscsidirect is the storage type of the LUNs of an iSCSI target that QEMU
// reaches by itself, through libiscsi. The kernel of the host takes no part.
//
// LUNs are made on the target's side: here they can only be used.
package iscsidirect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virtsmith/virtsmith/pkg/pattern"
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
func Type() storage.Type { return typeOf(patience) }

// patience is how long a portal may take for an answer.
const patience = 10 * time.Second

func typeOf(patience time.Duration) storage.Type {
	return storage.NewType(storage.Type{
		Name:     "iscsidirect",
		Contents: []storage.Content{storage.Images, storage.None},
		Default:  []storage.Content{storage.Images},
		Shared:   true,
		Existing: true,
	}, func(c Config, env storage.Env) (storage.Pool, error) {
		return &pool{Env: env, portal: c.Portal, target: c.Target, initiator: storage.InitiatorName(), patience: patience}, nil
	})
}

// A pool is a target.
type pool struct {
	storage.Env
	portal, target string
	initiator      string        // by which name we log in, empty for that of libiscsi
	patience       time.Duration // with one answer of the portal
}

// lunName is how volumes are called. A number with zeros before it would be a second
// name for the same LUN.
var lunName = pattern.New(`^lun(0|[1-9]\d{0,8})$`)

// number reads a volume's name.
func number(name string) (int, error) {
	m := lunName.FindStringSubmatch(name)
	if m == nil {
		return 0, fmt.Errorf("unable to parse iscsi volume name '%s'", name)
	}
	return strconv.Atoi(m[1])
}

// Parse reads a volume's name.
func (p *pool) Parse(name string) (storage.Name, error) {
	if _, err := number(name); err != nil {
		return storage.Name{}, err
	}
	return storage.Name{Content: storage.Images, File: name, Format: "raw"}, nil
}

var errSnapshot = errors.New("volume snapshot is not possible on iscsi device")

// Path returns the address of a LUN.
func (p *pool) Path(name, snap string) (string, error) {
	lun, err := number(name)
	if err != nil {
		return "", err
	}
	if snap != "" {
		return "", errSnapshot
	}
	return p.address(lun), nil
}

func (p *pool) address(lun int) string {
	return "iscsi://" + p.portal + "/" + p.target + "/" + strconv.Itoa(lun)
}

// Blockdev is how QEMU reaches a LUN. By which name it logs in is an option of its own.
func (p *pool) Blockdev(name string) (map[string]any, error) {
	lun, err := number(name)
	if err != nil {
		return nil, err
	}
	return map[string]any{"driver": "iscsi", "transport": "tcp", "portal": p.portal, "target": p.target, "lun": lun}, nil
}

// Image is how qemu-img is told of a LUN.
func (p *pool) Image(_ context.Context, name, snap string, _ bool) (storage.Image, error) {
	address, err := p.Path(name, snap)
	if err != nil {
		return storage.Image{}, err
	}
	return storage.ISCSIImage(address, p.initiator)
}

// Has tells that a LUN can be copied, and nothing else.
func (p *pool) Has(f storage.Feature, name, snap string) bool {
	_, err := number(name)
	return err == nil && f == storage.FeatureCopy && snap == ""
}

// Activate checks that the portal is there: to use it, nothing has to be done.
func (p *pool) Activate(ctx context.Context) error {
	if err := storage.Reach(ctx, p.portal, "3260"); err != nil {
		return fmt.Errorf("storage '%s' is not online: %w", p.ID, err)
	}
	return nil
}

// Deactivate has nothing to do.
func (p *pool) Deactivate(context.Context) error { return nil }

// Status has nothing to tell: what the target has beside its LUNs is not known.
func (p *pool) Status(context.Context) (storage.Status, error) { return storage.Status{}, nil }

// ActivateVolume checks that the LUN is there.
func (p *pool) ActivateVolume(ctx context.Context, name, snap string) error {
	if _, err := p.Path(name, snap); err != nil {
		return err
	}
	_, err := p.Info(ctx, name)
	return err
}

// DeactivateVolume has nothing to do.
func (p *pool) DeactivateVolume(context.Context, string, string) error { return nil }

// exact is of how many LUNs a list has exact sizes. To ask for each is a process that logs
// in, and with many LUNs that takes a target longer: a thousand were 20 seconds.
const exact = 64

// List asks the portal for the LUNs of the target. They belong to no guest. Sizes are those
// of the portal's own list, and better ones where there are few.
func (p *pool) List(ctx context.Context, f storage.Filter) ([]storage.Volume, error) {
	if f.Guest != 0 || !slices.Contains(f.Content, storage.Images) {
		return nil, nil
	}
	luns, err := p.luns(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]storage.Volume, len(luns))
	const atOnce = 8
	var ask errgroup.Group
	ask.SetLimit(atOnce)
	for i, l := range luns {
		list[i] = storage.Volume{Name: "lun" + strconv.Itoa(l.number), Content: storage.Images, Format: "raw", Size: l.about}
		if len(luns) > exact {
			continue
		}
		ask.Go(func() error {
			// The list has sizes cut off to whole gigabytes. Where a LUN does not tell
			// better, that is what is known.
			if info, err := p.Info(ctx, list[i].Name); err == nil {
				list[i].Size = info.Size
			}
			return nil
		})
	}
	_ = ask.Wait() // nothing above fails
	slices.SortFunc(list, func(a, b storage.Volume) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Info asks a LUN for its size.
func (p *pool) Info(ctx context.Context, name string) (storage.Info, error) {
	lun, err := number(name)
	if err != nil {
		return storage.Info{}, err
	}
	size, err := p.capacity(ctx, lun)
	return storage.Info{Size: size, Format: "raw"}, err
}

// Alloc is for the target's side.
func (p *pool) Alloc(context.Context, storage.Alloc) (string, error) {
	return "", errors.New("can't allocate space in iscsi storage")
}

// Free is for the target's side.
func (p *pool) Free(_ context.Context, name string) error {
	if _, err := number(name); err != nil {
		return err
	}
	return errors.New("can't free space in iscsi storage")
}
