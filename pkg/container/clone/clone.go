// Package clone makes containers after others: full clones, which share nothing with
// their source, and linked clones, which hold only what differs from a template.
//
// The new configuration is there from the beginning, locked, and names each volume when
// it is made, so that what is left of a clone that died can be destroyed as a container.
// The source is only kept from changing: any number of clones of one container are made
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
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Service clones the containers of a node.
type Service struct {
	*ct.Host
	Volumes *volumes.Service
	Random  io.Reader // hardware addresses are made from it
	// Setup is what the set-up of distributions needs to know of the node.
	Setup func(ctx context.Context) setup.Env
}

// Options say what to clone and how.
type Options struct {
	VM, New     id.VM
	Hostname    string
	Description string
	Snapshot    id.Snapshot // the state to clone; empty for the present one
	Full        *bool       // nil: a template is cloned linked, all else fully
	Storage     id.Storage  // of the new volumes; empty for those of the source
	Pool        string
	Target      id.Node // that the new container goes to; empty for this one
	BWLimit     *int    // KiB/s
}

// patience is how long a clone waits for another command on either container.
const patience = 10 * time.Second

// prepared is a clone that can be made.
type prepared struct {
	running bool
	full    bool
	moves   bool // to another node
	source  schema.Params
	doc     *config.Doc // the new configuration, without the volumes
	pending []string    // what is pending of the source
}

// Check returns why a clone cannot be made. It touches nothing.
func (s *Service) Check(ctx context.Context, o Options) error {
	_, err := s.prepare(ctx, o)
	return err
}

// Clone makes a container after another. When it fails, or ctx ends, nothing of the new
// container is left.
func (s *Service) Clone(ctx context.Context, o Options) error {
	what := fmt.Sprintf("clone CT %s to %s", o.VM, o.New)
	source := file.LockOptions{Patience: patience, Shared: true, What: what}
	return s.Cluster.WithGuest(ctx, cluster.Container, o.VM, source, func(ctx context.Context) error {
		target := file.LockOptions{Patience: patience, What: what}
		return s.Cluster.WithGuest(ctx, cluster.Container, o.New, target, func(ctx context.Context) error {
			p, err := s.prepare(ctx, o)
			if err != nil {
				return err
			}
			return s.make(ctx, o, p)
		})
	})
}

// prepare checks that a clone can be made. It touches nothing.
func (s *Service) prepare(ctx context.Context, o Options) (*prepared, error) {
	p := &prepared{moves: o.Target != "" && o.Target != s.Node && o.Target != "localhost"}
	if err := s.checkPlace(ctx, o, p.moves); err != nil {
		return nil, err
	}
	if err := s.Cluster.CheckFree(ctx, o.New); err != nil {
		return nil, err
	}
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return nil, err
	}
	if err := guest.CheckLock(cluster.Container, doc); err != nil {
		return nil, err
	}
	if p.running, err = s.Running(ctx, o.VM); err != nil {
		return nil, err
	}
	p.source = doc.Values
	if o.Snapshot != "" {
		if p.source, err = guest.Snapshot(doc, string(o.Snapshot)); err != nil {
			return nil, err
		}
	} else {
		p.pending = slices.Sorted(maps.Keys(doc.Pending))
	}
	p.full = !guest.IsTemplate(doc)
	if o.Full != nil {
		p.full = *o.Full
	}
	if o.Storage != "" && !p.full {
		return nil, errors.New("parameter 'storage' not allowed for linked clones")
	}
	if p.doc, err = s.adapt(ctx, o, p.source); err != nil {
		return nil, err
	}
	if err := s.Volumes.CheckClone(ctx, s.volumesOf(o, p), p.running); err != nil {
		return nil, err
	}
	return p, s.checkShared(ctx, o, p)
}

// checkPlace checks where the clone is to go.
func (s *Service) checkPlace(ctx context.Context, o Options, moves bool) error {
	if o.Pool != "" {
		r, err := access.Load(ctx, s.Cluster)
		if err != nil {
			return err
		}
		if !r.HasPool(o.Pool) {
			return fmt.Errorf("pool '%s' does not exist", o.Pool)
		}
	}
	if o.Target != "" && o.Target != "localhost" {
		if err := s.Cluster.CheckNode(ctx, o.Target); err != nil {
			return err
		}
	}
	if o.Storage == "" {
		return nil
	}
	d, err := s.Storage.Enabled(ctx, o.Storage)
	if err != nil || !moves {
		return err
	}
	if _, err := s.Storage.EnabledOn(ctx, o.Storage, o.Target); err != nil {
		return err
	}
	if !d.Shared {
		return fmt.Errorf("can't clone to non-shared storage '%s'", o.Storage)
	}
	return nil
}

// checkShared checks that another node can use the volumes of a clone that goes there.
func (s *Service) checkShared(ctx context.Context, o Options, p *prepared) error {
	if !p.moves || o.Storage != "" {
		return nil
	}
	for _, v := range container.Volumes(p.source) {
		volume, err := id.ParseVolume(v.ID)
		if err != nil {
			return err
		}
		d, err := s.Storage.Lookup(ctx, volume.Storage)
		if err != nil {
			return err
		}
		if !d.Shared {
			return fmt.Errorf("can't clone CT to node '%s' (CT uses local storage)", o.Target)
		}
	}
	return nil
}

