package snapshot

import (
	"context"
	"errors"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Volumes lists what a snapshot covers.
func (m *machine) Volumes(values schema.Params) []guest.Volume { return qemu.SnapshotVolumes(values) }

// CanSnapshot tells whether all volumes can be snapshot.
func (m *machine) CanSnapshot(ctx context.Context, doc *config.Doc, _ string) (bool, error) {
	return m.able(ctx, storage.FeatureSnapshot, doc.Values, "")
}

// Able tells whether a VM, or its state in a snapshot, can do what the feature says, which is
// what each of its volumes can do.
func (s *Service) Able(ctx context.Context, f storage.Feature, doc *config.Doc, name string) (bool, error) {
	values := doc.Values
	if name != "" {
		snap, err := guest.Snapshot(doc, name)
		if err != nil {
			return false, err
		}
		values = snap
	}
	return s.able(ctx, f, values, name)
}

func (s *Service) able(ctx context.Context, f storage.Feature, values schema.Params, name string) (bool, error) {
	for _, v := range qemu.SnapshotVolumes(values) {
		volume, err := id.ParseVolume(v.ID)
		if err != nil {
			return false, nil // a path of the host: no storage looks after it
		}
		if able, err := s.Storage.Has(ctx, f, volume, name); err != nil || !able {
			return false, err
		}
	}
	return true, nil
}

// Nodes returns those of the given nodes on which all volumes of the values can be used.
func (s *Service) Nodes(ctx context.Context, values schema.Params, nodes []id.Node) ([]id.Node, error) {
	nodes = slices.Clone(nodes)
	for _, v := range qemu.SnapshotVolumes(values) {
		volume, err := id.ParseVolume(v.ID)
		if err != nil {
			continue
		}
		d, err := s.Storage.Lookup(ctx, volume.Storage)
		if err != nil {
			return nil, err
		}
		nodes = slices.DeleteFunc(nodes, func(node id.Node) bool {
			return d.Disabled || !d.On(node) || !d.Shared && len(d.Nodes) == 0 && node != s.Node
		})
	}
	return nodes, nil
}

// Activate makes the storages of the volumes ready. The volumes of a running VM are ready, and
// for those of a stopped one it is enough.
func (m *machine) Activate(ctx context.Context, values schema.Params, snapshots bool) error {
	var storeids []id.Storage
	add := func(text string) {
		if v, err := id.ParseVolume(text); err == nil {
			storeids = append(storeids, v.Storage)
		}
	}
	for _, v := range m.Volumes(values) {
		add(v.ID)
	}
	if snapshots {
		add(values["vmstate"])
	}
	return m.Storage.Activate(ctx, storeids...)
}

// device is how QEMU calls the disk of an option.
func device(key string) string { return "drive-" + key }

// SnapshotVolume keeps the state of a volume.
func (m *machine) SnapshotVolume(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	api.Printf(ctx, "snapshotting '%s' (%s)\n", device(v.Key), v.ID)
	if c, open, err := m.chainedOpen(ctx, v.Key, volume); err != nil {
		return err
	} else if open {
		return m.snapshotChain(ctx, c, name)
	}
	byQEMU, err := m.insideQEMU(ctx, v.Key, volume)
	if err != nil {
		return err
	}
	if byQEMU {
		return m.call(ctx, "blockdev-snapshot-internal-sync", map[string]string{"device": device(v.Key), "name": name}, nil)
	}
	return m.Storage.Snapshot(ctx, volume, name)
}

// DeleteVolumeSnapshot forgets a state of a volume.
func (m *machine) DeleteVolumeSnapshot(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	key, err := m.attached(ctx, v.ID)
	if err != nil {
		return err
	}
	if is, err := m.Storage.Chained(ctx, volume); err != nil {
		return err
	} else if is {
		return m.deleteChained(ctx, key, volume, name)
	}
	byQEMU, err := m.insideQEMU(ctx, key, volume)
	if err != nil {
		return err
	}
	if byQEMU {
		args := map[string]string{"device": device(key), "name": name}
		if err := m.call(ctx, "blockdev-snapshot-delete-internal-sync", args, nil); err != nil {
			return err
		}
	}
	return m.Storage.DeleteSnapshot(ctx, volume, name, byQEMU)
}

// deleteChained forgets a state that is a volume of its own. One that is gone, while its volume
// is not, was removed by a command that died before it could note that.
func (m *machine) deleteChained(ctx context.Context, key string, volume id.Volume, name string) error {
	c, open, err := m.chainedOpen(ctx, key, volume)
	switch {
	case err != nil:
		return err
	case open:
		err = m.deleteChain(ctx, c, name)
	default:
		err = m.Storage.DeleteSnapshot(ctx, volume, name, false)
	}
	if !errors.Is(err, storage.ErrNotExist) {
		return err
	}
	if _, gone := m.Storage.Info(ctx, volume); gone != nil {
		return err
	}
	api.Warnf(ctx, "%v", err)
	return nil
}

// attached returns the option by which the VM has a volume now, empty where it has not.
func (m *machine) attached(ctx context.Context, volume string) (string, error) {
	doc, err := m.Load(ctx, m.vmid)
	if err != nil {
		return "", err
	}
	for _, v := range m.Volumes(doc.Values) {
		if v.ID == volume {
			return v.Key, nil
		}
	}
	return "", nil
}

// insideQEMU tells whether a running QEMU has the volume open, so that it alone can change the
// snapshots inside of it.
func (m *machine) insideQEMU(ctx context.Context, key string, volume id.Volume) (bool, error) {
	running, err := m.Running(ctx)
	if err != nil || !running || key == "" {
		return false, err
	}
	name, err := m.Storage.Parse(ctx, volume)
	if err != nil || name.Format != "qcow2" {
		return false, err
	}
	// What the configuration has is not always what QEMU has: a disk may wait to be unplugged,
	// and a TPM is not QEMU's.
	var nodes []struct {
		Name string `json:"node-name"`
	}
	err = m.Power.Call(ctx, m.vmid, "query-named-block-nodes", map[string]bool{"flat": true}, &nodes)
	for _, n := range nodes {
		if n.Name == device(key) {
			return true, err
		}
	}
	return false, err
}

// CheckRollback tells whether a volume can go back.
func (m *machine) CheckRollback(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	return m.Storage.CanRollback(ctx, volume, name)
}

// RollbackVolume brings a volume back.
func (m *machine) RollbackVolume(ctx context.Context, v guest.Volume, name string) error {
	volume, err := id.ParseVolume(v.ID)
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		// It would be stopped by now.
		p.Stepf("bring %s back to snapshot '%s'", v.ID, name)
		return nil
	}
	return m.Storage.Rollback(ctx, volume, name)
}
