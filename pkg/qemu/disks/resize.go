package disks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Resize says how large a disk is to be.
type Resize struct {
	VM       id.VM
	Key      string
	Size     string // as 32G, or +1G for that much more
	Digest   *string
	SkipLock bool
}

// Resize grows a disk. That of a running VM is grown by its QEMU, which tells the guest.
func (s *Service) Resize(ctx context.Context, o Resize) error {
	return s.Change(ctx, o.VM, "resize "+o.Key, func(ctx context.Context, doc *config.Doc) error {
		if err := guest.CheckDigest(doc, o.Digest); err != nil {
			return err
		}
		if !o.SkipLock {
			if err := guest.CheckLock(cluster.VM, doc); err != nil {
				return err
			}
		}
		d, err := Lookup(doc.Values, o.Key)
		if err != nil {
			return err
		}
		size, err := s.grow(ctx, o, d)
		if err != nil {
			return err
		}
		d.Size = new(schema.Size(size))
		doc.Values[o.Key] = qemu.PrintDrive(d)
		return nil
	})
}

// grow makes a disk as large as is wished and returns its size. The error is
// [vm.ErrUnchanged] where it is as large already.
func (s *Service) grow(ctx context.Context, o Resize, d qemu.Drive) (int64, error) {
	switch {
	case d.IsCDROM():
		return 0, errors.New("you can't resize a cdrom")
	case d.Volume() == "":
		return 0, fmt.Errorf("disk '%s' has no associated volume", o.Key)
	}
	v, err := id.ParseVolume(d.File)
	if err != nil {
		return 0, err
	}
	if err := s.Storage.ActivateVolumes(ctx, "", v); err != nil {
		return 0, err
	}
	info, err := s.Storage.Info(ctx, v)
	if err != nil {
		return 0, err
	}
	size, err := wished(o.Size, info.Size)
	switch {
	case err != nil:
		return 0, err
	case size < info.Size:
		return 0, errors.New("shrinking disks is not supported")
	case size == info.Size:
		return 0, vm.ErrUnchanged
	}
	running, err := s.Running(o.VM)
	if err != nil {
		return 0, err
	}
	// What has grown does not shrink again.
	if err := s.Cluster.CheckChangeable(ctx, cluster.VM, o.VM); err != nil {
		return 0, err
	}
	whole := (size + 1023) &^ 1023 // volumes are made of whole KiB
	if err := s.Storage.Resize(ctx, v, whole, running); err != nil {
		return 0, err
	}
	if running {
		if err := s.growRunning(ctx, o, d, v, whole); err != nil {
			return 0, err
		}
	}
	if now := s.sizeOf(ctx, v, size); now > whole { // some storages round up further
		return now, nil
	}
	return size, nil
}

// growRunning tells QEMU the new size.
func (s *Service) growRunning(ctx context.Context, o Resize, d qemu.Drive, v id.Volume, size int64) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("VM %s: resize drive-%s to %d", o.VM, o.Key, size)
		return nil
	}
	m := s.Mirrors(o.VM)
	args := map[string]any{"node-name": "drive-" + o.Key, "size": size}
	err := m.call(ctx, "block_resize", args, nil)
	if err != nil && strings.Contains(err.Error(), "fixed-size raw") && d.Bus != "efidisk" {
		if err := m.untrim(ctx, d, v); err != nil {
			return err
		}
		err = m.call(ctx, "block_resize", args, nil)
	}
	return err
}

// untrim lets QEMU see all of a disk, of which it was shown a part when it moved there, see
// [Mirrors.trim].
func (m *Mirrors) untrim(ctx context.Context, d qemu.Drive, v id.Volume) error {
	doc, err := m.s.Load(ctx, m.vm)
	if err != nil {
		return err
	}
	nodes, err := m.nodes(ctx, doc.Values, d, v)
	if err != nil {
		return err
	}
	if below, ok := nodes["file"].(map[string]any); ok {
		nodes["file"] = below["node-name"] // stays as it is
	}
	return m.call(ctx, "blockdev-reopen", map[string]any{"options": []any{nodes}}, nil)
}

// wished returns the size that a text means, beside the present one.
func wished(text string, now int64) (int64, error) {
	rest, more := strings.CutPrefix(text, "+")
	size, err := schema.ParseSize(rest)
	if err != nil {
		return 0, err
	}
	if !more {
		return int64(size), nil
	}
	sum := now + int64(size)
	if sum < now {
		return 0, fmt.Errorf("%q: %w: it is too large", text, schema.ErrSize)
	}
	return sum, nil
}
