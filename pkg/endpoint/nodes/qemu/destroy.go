package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/destroy"
)

func (s *Service) destroyMethods() []api.Method {
	return []api.Method{
		api.NewTask(api.Method{
			Name: "destroy_vm", Verb: "DELETE", Path: "/nodes/{node}/qemu/{vmid}",
			Doc: "Destroy a VM and its volumes.", ProxyTo: "node", Protected: true, Permissions: onVM("VM.Allocate"),
		}, s.prepareDestroy, s.destroy),
	}
}

type destroyRequest struct {
	target
	Unreferenced *bool `pve:"destroy-unreferenced-disks" doc:"Also destroy volumes that are the VM's only by name." default:"0"`
	Purge        *bool `pve:"purge" doc:"Also remove the VM from jobs and from high availability."`
	SkipLock     *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (r destroyRequest) options() destroy.Options {
	return destroy.Options{VM: r.VMID, Purge: is(r.Purge), Unreferenced: is(r.Unreferenced), SkipLock: is(r.SkipLock)}
}

func (s *Service) prepareDestroy(ctx context.Context, req destroyRequest) (api.Job, error) {
	return req.job("qmdestroy"), (&destroy.Service{Host: s.VMs}).Check(ctx, req.options())
}

func (s *Service) destroy(ctx context.Context, req destroyRequest) error {
	return (&destroy.Service{Host: s.VMs}).Destroy(ctx, req.options())
}
