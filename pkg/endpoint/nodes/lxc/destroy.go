package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/destroy"
)

func (s *Service) destroyMethods() []api.Method {
	return []api.Method{
		api.NewTask(api.Method{
			Name: "destroy_vm", Verb: "DELETE", Path: "/nodes/{node}/lxc/{vmid}",
			Doc: "Destroy a container and its volumes.", ProxyTo: "node", Protected: true, Permissions: onCT("VM.Allocate"),
		}, s.prepareDestroy, s.destroy),
	}
}

type destroyRequest struct {
	target
	Unreferenced *bool `pve:"destroy-unreferenced-disks" doc:"Also destroy volumes that are the container's only by name."`
	Force        *bool `pve:"force" doc:"Stop a container that runs, and destroy it." default:"0"`
	Purge        *bool `pve:"purge" doc:"Also remove the container from jobs and from high availability." default:"0"`
}

func (r destroyRequest) options() destroy.Options {
	return destroy.Options{VM: r.VMID, Force: is(r.Force), Purge: is(r.Purge), Unreferenced: is(r.Unreferenced)}
}

func (s *Service) prepareDestroy(ctx context.Context, req destroyRequest) (api.Job, error) {
	return req.job("vzdestroy"), s.Destroyer.Check(ctx, req.options())
}

func (s *Service) destroy(ctx context.Context, req destroyRequest) error {
	return s.Destroyer.Destroy(ctx, req.options())
}
