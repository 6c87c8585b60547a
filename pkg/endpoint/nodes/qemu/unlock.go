package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
)

func (s *Service) unlockMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "unlock", Doc: "Take the lock out of the configuration of a VM."}, s.unlock),
	}
}

func (s *Service) unlock(ctx context.Context, req local) (nothing, error) {
	return nothing{}, s.Power.Unlock(ctx, req.VMID)
}
