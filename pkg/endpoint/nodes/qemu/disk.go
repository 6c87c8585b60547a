package qemu

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// diskKey is an option that holds a disk in use.
type diskKey string

// Describe lists the options.
func (diskKey) Describe(s *schema.Schema) {
	s.Type, s.Enum = "string", qemu.DriveKeys(qemu.Volumes)
}

// anyDiskKey is an option that holds a disk, in use or not.
type anyDiskKey string

// Describe lists the options.
func (anyDiskKey) Describe(s *schema.Schema) {
	s.Type, s.Enum = "string", qemu.DriveKeys(qemu.AllDrives)
}

func (s *Service) diskMethods() []api.Method {
	method := func(name, verb, path, doc string) api.Method {
		return api.Method{
			Name: name, Verb: verb, Path: "/nodes/{node}/qemu/{vmid}/" + path, Doc: doc, ProxyTo: "node", Protected: true,
			Permissions: onVM("VM.Config.Disk"),
		}
	}
	move := method("move_vm_disk", "POST", "move_disk", "Move a disk to another storage, or to another VM.")
	move.Permissions.Described = true
	return []api.Method{
		api.NewTask(move, s.prepareMove, s.move),
		api.NewTask(method("resize_vm", "PUT", "resize", "Make a disk larger."), s.prepareResize, s.resize),
		api.New(method("unlink", "PUT", "unlink", "Detach disks, or destroy them."), s.unlink),
		api.New(api.Method{Name: "rescan", Doc: "Look for changed sizes, and for disks that no VM names."}, s.rescan),
		api.New(api.Method{Name: "importdisk", Doc: "Import an image as a disk of a VM."}, s.importDisk),
	}
}

type moveRequest struct {
	target
	BWLimit      *int        `pve:"bwlimit" doc:"Most bandwidth for the copy, in KiB/s." min:"0"`
	Delete       *bool       `pve:"delete" doc:"Remove the source once it is copied, instead of keeping it unused." default:"0"`
	Digest       *string     `pve:"digest" doc:"Refuse where the file has another SHA-1 digest." maxlen:"40"`
	Disk         anyDiskKey  `pve:"disk" doc:"Disk to move."`
	Format       *string     `pve:"format" doc:"Format that the disk gets." enum:"raw|qcow2|vmdk"`
	Storage      *id.Storage `pve:"storage" doc:"Storage to move to."`
	TargetDigest *string     `pve:"target-digest" doc:"Refuse where the other VM's file has another SHA-1 digest." maxlen:"40"`
	TargetDisk   *anyDiskKey `pve:"target-disk" doc:"Option of the other VM that gets the disk; the same one without."`
	TargetVMID   *id.VM      `pve:"target-vmid" doc:"VM that the disk goes to."`
}

func (r moveRequest) toStorage() disks.Move {
	return disks.Move{
		VM: r.VMID, Key: string(r.Disk), Storage: value(r.Storage), Format: value(r.Format), Delete: is(r.Delete),
		Digest: r.Digest, BWLimit: r.BWLimit,
	}
}

func (s *Service) toVM(r moveRequest) disks.Reassign {
	key := r.Disk
	if r.TargetDisk != nil {
		key = *r.TargetDisk
	}
	return disks.Reassign{
		VM: r.VMID, Key: string(r.Disk), Target: *r.TargetVMID, TargetKey: string(key), Digest: r.Digest, TargetDigest: r.TargetDigest,
		Attach: func(ctx context.Context, vmid id.VM, key, text string) error {
			values := schema.Params{key: text}
			return s.Edit.Update(ctx, edit.Update{VM: vmid, Values: values, Given: values})
		},
	}
}

func (s *Service) prepareMove(ctx context.Context, req moveRequest) (api.Job, error) {
	both := func(text string) error { return api.ParamError(schema.Faults{"storage": text, "target-vmid": text}) }
	switch {
	case req.TargetVMID != nil && req.Storage != nil:
		return api.Job{}, both("either set 'storage' or 'target-vmid', but not both")
	case req.TargetVMID != nil:
		to := s.toVM(req)
		name := fmt.Sprintf("%s-%s>%s-%s", to.VM, to.Key, to.Target, to.TargetKey)
		return api.Job{Type: "qmmove", ID: name}, s.Edit.Disks.CheckReassign(ctx, to)
	case req.Storage != nil:
		return req.job("qmmove"), s.Edit.Disks.CheckMove(ctx, req.toStorage())
	}
	return api.Job{}, both("both 'storage' and 'target-vmid' missing, either needs to be set")
}

func (s *Service) move(ctx context.Context, req moveRequest) error {
	if req.TargetVMID != nil {
		return s.Edit.Disks.Reassign(ctx, s.toVM(req))
	}
	return s.Edit.Disks.Move(ctx, req.toStorage())
}

type resizeRequest struct {
	target
	Digest   *string `pve:"digest" doc:"Refuse where the file has another SHA-1 digest." maxlen:"40"`
	Disk     diskKey `pve:"disk" doc:"Disk to make larger."`
	Size     string  `pve:"size" doc:"New size, or with + in front how much to add; disks do not shrink." pattern:"\\+?\\d+(\\.\\d+)?[KMGT]?"`
	SkipLock *bool   `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (s *Service) prepareResize(_ context.Context, req resizeRequest) (api.Job, error) {
	return req.job("resize"), nil
}

func (s *Service) resize(ctx context.Context, req resizeRequest) error {
	return s.Edit.Disks.Resize(ctx, disks.Resize{
		VM: req.VMID, Key: string(req.Disk), Size: req.Size, Digest: req.Digest, SkipLock: is(req.SkipLock),
	})
}

type unlinkRequest struct {
	target
	Force  *bool  `pve:"force" doc:"Destroy what would else become an unused disk."`
	IDList string `pve:"idlist" doc:"Options of the disks." format:"pve-configid-list"`
}

func (s *Service) unlink(ctx context.Context, req unlinkRequest) (nothing, error) {
	given := schema.Params{"delete": req.IDList}
	if is(req.Force) {
		given["force"] = "1"
	}
	return nothing{}, s.Edit.Update(ctx, edit.Update{
		VM: req.VMID, Delete: schema.SplitList(req.IDList), Force: is(req.Force), Given: given,
	})
}

type rescanRequest struct {
	DryRun *bool  `pve:"dryrun" doc:"Say what would change, and change nothing." default:"0"`
	VMID   *id.VM `pve:"vmid" doc:"VM to look at; all without one."`
}

func (s *Service) rescan(ctx context.Context, req rescanRequest) (nothing, error) {
	return nothing{}, s.Edit.Disks.Rescan(ctx, value(req.VMID), is(req.DryRun))
}

type importDiskRequest struct {
	local
	Format     *string     `pve:"format" doc:"Format that the disk gets." enum:"raw|qcow2|vmdk"`
	Source     string      `pve:"source" doc:"Path of the image."`
	Storage    id.Storage  `pve:"storage"`
	TargetDisk *anyDiskKey `pve:"target-disk" doc:"Option that gets the disk; an unused one without."`
}

func (s *Service) importDisk(ctx context.Context, req importDiskRequest) (nothing, error) {
	return nothing{}, s.Edit.Disks.Import(ctx, disks.Import{
		VM: req.VMID, Source: req.Source, Storage: req.Storage, Format: value(req.Format), Key: string(value(req.TargetDisk)),
		Attach: s.Edit.Attach,
	})
}
