package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/edit"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func (s *Service) updateMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "update_vm", Verb: "PUT", Path: "/nodes/{node}/lxc/{vmid}/config",
			Doc: "Change the configuration of a container.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Described: true, Check: api.AnyPerm("/vms/{vmid}",
				"VM.Config.Disk", "VM.Config.CPU", "VM.Config.Memory", "VM.Config.Network", "VM.Config.Options")},
		}, s.update),
	}
}

type updateRequest struct {
	target
	settings
	Delete *string `pve:"delete" doc:"Options to delete." format:"pve-configid-list"`
	Digest *string `pve:"digest" doc:"Refuse the change where the file has another SHA-1 digest." maxlen:"40"`
	Revert *string `pve:"revert" doc:"Options whose pending change is forgotten." format:"pve-configid-list"`
}

func (s *Service) update(ctx context.Context, req updateRequest) (nothing, error) {
	return nothing{}, s.Edit.Update(ctx, edit.Update{
		VM: req.VMID, Values: req.options(), Delete: schema.SplitList(value(req.Delete)),
		Revert: schema.SplitList(value(req.Revert)), Digest: req.Digest,
	})
}
