package edit

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// An editing is an update under way: its changes go to the pending ones of doc.
type editing struct {
	*Service
	Update
	doc     *config.Doc
	values  schema.Params // to set, as they are kept
	undo    *revert.List
	touched map[string]bool
}

// revert forgets pending changes.
func (e *editing) revert(ctx context.Context) {
	for _, key := range e.Revert {
		e.forget(ctx, key)
		e.touched[key] = true
	}
}

// forget forgets the pending change of an option. A volume that was made for it is noted
// as unused.
func (e *editing) forget(ctx context.Context, key string) {
	value, pending := e.doc.Pending[key]
	guest.Revert(e.doc, key)
	if pending && container.IsMountPoint(key) {
		e.release(ctx, e.VM, e.doc, value)
	}
}

// required are the options that no container can be without.
func required(key string) bool {
	return key == container.Root || key == "memory" || key == "arch" || key == "ostype"
}

// delete notes the options that will be gone.
func (e *editing) delete(ctx context.Context) error {
	for _, key := range e.Delete {
		_, set := e.doc.Values[key]
		_, pending := e.doc.Pending[key]
		if !set && !pending {
			fmt.Fprintf(api.StreamsOf(ctx).Err, "cannot delete '%s' - not set in current configuration!\n", key)
			continue
		}
		e.touched[key] = true
		switch {
		case required(key):
			return fmt.Errorf("unable to delete required option '%s'", key)
		case key == "unprivileged":
			return fmt.Errorf("unable to delete read-only option: '%s'", key)
		case guest.IsUnused(key) || container.IsMountPoint(key):
			if err := guest.CheckProtection(e.doc, fmt.Sprintf("can't remove CT %s drive '%s'", e.VM, key)); err != nil {
				return err
			}
		}
		if pending {
			e.forget(ctx, key)
		}
		guest.AddDelete(e.doc, key, false)
	}
	return nil
}

// settle brings what is to be set into the form that is kept.
func (e *editing) settle(ctx context.Context) error {
	if _, given := e.values["unprivileged"]; given {
		return errors.New("unable to modify read-only option: 'unprivileged'")
	}
	for _, key := range sorted(e.values) {
		if !container.IsMountPoint(key) {
			continue
		}
		if err := guest.CheckProtection(e.doc, fmt.Sprintf("can't update CT %s drive '%s'", e.VM, key)); err != nil {
			return err
		}
		if key == container.Root && isWish(container.VolumeOf(e.values[key])) {
			return api.BadParam(key, "the root of a container that is there cannot be made anew; use a mount point, or move the volume")
		}
	}
	set := settler{Service: e.Service, values: e.values}
	return set.settle(ctx)
}

// set notes the values that will hold, and makes the volumes that they ask for.
func (e *editing) set(ctx context.Context) error {
	points := schema.Params{}
	for _, key := range sorted(e.values) {
		e.touched[key] = true
		if container.IsMountPoint(key) {
			points[key] = e.values[key]
			if waits, pending := e.doc.Pending[key]; pending && container.VolumeOf(waits) != container.VolumeOf(e.values[key]) {
				e.forget(ctx, key)
			}
		}
	}
	kept, err := e.Volumes.Make(ctx, e.VM, points, guest.Merged(e.doc), e.undo)
	if err != nil {
		return err
	}
	for _, key := range sorted(e.values) {
		text, ok := kept[key]
		if !ok {
			text = e.values[key]
		}
		guest.AddPending(e.doc, key, text)
	}
	return nil
}
