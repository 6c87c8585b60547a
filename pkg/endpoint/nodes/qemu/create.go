package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
)

func (s *Service) createMethods() []api.Method {
	return []api.Method{
		api.NewTask(api.Method{
			Name: "create_vm", Verb: "POST", Path: "/nodes/{node}/qemu",
			Doc: "Create a VM.", ProxyTo: "node", Protected: true, Permissions: api.Permissions{User: "all", Described: true},
		}, s.prepareCreate, s.create),
	}
}

type createRequest struct {
	target
	settings
	BWLimit *int        `pve:"bwlimit" doc:"Most bandwidth for copying images, in KiB/s." min:"0"`
	Pool    *string     `pve:"pool" doc:"Pool that the VM becomes a member of." format:"pve-poolid"`
	Start   *bool       `pve:"start" doc:"Start the VM once it is created." default:"0"`
	Storage *id.Storage `pve:"storage" doc:"Storage for new disks that do not name one."`
}

func (r createRequest) creation() edit.Creation {
	return edit.Creation{
		VM: r.VMID, Values: r.options(), Storage: value(r.Storage),
		BWLimit: r.BWLimit, Pool: value(r.Pool), Start: is(r.Start),
	}
}

// value returns what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (s *Service) prepareCreate(ctx context.Context, req createRequest) (api.Job, error) {
	return req.job("qmcreate"), s.Edit.CheckCreate(ctx, req.creation())
}

func (s *Service) create(ctx context.Context, req createRequest) error {
	return s.Edit.Create(ctx, req.creation())
}
