package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
)

func (s *Service) mountMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Tool: tool, Name: "mount", Doc: "Mount a container on the host, which locks it."}, s.mount),
		api.New(api.Method{Tool: tool, Name: "unmount", Doc: "Unmount a container that was mounted on the host."}, s.unmount),
	}
}

func (s *Service) mount(ctx context.Context, req local) (nothing, error) {
	return nothing{}, s.Volumes.Mount(ctx, req.VMID)
}

func (s *Service) unmount(ctx context.Context, req local) (nothing, error) {
	return nothing{}, s.Volumes.Unmount(ctx, req.VMID)
}
