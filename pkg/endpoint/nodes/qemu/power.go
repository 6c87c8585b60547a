package qemu

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
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
	o := power.StartOptions{SkipLock: is(req.SkipLock), Timeout: seconds(req.Timeout), HostMTU: hostMTU(req.HostMTU)}
	if req.Machine != nil && req.Machine.Type != nil {
		o.Machine = *req.Machine.Type
	}
	if req.ForceCPU != nil {
		o.CPU = *req.ForceCPU
	}
	return s.Power.Start(ctx, req.VMID, o)
}

// hostMTU takes net0=1500,net1=9000 apart.
func hostMTU(text *string) map[string]int {
	if text == nil {
		return nil
	}
	sizes := map[string]int{}
	for part := range strings.SplitSeq(*text, ",") {
		card, size, _ := strings.Cut(part, "=")
		if n, err := strconv.Atoi(size); err == nil {
			sizes[card] = n
		}
	}
	return sizes
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
	return s.Power.Stop(ctx, req.VMID, power.StopOptions{
		SkipLock: is(req.SkipLock), Force: true, Timeout: seconds(req.Timeout), KeepActive: is(req.KeepActive),
	})
}
