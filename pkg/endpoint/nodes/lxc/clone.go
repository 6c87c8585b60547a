package lxc

import (
	"context"
	"math"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/clone"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) cloneMethods() []api.Method {
	mayAllocate := api.Or(api.Perm("/vms/{newid}", "VM.Allocate"), append(api.Perm("/pool/{pool}", "VM.Allocate"), "require_param", "pool"))
	return []api.Method{
		api.NewTask(api.Method{
			Name: "clone_vm", Verb: "POST", Path: "/nodes/{node}/lxc/{vmid}/clone",
			Doc: "Make a container after another one or a template.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.And(api.Perm("/vms/{vmid}", "VM.Clone"), mayAllocate), Described: true},
		}, s.prepareClone, s.clone),
	}
}

type cloneRequest struct {
	target
	BWLimit     *float64     `pve:"bwlimit" doc:"Most bandwidth for copying volumes, in KiB/s." min:"0"`
	Description *string      `pve:"description" doc:"Notes about the new container."`
	Full        *bool        `pve:"full" doc:"Copy all volumes; without it templates are cloned linked."`
	Hostname    *string      `pve:"hostname" doc:"Host name of the new container." format:"dns-name"`
	NewID       id.VM        `pve:"newid" doc:"Number of the new container."`
	Pool        *string      `pve:"pool" doc:"Pool that the new container becomes a member of." format:"pve-poolid"`
	SnapName    *id.Snapshot `pve:"snapname" doc:"Snapshot to clone instead of the present state."`
	Storage     *id.Storage  `pve:"storage" doc:"Storage of the new volumes; only of a full clone."`
	Target      *id.Node     `pve:"target" doc:"Node of the new container; all volumes must be on shared storage."`
}

func (r cloneRequest) options() clone.Options {
	var limit *int
	if r.BWLimit != nil {
		limit = new(int(math.Ceil(*r.BWLimit)))
	}
	return clone.Options{
		VM: r.VMID, New: r.NewID, Hostname: value(r.Hostname), Description: value(r.Description), Snapshot: value(r.SnapName),
		Full: r.Full, Storage: value(r.Storage), Pool: value(r.Pool), Target: value(r.Target), BWLimit: limit,
	}
}

func (s *Service) prepareClone(ctx context.Context, req cloneRequest) (api.Job, error) {
	return req.job("vzclone"), s.Clones.Check(ctx, req.options())
}

func (s *Service) clone(ctx context.Context, req cloneRequest) error {
	return s.Clones.Clone(ctx, req.options())
}
