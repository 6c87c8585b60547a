package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/clone"
)

func (s *Service) cloneMethods() []api.Method {
	mayAllocate := api.Or(api.Perm("/vms/{newid}", "VM.Allocate"), append(api.Perm("/pool/{pool}", "VM.Allocate"), "require_param", "pool"))
	return []api.Method{
		api.NewTask(api.Method{
			Name: "clone_vm", Verb: "POST", Path: "/nodes/{node}/qemu/{vmid}/clone",
			Doc: "Make a VM after another VM or template.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.And(api.Perm("/vms/{vmid}", "VM.Clone"), mayAllocate), Described: true},
		}, s.prepareClone, s.clone),
	}
}

type cloneRequest struct {
	target
	BWLimit     *int         `pve:"bwlimit" doc:"Most bandwidth for copying disks, in KiB/s." min:"0"`
	Description *string      `pve:"description" doc:"Notes about the new VM."`
	Format      *string      `pve:"format" doc:"Format of the new disks; only of a full clone." enum:"raw|qcow2|vmdk"`
	Full        *bool        `pve:"full" doc:"Copy all disks; without it templates are cloned linked."`
	Name        *string      `pve:"name" doc:"Name of the new VM." format:"dns-name"`
	NewID       id.VM        `pve:"newid" doc:"Number of the new VM."`
	Pool        *string      `pve:"pool" doc:"Pool that the new VM becomes a member of." format:"pve-poolid"`
	SnapName    *id.Snapshot `pve:"snapname" doc:"Snapshot to clone instead of the present state."`
	Storage     *id.Storage  `pve:"storage" doc:"Storage of the new disks; only of a full clone."`
	Target      *id.Node     `pve:"target" doc:"Node of the new VM; all disks must be on shared storage."`
}

func (r cloneRequest) options() clone.Options {
	return clone.Options{
		VM: r.VMID, New: r.NewID, Name: value(r.Name), Description: value(r.Description), Snapshot: value(r.SnapName), Full: r.Full,
		Storage: value(r.Storage), Format: value(r.Format), Pool: value(r.Pool), Target: value(r.Target), BWLimit: r.BWLimit,
	}
}

func (s *Service) cloner() *clone.Service {
	return &clone.Service{Service: s.Edit.Disks, Random: s.Edit.Random}
}

func (s *Service) prepareClone(ctx context.Context, req cloneRequest) (api.Job, error) {
	return req.job("qmclone"), s.cloner().Check(ctx, req.options())
}

func (s *Service) clone(ctx context.Context, req cloneRequest) error {
	return s.cloner().Clone(ctx, req.options())
}
