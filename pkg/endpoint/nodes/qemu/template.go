package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
)

func (s *Service) templateMethods() []api.Method {
	return []api.Method{
		api.NewTask(api.Method{
			Name: "template", Verb: "POST", Path: "/nodes/{node}/qemu/{vmid}/template",
			Doc: "Make a template of a VM.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.Perm("/vms/{vmid}", "VM.Allocate"), Described: true},
		}, s.prepareTemplate, s.template),
	}
}

type templateRequest struct {
	target
	Disk *diskKey `pve:"disk" doc:"Make a base of this disk only."`
}

func (s *Service) prepareTemplate(ctx context.Context, req templateRequest) (api.Job, error) {
	return req.job("qmtemplate"), s.Edit.Disks.CheckTemplate(ctx, req.VMID, string(value(req.Disk)))
}

func (s *Service) template(ctx context.Context, req templateRequest) error {
	return s.Edit.Disks.Template(ctx, req.VMID, string(value(req.Disk)))
}
