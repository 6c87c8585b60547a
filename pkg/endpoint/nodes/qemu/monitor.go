package qemu

import (
	"context"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
)

func (s *Service) monitorMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{
			Name: "vm_sendkey", Verb: "PUT", Path: "/nodes/{node}/qemu/{vmid}/sendkey", Doc: "Press keys on the keyboard of a VM.",
			ProxyTo: "node", Protected: true, Permissions: onVM("VM.Console"),
		}, s.sendKey),
		api.New(api.Method{
			Name: "monitor", Verb: "POST", Path: "/nodes/{node}/qemu/{vmid}/monitor", Doc: "Run a command of the monitor of a VM.",
			ProxyTo: "node", Protected: true,
			Permissions: api.Permissions{Check: api.AnyPerm("/vms/{vmid}", "Sys.Audit", "Sys.Modify"), Described: true},
		}, s.monitorCommand),
		api.New(api.Method{Name: "showcmd", Doc: "Show the command line that a VM is started with.", ReadOnly: true}, s.showCommand),
		api.New(api.Method{Name: "wait", Doc: "Wait until a VM has stopped.", ReadOnly: true}, s.wait),
		api.New(api.Method{Name: "cleanup", Doc: "Clear up after a VM that has stopped."}, s.cleanup),
	}
}

type sendKeyRequest struct {
	target
	Key      string `pve:"key" doc:"Keys to press at once, joined by -, as QEMU names them."`
	SkipLock *bool  `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (s *Service) sendKey(ctx context.Context, req sendKeyRequest) (nothing, error) {
	if err := s.exists(ctx, req.VMID); err != nil {
		return nothing{}, err
	}
	return nothing{}, s.Power.SendKey(ctx, req.VMID, req.Key)
}

type monitorRequest struct {
	target
	Command string `pve:"command" doc:"Line to give the monitor."`
}

func (s *Service) monitorCommand(ctx context.Context, req monitorRequest) (string, error) {
	if err := s.runs(ctx, req.VMID); err != nil {
		return "ERROR: " + err.Error(), nil
	}
	said, err := s.Power.HMP(ctx, req.VMID, req.Command)
	if err != nil {
		return "ERROR: " + err.Error(), nil // the answer of a monitor, whatever it is
	}
	return said, nil
}

type showRequest struct {
	local
	Pretty   *bool        `pve:"pretty" doc:"Put each option on a line of its own." default:"0"`
	Snapshot *id.Snapshot `pve:"snapshot" doc:"Show the command line of this snapshot."`
}

func (s *Service) showCommand(ctx context.Context, req showRequest) (nothing, error) {
	snapshot := ""
	if req.Snapshot != nil {
		snapshot = string(*req.Snapshot)
	}
	c, err := s.Power.Show(ctx, req.VMID, snapshot)
	if err != nil {
		return nothing{}, err
	}
	line := c.String()
	if is(req.Pretty) {
		line = c.Pretty()
	}
	api.Printf(ctx, "%s\n", line)
	return nothing{}, nil
}

type waitRequest struct {
	local
	Timeout *int `pve:"timeout" doc:"Seconds to wait; without a limit otherwise." min:"1"`
}

func (s *Service) wait(ctx context.Context, req waitRequest) (nothing, error) {
	if err := s.exists(ctx, req.VMID); err != nil {
		return nothing{}, err
	}
	patience := time.Duration(0)
	if req.Timeout != nil {
		patience = *seconds(req.Timeout)
	}
	return nothing{}, s.Power.Wait(ctx, req.VMID, patience)
}

type cleanupRequest struct {
	target
	Clean bool `pve:"clean-shutdown" doc:"QEMU has ended by itself."`
	Guest bool `pve:"guest-requested" doc:"The guest has powered off."`
}

func (s *Service) cleanup(ctx context.Context, req cleanupRequest) (nothing, error) {
	return nothing{}, s.Power.Cleanup(ctx, req.VMID)
}
