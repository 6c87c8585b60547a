package tree

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Snapshot keeps the state of an image: inside it, or in a file of its own.
func (t *Tree) Snapshot(ctx context.Context, name, snap string) error {
	if t.Chained(name) {
		return t.addState(ctx, name, snap)
	}
	path, err := t.inner(name, "can't snapshot this image format")
	if err != nil {
		return err
	}
	return t.show(ctx, "snapshot", "-c", snap, path)
}

// DeleteSnapshot forgets a state. A running guest's QEMU does that itself.
func (t *Tree) DeleteSnapshot(ctx context.Context, name, snap string, running bool) error {
	if t.Chained(name) {
		return t.deleteState(ctx, name, snap, running)
	}
	path, err := t.inner(name, "can't delete snapshot for this image format")
	if err != nil || running {
		return err
	}
	return t.show(ctx, "snapshot", "-d", snap, path)
}

// CanRollback says whether the format can, and whether the state is one that can be gone
// back to.
func (t *Tree) CanRollback(ctx context.Context, name, snap string) error {
	if t.Chained(name) {
		return t.canReturn(ctx, name, snap)
	}
	_, err := t.inner(name, "can't rollback snapshot for this image format")
	return err
}

// Rollback brings an image back to a state.
func (t *Tree) Rollback(ctx context.Context, name, snap string) error {
	if t.Chained(name) {
		return t.returnTo(ctx, name, snap)
	}
	path, err := t.inner(name, "can't rollback snapshot for this image format")
	if err != nil {
		return err
	}
	return t.show(ctx, "snapshot", "-a", snap, path)
}

// inner returns the path of an image that keeps states inside.
func (t *Tree) inner(name, cannot string) (string, error) {
	n, path, err := t.find(name)
	if err == nil && n.Format != "qcow2" {
		err = errors.New(cannot)
	}
	return path, err
}

// Snapshots lists the states of an image, the oldest first.
func (t *Tree) Snapshots(ctx context.Context, name string) ([]storage.Snapshot, error) {
	if t.Chained(name) {
		return t.states(ctx, name)
	}
	n, path, err := t.find(name)
	if err != nil || n.Format != "qcow2" {
		return nil, err
	}
	out, err := run.OutputOf(ctx, t.Runner, run.Cmd{
		Path: t.QEMUImg, Args: []string{"info", "-U", "--output=json", "-f", "qcow2", path}, ReadOnly: true,
	})
	if err != nil {
		return nil, err
	}
	var said struct {
		Snapshots []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
			Date int64  `json:"date-sec"`
		} `json:"snapshots"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return nil, fmt.Errorf("%s: could not parse qemu-img info output: %w", path, err)
	}
	var found []storage.Snapshot
	for _, s := range said.Snapshots {
		found = append(found, storage.Snapshot{ID: s.ID, Name: s.Name, Created: time.Unix(s.Date, 0)})
	}
	slices.SortStableFunc(found, func(a, b storage.Snapshot) int { return cmp.Compare(a.Created.Unix(), b.Created.Unix()) })
	return found, nil
}
