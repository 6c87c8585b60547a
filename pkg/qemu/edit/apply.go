package edit

import (
	"context"
	"maps"
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Apply makes all pending changes of a VM that is off hold in doc, which the caller
// saves. What cannot hold stays pending, and is told.
func (s *Service) Apply(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	faults := schema.Faults{}
	fail := func(key string, err error) {
		faults[key] = "unable to apply pending change " + key + " : " + err.Error()
	}
	deletes := guest.PendingDeletes(doc)
	for _, key := range slices.Sorted(maps.Keys(deletes)) {
		if _, set := doc.Values[key]; set && qemu.KindOfDrive(key)&qemu.Volumes != 0 {
			if err := s.remove(ctx, vmid, doc, key, deletes[key]); err != nil {
				fail(key, err)
				continue
			}
		}
		delete(doc.Values, key)
		guest.Revert(doc, key)
	}
	guest.CleanPending(doc)
	for _, key := range sorted(doc.Pending) {
		if key == "delete" {
			continue
		}
		if err := s.replace(ctx, vmid, doc, key); err != nil {
			fail(key, err)
			continue
		}
		doc.Values[key] = doc.Pending[key]
		delete(doc.Pending, key)
	}
	if len(faults) > 0 {
		return api.ParamError(faults)
	}
	return nil
}

// replace lets go of the volume of a drive that another one takes the place of.
func (s *Service) replace(ctx context.Context, vmid id.VM, doc *config.Doc, key string) error {
	old, err := qemu.ParseDrive(key, doc.Values[key])
	if err != nil {
		return nil //nolint:nilerr // there was none
	}
	if next, err := qemu.ParseDrive(key, doc.Pending[key]); err == nil && next.File == old.File {
		return nil
	}
	return s.Detach(ctx, vmid, doc, old)
}