// adapt returns the configuration of the clone, less the mount points that get volumes of
// their own.
func (s *Service) adapt(ctx context.Context, o Options, source schema.Params) (*config.Doc, error) {
	values := maps.Clone(source)
	own := []string{"parent", "snaptime", "snapstate", "template", "lock"}
	cloned := container.Volumes(source)
	maps.DeleteFunc(values, func(key, _ string) bool {
		return slices.Contains(own, key) || guest.IsUnused(key) || slices.ContainsFunc(cloned, func(v guest.Volume) bool { return v.Key == key })
	})
	if o.Hostname != "" {
		values["hostname"] = o.Hostname
	}
	delete(values, config.Description)
	if o.Description != "" {
		values[config.Description] = o.Description
	}
	datacenter, err := s.Cluster.Datacenter(ctx, nil)
	if err != nil {
		return nil, err
	}
	prefix := ""
	if datacenter.MACPrefix != nil {
		prefix = *datacenter.MACPrefix
	}
	for key, value := range values {
		if family, _, ok := schema.Member(key); !ok || family != "net" {
			continue
		}
		var net container.Net
		if err := schema.Parse(value, &net); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		mac, err := guest.NewMAC(prefix, s.Random)
		if err != nil {
			return nil, err
		}
		net.HWAddr = &mac
		values[key] = schema.Print(net)
	}
	return &config.Doc{Values: values}, nil
}

func (s *Service) volumesOf(o Options, p *prepared) volumes.Clone {
	return volumes.Clone{
		From: p.source, Snapshot: string(o.Snapshot), To: o.New, Values: p.doc.Values,
		Storage: o.Storage, Full: p.full, BWLimit: o.BWLimit,
	}
}

// make makes the clone that p prepares.
func (s *Service) make(ctx context.Context, o Options, p *prepared) error {
	if plan.From(ctx) == nil {
		api.Printf(ctx, "creating a clone of container %s with ID %s\n", o.VM, o.New)
	}
	undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
	defer undo.Fail()
	if err := s.begin(ctx, o, p, undo); err != nil {
		return err
	}
	if err := s.fill(ctx, o, p, undo); err != nil {
		return fmt.Errorf("clone failed: %w", err)
	}
	if len(p.pending) > 0 {
		api.Warnf(ctx, "found pending changes for '%s', discarding for clone", strings.Join(p.pending, ","))
	}
	delete(p.doc.Values, "lock")
	if err := s.Save(ctx, o.New, p.doc); err != nil {
		return fmt.Errorf("clone failed: %w", err)
	}
	if o.Pool != "" {
		if err := access.Change(ctx, s.Cluster, func(r *access.Rights) error { return r.AddToPool(o.Pool, o.New) }); err != nil {
			return err
		}
	}
	if p.moves {
		if err := s.Cluster.MoveGuest(ctx, cluster.Container, o.New, o.Target); err != nil {
			return err
		}
	}
	undo.Success()
	return nil
}

// begin takes the number: it writes a configuration that is locked, and the firewall's
// rules.
func (s *Service) begin(ctx context.Context, o Options, p *prepared, undo *revert.List) error {
	undo.Add("remove the configuration of CT "+o.New.String(), func(ctx context.Context) error {
		return s.Cluster.RemoveGuest(ctx, cluster.Container, o.New)
	})
	p.doc.Values["lock"] = "create"
	if err := s.Save(ctx, o.New, p.doc); err != nil {
		return err
	}
	rules, err := s.Cluster.ReadOptional(ctx, cluster.FirewallFile(o.VM))
	if err != nil || rules == nil {
		return err
	}
	undo.Add("remove the firewall rules of CT "+o.New.String(), func(ctx context.Context) error {
		return s.Cluster.Remove(ctx, cluster.FirewallFile(o.New))
	})
	return s.Cluster.WriteFile(ctx, cluster.FirewallFile(o.New), rules)
}

// fill makes the volumes and makes sure that the clone is not taken for its source.
func (s *Service) fill(ctx context.Context, o Options, p *prepared, undo *revert.List) error {
	c := s.volumesOf(o, p)
	c.Made = func(ctx context.Context, key, value string) error {
		p.doc.Values[key] = value
		return s.Save(ctx, o.New, p.doc)
	}
	made, err := s.Volumes.Clone(ctx, c, undo)
	if err != nil {
		return err
	}
	maps.Copy(p.doc.Values, made)
	if p := plan.From(ctx); p != nil {
		p.Stepf("give CT %s an identity of its own", o.New)
		return nil
	}
	root, err := id.ParseVolume(container.VolumeOf(made[container.Root]))
	if err != nil {
		return nil // its root is no volume: there is nothing of its own to change
	}
	return s.Volumes.Inside(ctx, root, p.doc.Values, func(r *rootfs.Root) error {
		env := s.Setup(ctx)
		inside, err := setup.Open(r, container.Typed(p.doc.Values), env)
		if errors.Is(err, setup.ErrUnknown) {
			return nil // nothing that we know to be of one system only
		}
		if err != nil {
			return err
		}
		return inside.PostClone()
	})
}
