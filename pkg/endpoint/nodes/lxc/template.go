package lxc

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
)

func (s *Service) templateMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "template", Verb: "POST", Path: "/nodes/{node}/lxc/{vmid}/template",
			Doc: "Make a template of a container.", ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.Perm("/vms/{vmid}", "VM.Allocate"), Described: true},
		}, s.template),
	}
}

func (s *Service) template(ctx context.Context, req target) (nothing, error) {
	if err := s.Volumes.CheckTemplate(ctx, req.VMID); err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Volumes.Template(ctx, req.VMID)
}
