package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/efivars"
)

func (s *Service) efiMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "enroll-efi-keys", Doc: "Enroll Microsoft's certificates of 2023 on the EFI disk of a stopped VM."}, s.enrollEFIKeys),
	}
}

func (s *Service) enrollEFIKeys(ctx context.Context, req local) (nothing, error) {
	return nothing{}, efivars.Enroll(ctx, s.VMs, req.VMID)
}
