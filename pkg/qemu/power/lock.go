package power

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

func isTemplate(doc *config.Doc) bool { return guest.IsTemplate(doc) }

func checkLock(doc *config.Doc) error { return guest.CheckLock(cluster.VM, doc) }

// Unlock takes the lock out of the configuration of a VM.
func (s *Service) Unlock(ctx context.Context, vmid id.VM) error {
	return s.Change(ctx, vmid, "unlock of VM "+vmid.String(), func(_ context.Context, doc *config.Doc) error {
		if doc.Values["lock"] == "" {
			return vm.ErrUnchanged
		}
		delete(doc.Values, "lock")
		return nil
	})
}

// applyPending makes the changes hold that have waited for this start. A VM that goes
// on from a saved state stays as it was.
func (s *Service) applyPending(ctx context.Context, b *boot) error {
	if b.resumes || b.State != "" {
		return nil
	}
	if err := s.forgetStale(ctx, b.vm, b.doc); err != nil {
		return err
	}
	if len(b.doc.Pending) == 0 {
		return nil
	}
	if err := s.ApplyPending(ctx, b.vm, b.doc); err != nil {
		return err
	}
	return s.Save(ctx, b.vm, b.doc)
}
