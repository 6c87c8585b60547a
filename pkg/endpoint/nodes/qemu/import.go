package qemu

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/qemu/imports"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

func (s *Service) importMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "importovf", Doc: "Make a VM of the manifest that another hypervisor has written."}, s.importOVF),
		api.New(api.Method{Name: "vm_import", Doc: "Make a VM of what lies on an import storage."}, s.importVM),
	}
}

type importOVFRequest struct {
	local
	DryRun   *bool      `pve:"dryrun" doc:"Show what the manifest says, and make nothing."`
	Format   *string    `pve:"format" doc:"Format of the new disks." enum:"raw|qcow2|vmdk"`
	Manifest string     `pve:"manifest" doc:"Path of the manifest."`
	Storage  id.Storage `pve:"storage"`
}

func (s *Service) importOVF(ctx context.Context, req importOVFRequest) (nothing, error) {
	m, err := imports.Read(ctx, s.VMs.Storage, req.Manifest)
	if err != nil {
		return nothing{}, err
	}
	if is(req.DryRun) {
		return nothing{}, show(ctx, m)
	}
	return nothing{}, s.createFrom(ctx, req.VMID, imports.Options(m, req.Storage, value(req.Format)))
}

// show prints what was read.
func show(ctx context.Context, v any) error {
	text, err := json.MarshalIndent(v, "", "   ")
	if err != nil {
		return err
	}
	api.Printf(ctx, "%s\n", text)
	return nil
}

// createFrom makes a VM with the options given.
func (s *Service) createFrom(ctx context.Context, vmid id.VM, values schema.Params) error {
	c := edit.Creation{VM: vmid, Values: values}
	if err := s.Edit.CheckCreate(ctx, c); err != nil {
		return err
	}
	return s.Edit.Create(ctx, c)
}

type importVMRequest struct {
	local
	settings
	Delete  *string    `pve:"delete" doc:"Options of the source to leave out." format:"pve-configid-list"`
	DryRun  *bool      `pve:"dryrun" doc:"Show the options that the VM would have, and make nothing." default:"0"`
	Format  *string    `pve:"format" doc:"Format of the new disks." enum:"raw|qcow2|vmdk"`
	Source  string     `pve:"source" doc:"Volume to import."`
	Storage id.Storage `pve:"storage"`
}

func (s *Service) importVM(ctx context.Context, req importVMRequest) (nothing, error) {
	m, err := imports.ReadVolume(ctx, s.VMs.Storage, req.Source)
	if err != nil {
		return nothing{}, err
	}
	values := imports.Options(m, req.Storage, value(req.Format))
	for _, key := range schema.SplitList(value(req.Delete)) {
		delete(values, key)
	}
	maps.Copy(values, req.options())
	if is(req.DryRun) {
		return nothing{}, show(ctx, values)
	}
	return nothing{}, s.createFrom(ctx, req.VMID, values)
}
