// Package clone makes VMs after others: full clones, which share nothing with their
// source, and linked clones, which hold only what differs from a template.
//
// The new configuration is there from the beginning, locked, and names each volume
// before it is filled, so that what is left of a clone that died can be destroyed as a
// VM. The source is only kept from changing: any number of clones of one VM are made
// at once.
package clone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/revert"
)

// A Service clones the VMs of a node.
type Service struct {
	*disks.Service
	Random io.Reader // hardware addresses are made from it
}

// Options say what to clone and how.
type Options struct {
	VM, New     id.VM
	Name        string
	Description string
	Snapshot    id.Snapshot // the state to clone; empty for the present one
	Full        *bool       // nil: a template is cloned linked, all else fully
	Storage     id.Storage  // of the new volumes; empty for those of the source
	Format      string
	Pool        string
	Target      id.Node // that the new VM goes to; empty for this one
	BWLimit     *int    // KiB/s
}

// patience is how long a clone waits for another command on either VM.
const patience = 10 * time.Second

// Check returns why a clone cannot be made. It touches nothing.
func (s *Service) Check(ctx context.Context, o Options) error {
	_, err := s.prepare(ctx, o)
	return err
}

// Clone makes a VM after another. When it fails, or ctx ends, nothing of the new VM is
// left.
func (s *Service) Clone(ctx context.Context, o Options) error {
	running, err := s.Running(o.VM)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("clone VM %s to %s", o.VM, o.New)
	// While it runs, one monitor makes the copies, so there can be one clone only.
	source := file.LockOptions{Patience: patience, Shared: !running, What: what}
	return s.Cluster.WithGuest(ctx, cluster.VM, o.VM, source, func(ctx context.Context) error {
		target := file.LockOptions{Patience: patience, What: what}
		return s.Cluster.WithGuest(ctx, cluster.VM, o.New, target, func(ctx context.Context) error {
			p, err := s.prepare(ctx, o)
			if err != nil {
				return err
			}
			if p.running != running {
				return errors.New("unexpected state change")
			}
			return s.make(ctx, o, p)
		})
	})
}

// make makes the clone that p prepares.
func (s *Service) make(ctx context.Context, o Options, p *prepared) error {
	if err := s.adapt(ctx, o, p.doc); err != nil {
		return err
	}
	if plan.From(ctx) == nil {
		api.Printf(ctx, "creating a clone of VM %s with ID %s\n", o.VM, o.New)
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	if err := s.begin(ctx, o, p, undo); err != nil {
		return err
	}
	if err := s.copyDrives(ctx, o, p, undo); err != nil {
		return fmt.Errorf("clone failed: %w", err)
	}
	delete(p.doc.Values, "lock")
	if waiting := slices.Sorted(maps.Keys(p.pending)); len(waiting) > 0 && o.Snapshot == "" {
		api.Warnf(ctx, "found pending changes for '%s', discarding for clone", strings.Join(waiting, ","))
	}
	if err := s.Save(ctx, o.New, p.doc); err != nil {
		return fmt.Errorf("clone failed: %w", err)
	}
	if o.Pool != "" {
		if err := access.Change(ctx, s.Cluster, func(r *access.Rights) error { return r.AddToPool(o.Pool, o.New) }); err != nil {
			return err
		}
	}
	if p.moves {
		if err := s.Cluster.MoveGuest(ctx, cluster.VM, o.New, o.Target); err != nil {
			return err
		}
	}
	undo.Success()
	return nil
}

// begin takes the number: it writes a configuration that is locked, and the firewall's
// rules.
func (s *Service) begin(ctx context.Context, o Options, p *prepared, undo *revert.List) error {
	undo.Add("remove the configuration of VM "+o.New.String(), func(ctx context.Context) error {
		return s.Cluster.RemoveGuest(ctx, cluster.VM, o.New)
	})
	if err := s.Save(ctx, o.New, p.withoutDrives()); err != nil {
		return err
	}
	rules, err := s.Cluster.ReadOptional(ctx, cluster.FirewallFile(o.VM))
	if err != nil || rules == nil {
		return err
	}
	return s.Cluster.WriteFile(ctx, cluster.FirewallFile(o.New), rules)
}

// withoutDrives is the new configuration less the drives that get volumes of their own.
func (p *prepared) withoutDrives() *config.Doc {
	doc := p.doc.Clone()
	for key := range p.drives {
		delete(doc.Values, key)
	}
	return doc
}

// copyDrives makes the volumes of the clone, one after the other.
func (s *Service) copyDrives(ctx context.Context, o Options, p *prepared, undo *revert.List) error {
	var mirrors *disks.Mirrors
	if p.running && p.full && o.Snapshot == "" {
		mirrors = s.Mirrors(o.VM)
		defer mirrors.Close()
	}
	made := p.withoutDrives()
	for _, key := range slices.Sorted(maps.Keys(p.drives)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		d, err := s.copyDrive(ctx, o, p, key, made, mirrors, undo)
		if err != nil {
			return err
		}
		made.Values[key] = qemu.PrintDrive(d)
	}
	if mirrors != nil {
		if err := mirrors.Finish(ctx); err != nil {
			return err
		}
	}
	p.doc = made
	return nil
}

func (s *Service) copyDrive(ctx context.Context, o Options, p *prepared, key string, made *config.Doc, mirrors *disks.Mirrors, undo *revert.List) (qemu.Drive, error) {
	d := p.drives[key]
	v, err := id.ParseVolume(d.File)
	if err != nil {
		return d, err
	}
	limit, err := s.Limit(ctx, "clone", o.BWLimit, v.Storage, o.Storage)
	if err != nil {
		return d, err
	}
	to := disks.Target{
		VM: o.New, Key: key, Storage: o.Storage, Format: o.Format, BWLimit: limit, Mirrors: mirrors,
		EFI: func() (int64, error) { return s.EFISize(p.values, d) },
		Allocated: func(ctx context.Context, v id.Volume) error {
			mark := d
			mark.File, mark.Format = v.String(), nil
			made.Values[key] = qemu.PrintDrive(mark)
			return s.Save(ctx, o.New, made)
		},
	}
	src := disks.Source{VM: o.VM, Running: p.running, Drive: d, Snapshot: string(o.Snapshot)}
	if p.full || d.IsCloudInit() {
		return s.Copy(ctx, src, to, undo)
	}
	return s.LinkedClone(ctx, src, to, undo)
}
