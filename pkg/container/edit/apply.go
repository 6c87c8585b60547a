package edit

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Apply makes all pending changes of a container that is off hold in doc, which the
// caller saves. What cannot hold stays pending, and is told.
func (s *Service) Apply(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	return s.apply(ctx, vmid, doc, func(string) bool { return true })
}

// apply is [Service.Apply] for the options that want tells.
func (s *Service) apply(ctx context.Context, vmid id.VM, doc *config.Doc, want func(string) bool) error {
	faults := schema.Faults{}
	fail := func(key string, err error) {
		faults[key] = "unable to apply pending change " + key + " : " + err.Error()
	}
	for _, key := range slices.Sorted(maps.Keys(guest.PendingDeletes(doc))) {
		if !want(key) {
			continue
		}
		if err := s.remove(ctx, vmid, doc, key); err != nil {
			fail(key, err)
			continue
		}
		guest.Revert(doc, key)
	}
	guest.CleanPending(doc)
	for _, key := range sorted(doc.Pending) {
		if key == "delete" || !want(key) {
			continue
		}
		if err := s.hold(ctx, vmid, doc, key); err != nil {
			fail(key, err)
		}
	}
	if len(faults) > 0 {
		return api.ParamError(faults)
	}
	return nil
}

// hold makes the pending value of an option hold.
func (s *Service) hold(ctx context.Context, vmid id.VM, doc *config.Doc, key string) error {
	value := doc.Pending[key]
	if container.IsMountPoint(key) {
		if isWish(container.VolumeOf(value)) { // another version leaves the making to us
			undo := revert.New(ctx, func(err error) { api.Warnf(ctx, "%v", err) })
			defer undo.Fail()
			kept, err := s.Volumes.Make(ctx, vmid, schema.Params{key: value}, doc.Values, undo)
			if err != nil {
				return err
			}
			value = kept[key]
			undo.Success()
		}
		if old, set := doc.Values[key]; set && container.VolumeOf(old) != container.VolumeOf(value) {
			delete(doc.Values, key)
			s.release(ctx, vmid, doc, old)
		}
	}
	doc.Values[key] = value
	delete(doc.Pending, key)
	return nil
}

// remove takes an option out of doc. The volume of a mount point is noted as unused, an
// unused one is freed.
func (s *Service) remove(ctx context.Context, vmid id.VM, doc *config.Doc, key string) error {
	value := doc.Values[key]
	if guest.IsUnused(key) && value != "" {
		if err := s.Free(ctx, vmid, doc, key, container.VolumeOf(value)); err != nil {
			return err
		}
	}
	delete(doc.Values, key)
	if container.IsMountPoint(key) {
		s.release(ctx, vmid, doc, value)
	}
	return nil
}

// needsNothing tells whether a change of an option needs nothing done to a container that
// runs.
func needsNothing(key string) bool {
	f, _ := schema.TypeOf(reflect.TypeFor[container.Config]()).Lookup(key)
	return guest.IsUnused(key) || f != nil && f.Tag.Get("hotplug") == "fast"
}

// plug makes changes hold in a running container.
func (s *Service) plug(ctx context.Context, vmid id.VM, doc *config.Doc, keys []string) error {
	failed := s.apply(ctx, vmid, doc, func(key string) bool { return slices.Contains(keys, key) && needsNothing(key) })
	if p := plan.From(ctx); p != nil {
		p.Stepf("change CT %d as it runs, as far as it takes: %s", vmid, strings.Join(keys, " "))
		return failed
	}
	if s.Plugger == nil {
		return failed
	}
	faults, err := s.Plugger.Plug(ctx, vmid, doc, keys)
	if len(faults) > 0 {
		err = errors.Join(err, api.ParamError(faults))
	}
	return errors.Join(failed, err)
}
