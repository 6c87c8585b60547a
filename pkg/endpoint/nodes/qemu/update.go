package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func (s *Service) updateMethods() []api.Method {
	method := func(name, verb, doc string) api.Method {
		return api.Method{
			Name: name, Verb: verb, Path: "/nodes/{node}/qemu/{vmid}/config", Doc: doc, ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.AnyPerm("/vms/{vmid}",
				"VM.Config.Disk", "VM.Config.CDROM", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.HWType",
				"VM.Config.Options", "VM.Config.Cloudinit")},
		}
	}
	return []api.Method{
		api.New(method("update_vm", "PUT", "Change the configuration of a VM, and wait for it."), s.update),
		api.NewTask(method("update_vm_async", "POST", "Change the configuration of a VM in a task."), s.prepareUpdate, s.updateTask),
	}
}

type updateRequest struct {
	target
	settings
	Delete   *string `pve:"delete" doc:"Options to delete." format:"pve-configid-list"`
	Digest   *string `pve:"digest" doc:"Refuse the change where the file has another SHA-1 digest." maxlen:"40"`
	Force    *bool   `pve:"force" doc:"Destroy the volumes of deleted drives instead of keeping them as unused." requires:"delete"`
	Revert   *string `pve:"revert" doc:"Options whose pending change is forgotten." format:"pve-configid-list"`
	SkipLock *bool   `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (r updateRequest) update() edit.Update {
	return edit.Update{
		VM: r.VMID, Values: r.options(), Delete: schema.SplitList(value(r.Delete)), Revert: schema.SplitList(value(r.Revert)),
		Force: is(r.Force), SkipLock: is(r.SkipLock), Digest: r.Digest, Given: schema.Params(r.Given),
	}
}

func (s *Service) update(ctx context.Context, req updateRequest) (nothing, error) {
	return nothing{}, s.Edit.Update(ctx, req.update())
}

func (s *Service) prepareUpdate(ctx context.Context, req updateRequest) (api.Job, error) {
	return req.job("qmconfig"), s.Edit.CheckUpdate(ctx, req.update())
}

func (s *Service) updateTask(ctx context.Context, req updateRequest) error {
	return s.Edit.Update(ctx, req.update())
}
