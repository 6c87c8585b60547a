package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
)

func (s *Service) powerMethods() []api.Method {
	method := func(name, word, doc string) api.Method {
		return api.Method{
			Name: name, Verb: "POST", Path: "/nodes/{node}/qemu/{vmid}/status/" + word, Doc: doc,
			ProxyTo: "node", Protected: true, Permissions: onVM("VM.PowerMgmt"),
		}
	}
	return []api.Method{
		api.NewTask(method("vm_start", "start", "Start a VM."), s.prepareStart, s.start),
		api.NewTask(method("vm_stop", "stop", "Stop a VM at once, as by pulling its plug."), s.prepareStop, s.stop),
		api.NewTask(method("vm_shutdown", "shutdown", "Ask the guest of a VM to power off."), s.prepareShutdown, s.shutdown),
		api.NewTask(method("vm_reboot", "reboot", "Let the guest power off and start the VM anew."), s.prepareReboot, s.reboot),
		api.NewTask(method("vm_reset", "reset", "Reset a VM as its reset button does."), s.prepareReset, s.reset),
		api.NewTask(method("vm_suspend", "suspend", "Make a VM hold still, or save its state to disk."), s.prepareSuspend, s.suspend),
		api.NewTask(method("vm_resume", "resume", "Let a VM go on."), s.prepareResume, s.resume),
	}
}

// job is the task of the given type for a VM.
func (t target) job(kind string) api.Job { return api.Job{Type: kind, ID: t.VMID.String()} }

type startRequest struct {
	target
	ForceCPU *string       `pve:"force-cpu" doc:"Text for QEMU's -cpu instead of what is configured."`
	Machine  *qemu.Machine `pve:"machine" doc:"Machine type instead of the configured one." name:"pve-qemu-machine-fmt"`
	HostMTU  *string       `pve:"nets-host-mtu" doc:"MTU to tell the guest's network cards, by card." pattern:"net\\d+=\\d+(,net\\d+=\\d+)*"`
	SkipLock *bool         `pve:"skiplock" doc:"Ignore locks; only root may."`
	Timeout  *int          `pve:"timeout" doc:"Seconds that QEMU may take to answer; 0 for no limit." min:"0"`
}

func (s *Service) prepareStart(ctx context.Context, req startRequest) (api.Job, error) {
	_, err := s.VMs.Load(ctx, req.VMID)
	return req.job("qmstart"), err
}

func (s *Service) start(ctx context.Context, req startRequest) error {
	o := power.StartOptions{SkipLock: is(req.SkipLock), Timeout: seconds(req.Timeout)}
	if req.HostMTU != nil {
		o.HostMTU = power.ParseHostMTU(*req.HostMTU)
	}
	if req.Machine != nil && req.Machine.Type != nil {
		o.Machine = *req.Machine.Type
	}
	if req.ForceCPU != nil {
		o.CPU = *req.ForceCPU
	}
	return s.Power.Start(ctx, req.VMID, o)
}

func is(p *bool) bool { return p != nil && *p }

func seconds(n *int) *time.Duration {
	if n == nil {
		return nil
	}
	return new(time.Duration(*n) * time.Second)
}

type stopRequest struct {
	target
	KeepActive *bool `pve:"keepActive" doc:"Leave the volumes ready for use; only root may." default:"0"`
	Overrule   *bool `pve:"overrule-shutdown" doc:"Abort tasks that try to shut the VM down." default:"0"`
	SkipLock   *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
	Timeout    *int  `pve:"timeout" doc:"Seconds that the VM may take to stop." min:"0"`
}

func (s *Service) prepareStop(ctx context.Context, req stopRequest) (api.Job, error) {
	return req.job("qmstop"), s.exists(ctx, req.VMID)
}

func (s *Service) stop(ctx context.Context, req stopRequest) error {
	if is(req.Overrule) {
		if err := s.Power.Shutdowns(ctx, req.VMID); err != nil {
			return err
		}
	}
	return s.Power.Stop(ctx, req.VMID, power.StopOptions{
		SkipLock: is(req.SkipLock), Force: true, Timeout: seconds(req.Timeout), KeepActive: is(req.KeepActive),
	})
}

type shutdownRequest struct {
	target
	ForceStop  *bool `pve:"forceStop" doc:"Stop the VM where its guest does not power off in time." default:"0"`
	KeepActive *bool `pve:"keepActive" doc:"Leave the volumes ready for use; only root may." default:"0"`
	SkipLock   *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
	Timeout    *int  `pve:"timeout" doc:"Seconds that the guest may take to power off." min:"0"`
}

