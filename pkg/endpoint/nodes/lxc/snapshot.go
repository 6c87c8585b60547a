package lxc

import (
	"context"
	"fmt"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container/snapshot"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

const snapshotPath = "/nodes/{node}/lxc/{vmid}/snapshot"

func (s *Service) snapshotMethods() []api.Method {
	back := api.Permissions{Check: api.AnyPerm("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback")}
	look := api.Permissions{Check: api.AnyPerm("/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit")}
	return []api.Method{
		api.NewTask(api.Method{
			Name: "snapshot", Verb: "POST", Path: snapshotPath,
			Doc: "Take a snapshot of a container.", ProxyTo: "node", Protected: true, Permissions: onCT("VM.Snapshot"),
		}, s.prepareSnapshot, s.snapshot),
		api.New(api.Method{
			Name: "snapshot_cmd_idx", Verb: "GET", Path: snapshotPath + "/{snapname}",
			Doc: "List what can be done with a snapshot.", Permissions: api.Permissions{User: "all"},
		}, s.snapshotIndex),
		api.NewTask(api.Method{
			Name: "delsnapshot", Verb: "DELETE", Path: snapshotPath + "/{snapname}",
			Doc: "Remove a snapshot of a container.", ProxyTo: "node", Protected: true, Permissions: onCT("VM.Snapshot"),
		}, s.prepareDeleteSnapshot, s.deleteSnapshot),
		api.New(api.Method{
			Name: "get_snapshot_config", Verb: "GET", Path: snapshotPath + "/{snapname}/config",
			Doc: "Show the configuration that a snapshot keeps.", ProxyTo: "node", Permissions: look,
		}, s.snapshotConfig),
		api.New(api.Method{
			Name: "update_snapshot_config", Verb: "PUT", Path: snapshotPath + "/{snapname}/config",
			Doc: "Change the note on a snapshot.", ProxyTo: "node", Protected: true, Permissions: onCT("VM.Snapshot"),
		}, s.describeSnapshot),
		api.NewTask(api.Method{
			Name: "rollback", Verb: "POST", Path: snapshotPath + "/{snapname}/rollback",
			Doc: "Make a container what it was when a snapshot was taken.", ProxyTo: "node", Protected: true, Permissions: back,
		}, s.prepareRollback, s.rollback),
	}
}

// snapshotService does the work.
func (s *Service) snapshotService() *snapshot.Service {
	return &snapshot.Service{Host: s.CTs, Volumes: s.Volumes, Stop: s.Power.StopLocked, Start: s.StartCT}
}

// snapshotTarget names a snapshot of a container.
type snapshotTarget struct {
	target
	Name id.Snapshot `pve:"snapname" doc:"Name of the snapshot."`
}

type snapshotRequest struct {
	snapshotTarget
	Description *string `pve:"description" doc:"A note on it."`
}

func (s *Service) prepareSnapshot(ctx context.Context, req snapshotRequest) (api.Job, error) {
	switch req.Name {
	case "current", "pending", "vzdump": // what holds now, sections of the file, and what backups make, are called so
		return api.Job{}, fmt.Errorf("unable to use snapshot name '%s' (reserved name)", req.Name)
	}
	return req.job("vzsnapshot"), s.configured(ctx, req.VMID)
}

func (s *Service) snapshot(ctx context.Context, req snapshotRequest) error {
	note := ""
	if req.Description != nil {
		note = *req.Description
	}
	return inOneLine(s.snapshotService().Create(ctx, req.VMID, string(req.Name), note))
}

// inOneLine makes an error fit the end of a task: a snapshot that was not taken ends its own with
// an empty line.
func inOneLine(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	return storage.Told(strings.ReplaceAll(err.Error(), "\n", " "), err)
}

// configured tells whether the container is on this node.
func (s *Service) configured(ctx context.Context, vmid id.VM) error {
	_, err := s.CTs.Cluster.ReadGuest(ctx, cluster.Container, vmid)
	return err
}

// child is one step below a path.
type child struct {
	Cmd string `pve:"cmd" doc:"The last part of the path."`
}

func (s *Service) snapshotIndex(context.Context, snapshotTarget) ([]child, error) {
	return []child{{"config"}, {"rollback"}}, nil
}

type deleteSnapshotRequest struct {
	snapshotTarget
	Force *bool `pve:"force" doc:"Forget it also where its volumes cannot be cleaned up."`
}

func (s *Service) prepareDeleteSnapshot(ctx context.Context, req deleteSnapshotRequest) (api.Job, error) {
	return req.job("vzdelsnapshot"), s.configured(ctx, req.VMID)
}

func (s *Service) deleteSnapshot(ctx context.Context, req deleteSnapshotRequest) error {
	return s.snapshotService().Delete(ctx, req.VMID, string(req.Name), is(req.Force))
}

func (s *Service) snapshotConfig(ctx context.Context, req snapshotTarget) (configReply, error) {
	var none configReply
	doc, err := s.CTs.Load(ctx, req.VMID)
	if err != nil {
		return none, err
	}
	snap, err := guest.Snapshot(doc, string(req.Name))
	if err != nil {
		return none, err
	}
	return reply(snap), nil
}

type describeSnapshotRequest struct {
	snapshotTarget
	Description *string `pve:"description" doc:"The new note."`
}

func (s *Service) describeSnapshot(ctx context.Context, req describeSnapshotRequest) (nothing, error) {
	return nothing{}, s.snapshotService().Describe(ctx, req.VMID, string(req.Name), req.Description)
}

type rollbackRequest struct {
	snapshotTarget
	Start *bool `pve:"start" doc:"Start the container afterwards, where it does not run by itself." default:"0"`
}

func (s *Service) prepareRollback(ctx context.Context, req rollbackRequest) (api.Job, error) {
	return req.job("vzrollback"), s.configured(ctx, req.VMID)
}

func (s *Service) rollback(ctx context.Context, req rollbackRequest) error {
	return s.snapshotService().Rollback(ctx, req.VMID, string(req.Name), is(req.Start))
}
