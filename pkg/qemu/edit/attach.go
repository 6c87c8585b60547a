package edit

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Attach gives a VM, whose lock the caller holds, an option that is known to be right,
// and makes it hold as far as that is possible.
func (s *Service) Attach(ctx context.Context, vmid id.VM, doc *config.Doc, key, value string) error {
	guest.AddPending(doc, key, value)
	if err := s.Save(ctx, vmid, doc); err != nil {
		return err
	}
	return s.settlePending(ctx, vmid, []string{key})
}
