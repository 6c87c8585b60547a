package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/cloudinit"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

func (s *Service) cloudInitMethods() []api.Method {
	method := func(name, verb, more, doc string, p api.Permissions) api.Method {
		return api.Method{
			Name: name, Verb: verb, Path: "/nodes/{node}/qemu/{vmid}/cloudinit" + more, Doc: doc,
			ProxyTo: "node", Protected: verb != "GET", Permissions: p,
		}
	}
	return []api.Method{
		api.New(method("cloudinit_generated_config_dump", "GET", "/dump", "Show what cloud-init is told.", auditVM()), s.dumpCloudInit),
		api.New(method("cloudinit_pending", "GET", "", "Show what is on the cloud-init drive beside what will be.", auditVM()), s.cloudInitChanges),
		api.New(method("cloudinit_update", "PUT", "", "Write the cloud-init drive again.", onVM("VM.Config.Cloudinit")), s.updateCloudInit),
	}
}

type dumpRequest struct {
	target
	Type string `pve:"type" doc:"Part to show." enum:"user|network|meta"`
}

func (s *Service) dumpCloudInit(ctx context.Context, req dumpRequest) (string, error) {
	doc, err := s.VMs.Load(ctx, req.VMID)
	if err != nil {
		return "", err
	}
	resolver, err := os.ReadFile(filepath.Join(s.VMs.Root, "etc/resolv.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return cloudinit.Guest{ID: req.VMID, Config: vm.Typed(doc.Values), Resolver: string(resolver)}.Dump(req.Type)
}

func (s *Service) cloudInitChanges(ctx context.Context, req target) ([]cloudinit.Change, error) {
	doc, err := s.VMs.Load(ctx, req.VMID)
	if err != nil {
		return nil, err
	}
	return cloudinit.Changes(doc), nil
}

func (s *Service) updateCloudInit(ctx context.Context, req target) (nothing, error) {
	if err := s.Edit.WriteCloudInit(ctx, req.VMID); err != nil {
		return nothing{}, fmt.Errorf("VM %d: %w", req.VMID, err)
	}
	return nothing{}, nil
}
