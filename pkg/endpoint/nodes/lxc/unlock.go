package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
)

func (s *Service) unlockMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Tool: tool, Name: "unlock", Doc: "Take the lock out of the configuration of a container."}, s.unlock),
	}
}

func (s *Service) unlock(ctx context.Context, req local) (nothing, error) {
	return nothing{}, s.CTs.Change(ctx, req.VMID, "unlock", func(_ context.Context, doc *config.Doc) error {
		return guest.RemoveLock(doc, "")
	})
}
