package lxc

import (
	"context"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/power"
)

func (s *Service) powerMethods() []api.Method {
	method := func(name, word, doc string) api.Method {
		return api.Method{
			Name: name, Verb: "POST", Path: "/nodes/{node}/lxc/{vmid}/status/" + word, Doc: doc,
			ProxyTo: "node", Protected: true, Permissions: onCT("VM.PowerMgmt"),
		}
	}
	return []api.Method{
		api.NewTask(method("vm_start", "start", "Start a container."), s.prepareStart, s.start),
		api.NewTask(method("vm_stop", "stop", "Stop a container at once, by killing all that runs in it."), s.prepareStop, s.stop),
		api.NewTask(method("vm_shutdown", "shutdown", "Ask the init of a container to end."), s.prepareShutdown, s.shutdown),
		api.NewTask(method("vm_reboot", "reboot", "Shut a container down and start it anew, with what is pending."), s.prepareReboot, s.reboot),
		api.NewTask(method("vm_suspend", "suspend", "Make all that runs in a container hold still."), s.prepareSuspend, s.suspend),
		api.NewTask(method("vm_resume", "resume", "Let all that runs in a container go on."), s.prepareResume, s.resume),
	}
}

func seconds(n *int) *time.Duration {
	if n == nil {
		return nil
	}
	return new(time.Duration(*n) * time.Second)
}

type startRequest struct {
	target
	Debug    *bool `pve:"debug" doc:"Show LXC's log of the start, with all details." default:"0"`
	SkipLock *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (s *Service) prepareStart(ctx context.Context, req startRequest) (api.Job, error) {
	if err := s.Power.CheckStopped(ctx, req.VMID); err != nil {
		return api.Job{}, err
	}
	_, err := s.CTs.Load(ctx, req.VMID)
	return req.job("vzstart"), err
}

func (s *Service) start(ctx context.Context, req startRequest) error {
	return s.Power.Start(ctx, req.VMID, power.StartOptions{SkipLock: is(req.SkipLock), Debug: is(req.Debug)})
}

type stopRequest struct {
	target
	Overrule *bool `pve:"overrule-shutdown" doc:"Abort tasks that try to shut the container down." default:"0"`
	SkipLock *bool `pve:"skiplock" doc:"Ignore locks; only root may."`
}

func (s *Service) prepareStop(ctx context.Context, req stopRequest) (api.Job, error) {
	return req.job("vzstop"), s.runsAgain(ctx, req.target)
}

// runs makes sure that a container runs. What one that was ended from outside has left is
// cleared away on the way.
func (s *Service) runs(ctx context.Context, t target) error {
	err := s.Power.CheckRunning(ctx, t.VMID)
	if err != nil {
		s.Power.Tidy(ctx, t.VMID)
	}
	return err
}

// runsAgain is runs for what ends a container: one that is about to be started anew need not
// run yet.
func (s *Service) runsAgain(ctx context.Context, t target) error {
	if s.Power.StartsAgain(ctx, t.VMID) {
		return nil
	}
	return s.runs(ctx, t)
}

func (s *Service) stop(ctx context.Context, req stopRequest) error {
	if is(req.Overrule) {
		if err := s.Power.Shutdowns(ctx, req.VMID); err != nil {
			return err
		}
	}
	return s.Power.Stop(ctx, req.VMID, power.StopOptions{SkipLock: is(req.SkipLock)})
}

type shutdownRequest struct {
	target
	ForceStop *bool `pve:"forceStop" doc:"Kill the container where its init does not end in time." default:"0"`
	Timeout   *int  `pve:"timeout" doc:"Seconds that the init may take to end." min:"0" default:"60"`
}

func (s *Service) prepareShutdown(ctx context.Context, req shutdownRequest) (api.Job, error) {
	return req.job("vzshutdown"), s.runsAgain(ctx, req.target)
}

func (s *Service) shutdown(ctx context.Context, req shutdownRequest) error {
	return s.Power.Stop(ctx, req.VMID, power.StopOptions{Guest: true, Force: is(req.ForceStop), Timeout: seconds(req.Timeout)})
}

type rebootRequest struct {
	target
	Timeout *int `pve:"timeout" doc:"Seconds that the init may take to end." min:"0"`
}

func (s *Service) prepareReboot(ctx context.Context, req rebootRequest) (api.Job, error) {
	if s.runs(ctx, req.target) != nil {
		return api.Job{}, fmt.Errorf("VM %d not running", req.VMID) // upstream's words
	}
	return req.job("vzreboot"), nil
}

func (s *Service) reboot(ctx context.Context, req rebootRequest) error {
	return s.Power.Reboot(ctx, req.VMID, seconds(req.Timeout))
}

func (s *Service) prepareSuspend(ctx context.Context, req target) (api.Job, error) {
	return req.job("vzsuspend"), s.runs(ctx, req)
}

func (s *Service) suspend(ctx context.Context, req target) error {
	return s.Power.Suspend(ctx, req.VMID)
}

func (s *Service) prepareResume(ctx context.Context, req target) (api.Job, error) {
	return req.job("vzresume"), s.runs(ctx, req)
}

func (s *Service) resume(ctx context.Context, req target) error { return s.Power.Resume(ctx, req.VMID) }
