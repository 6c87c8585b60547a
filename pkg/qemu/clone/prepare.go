package clone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/access"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// prepared is a clone that can be made.
type prepared struct {
	running bool
	full    bool
	moves   bool // to another node
	values  schema.Params
	pending schema.Params
	doc     *config.Doc           // the new configuration
	drives  map[string]qemu.Drive // of the source, to copy
}

// prepare checks that a clone can be made. It touches nothing.
func (s *Service) prepare(ctx context.Context, o Options) (*prepared, error) {
	p := &prepared{moves: o.Target != "" && o.Target != s.Node && o.Target != "localhost"}
	var err error
	if p.running, err = s.Running(o.VM); err != nil {
		return nil, err
	}
	if err := s.checkPlace(ctx, o, p.moves); err != nil {
		return nil, err
	}
	source, err := s.Load(ctx, o.VM)
	if errors.Is(err, cluster.ErrNoGuest) {
		return nil, fmt.Errorf("unable to find configuration file for VM %s on node '%s'", o.VM, s.Node)
	}
	if err != nil {
		return nil, err
	}
	if err := guest.CheckLock(cluster.VM, source); err != nil {
		return nil, err
	}
	p.values, p.pending = source.Values, source.Pending
	if o.Snapshot != "" {
		if p.values, err = guest.Snapshot(source, string(o.Snapshot)); err != nil {
			return nil, err
		}
	}
	p.full = !guest.IsTemplate(source)
	if o.Full != nil {
		p.full = *o.Full
	}
	if err := s.checkKind(ctx, o, p); err != nil {
		return nil, err
	}
	p.doc = &config.Doc{Special: map[string]schema.Params{}}
	if section := source.Special["cloudinit"]; section != nil {
		p.doc.Special["cloudinit"] = maps.Clone(section)
	}
	if p.drives, err = s.drives(ctx, o, p); err != nil {
		return nil, err
	}
	return p, nil
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
	if err != nil {
		return err
	}
	if !moves {
		return nil
	}
	if _, err := s.Storage.EnabledOn(ctx, o.Storage, o.Target); err != nil {
		return err
	}
	if !d.Shared {
		return fmt.Errorf("can't clone to non-shared storage '%s'", o.Storage)
	}
	return nil
}

// checkKind checks what a linked clone cannot have, where the volumes are, and whether
// the number is free.
func (s *Service) checkKind(ctx context.Context, o Options, p *prepared) error {
	switch {
	case o.Storage != "" && !p.full:
		return errors.New("parameter 'storage' not allowed for linked clones")
	case o.Format != "" && !p.full:
		return errors.New("parameter 'format' not allowed for linked clones")
	}
	shared, err := s.checkStorages(ctx, o, p)
	switch {
	case err != nil:
		return err
	case p.moves && !shared:
		return fmt.Errorf("can't clone VM to node '%s' (VM uses local storage)", o.Target)
	}
	taken, err := s.Cluster.Find(ctx, o.New)
	switch {
	case errors.Is(err, cluster.ErrNoGuest):
		return nil
	case err != nil:
		return err
	case taken.Node == s.Node && taken.Kind == cluster.VM:
		return fmt.Errorf("unable to create VM %s: config file already exists", o.New)
	}
	return fmt.Errorf("unable to create VM %s: %w", o.New, &cluster.TakenError{Guest: taken})
}

// checkStorages tells whether all volumes of the clone will be on shared storages. All
// of them must hold images.
func (s *Service) checkStorages(ctx context.Context, o Options, p *prepared) (shared bool, err error) {
	shared = true
	for d := range qemu.Drives(p.values, qemu.Volumes) {
		v, err := id.ParseVolume(d.Volume())
		if err != nil {
			continue
		}
		storeid := v.Storage
		if o.Storage != "" && !d.IsDisc() {
			storeid = o.Storage
		}
		def, err := s.Storage.Lookup(ctx, storeid)
		if d.IsDisc() {
			shared = shared && err == nil && def.Shared
			continue
		}
		if err != nil {
			return false, err
		}
		if err := s.Storage.CheckContent(ctx, storeid, storage.Images); err != nil {
			return false, err
		}
		shared = shared && def.Shared
	}
	return shared, nil
}

// drives returns the drives to copy, and fills the new configuration with the rest.
func (s *Service) drives(ctx context.Context, o Options, p *prepared) (map[string]qemu.Drive, error) {
	p.doc.Values = maps.Clone(p.values)
	maps.DeleteFunc(p.doc.Values, func(key, _ string) bool {
		return slices.Contains(ownOptions(), key) || guest.IsUnused(key)
	})
	drives := map[string]qemu.Drive{}
	for _, key := range slices.Sorted(maps.Keys(p.doc.Values)) {
		kind := qemu.KindOfDrive(key)
		if kind == 0 {
			continue
		}
		d, err := qemu.ParseDrive(key, p.doc.Values[key])
		if err != nil {
			return nil, fmt.Errorf("unable to parse drive options for '%s'", key)
		}
		if kind == qemu.TPM && p.full && p.running && o.Snapshot == "" {
			return nil, errors.New("cannot clone TPM state while VM is running")
		}
		if d.IsDisc() || d.File == "none" {
			continue // the same disc is in it
		}
		if err := s.checkFeature(ctx, o, p, d); err != nil {
			return nil, err
		}
		drives[key] = d
	}
	return drives, nil
}

// ownOptions lists the options that are of a snapshot or of the VM itself, not of its
// clones.
func ownOptions() []string {
	return []string{
		"parent", "snaptime", "vmstate", "snapstate", "template", "lock",
		"runningmachine", "runningcpu", "running-nets-host-mtu",
	}
}

func (s *Service) checkFeature(ctx context.Context, o Options, p *prepared, d qemu.Drive) error {
	feature, kind := storage.FeatureClone, "Linked"
	if p.full || d.IsCloudInit() {
		feature, kind = storage.FeatureCopy, "Full"
	}
	snap := string(o.Snapshot)
	if d.IsCloudInit() {
		snap = ""
	}
	v, err := id.ParseVolume(d.Volume())
	able := false
	if err == nil {
		able, err = s.Storage.Has(ctx, feature, v, snap)
	}
	if err != nil || !able {
		return fmt.Errorf("%s clone feature is not supported for '%s' (%s)", kind, d.File, d.Key()) //nolint:staticcheck // upstream's text
	}
	return nil
}