func (s *Service) prepareShutdown(ctx context.Context, req shutdownRequest) (api.Job, error) {
	if err := s.exists(ctx, req.VMID); err != nil {
		return api.Job{}, err
	}
	if s.paused(ctx, req.VMID) && !is(req.ForceStop) {
		return api.Job{}, errPaused
	}
	return req.job("qmshutdown"), nil
}

var errPaused = errors.New("VM is paused - cannot shutdown") //nolint:staticcheck // upstream's text

// paused tells whether the guest holds still. That it cannot be asked is only told: it
// is for the work to fail of it.
func (s *Service) paused(ctx context.Context, vmid id.VM) bool {
	state, err := s.Power.Status(ctx, vmid)
	if err != nil {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "%v\n\n", err)
	}
	return state == "paused"
}

func (s *Service) shutdown(ctx context.Context, req shutdownRequest) error {
	o := power.StopOptions{
		SkipLock: is(req.SkipLock), Guest: true, Force: is(req.ForceStop), Timeout: seconds(req.Timeout), KeepActive: is(req.KeepActive),
	}
	if state, err := s.Power.Status(ctx, req.VMID); err == nil && state == "paused" && o.Force {
		fmt.Fprintln(api.StreamsOf(ctx).Err, "VM is paused - stop instead of shutdown")
		o.Guest = false
	}
	return s.Power.Stop(ctx, req.VMID, o)
}

type rebootRequest struct {
	target
	Timeout *int `pve:"timeout" doc:"Seconds that the guest may take to power off." min:"0"`
}

func (s *Service) prepareReboot(ctx context.Context, req rebootRequest) (api.Job, error) {
	if err := s.exists(ctx, req.VMID); err != nil {
		return api.Job{}, err
	}
	if s.paused(ctx, req.VMID) {
		return api.Job{}, errPaused
	}
	return req.job("qmreboot"), s.Power.CheckRunning(req.VMID)
}

func (s *Service) reboot(ctx context.Context, req rebootRequest) error {
	return s.Power.Reboot(ctx, req.VMID, seconds(req.Timeout))
}

type resetRequest struct {
	target
	SkipLock *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (s *Service) prepareReset(ctx context.Context, req resetRequest) (api.Job, error) {
	return req.job("qmreset"), s.runs(ctx, req.VMID)
}

func (s *Service) reset(ctx context.Context, req resetRequest) error {
	return s.Power.Reset(ctx, req.VMID, is(req.SkipLock))
}

type suspendRequest struct {
	target
	SkipLock *bool       `pve:"skiplock" doc:"Ignore locks; only root may."`
	Storage  *id.Storage `pve:"statestorage" doc:"Storage for the state of the VM." requires:"todisk"`
	ToDisk   *bool       `pve:"todisk" doc:"Save the state to disk and end QEMU; the next start goes on from there." default:"0"`
}

func (s *Service) prepareSuspend(ctx context.Context, req suspendRequest) (api.Job, error) {
	kind := "qmpause"
	if is(req.ToDisk) {
		kind = "qmsuspend"
	}
	return req.job(kind), s.runs(ctx, req.VMID)
}

func (s *Service) suspend(ctx context.Context, req suspendRequest) error {
	if !is(req.ToDisk) {
		return s.Power.Pause(ctx, req.VMID, is(req.SkipLock))
	}
	o := power.SuspendOptions{SkipLock: is(req.SkipLock)}
	if req.Storage != nil {
		o.Storage = *req.Storage
	}
	return s.Power.Suspend(ctx, req.VMID, o)
}

type resumeRequest struct {
	target
	NoCheck  *bool `pve:"nocheck" doc:"Do not look at the configuration, as after a migration."`
	SkipLock *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (s *Service) prepareResume(ctx context.Context, req resumeRequest) (api.Job, error) {
	if err := s.exists(ctx, req.VMID); err != nil {
		return api.Job{}, err
	}
	suspended, err := s.Power.Suspended(ctx, req.VMID)
	if err == nil && !suspended {
		err = s.Power.CheckRunning(req.VMID)
	}
	return req.job("qmresume"), err
}

func (s *Service) resume(ctx context.Context, req resumeRequest) error {
	suspended, err := s.Power.Suspended(ctx, req.VMID)
	switch {
	case err != nil:
		return err
	case suspended:
		return s.Power.Start(ctx, req.VMID, power.StartOptions{SkipLock: is(req.SkipLock)})
	}
	// What a snapshot has left standing goes on with all that belongs to it.
	if err := s.snapshotService().Heal(ctx, req.VMID); err != nil {
		return err
	}
	return s.Power.Resume(ctx, req.VMID, is(req.SkipLock) || is(req.NoCheck))
}
