package qemu

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/term"
)

func (s *Service) consoleMethods() []api.Method {
	return []api.Method{
		api.New(api.Method{Name: "terminal", Doc: "Open a terminal on a serial port of a VM.", ReadOnly: true}, s.terminal),
		api.New(api.Method{Name: "vncproxy", Doc: "Join standard input and output with the VNC server of a VM.", ReadOnly: true}, s.vncProxy),
		api.New(api.Method{Name: "monitor", Doc: "Talk to the monitor of a VM."}, s.monitor),
	}
}

type terminalRequest struct {
	local
	Escape *string `pve:"escape" doc:"Key that leaves the terminal, or none." default:"^O"`
	IFace  *string `pve:"iface" doc:"Serial port to use; the first is taken otherwise." enum:"serial0|serial1|serial2|serial3"`
}

func (s *Service) terminal(ctx context.Context, req terminalRequest) (nothing, error) {
	doc, err := s.VMs.Load(ctx, req.VMID)
	if err != nil {
		return nothing{}, err
	}
	if err := s.Power.CheckRunning(req.VMID); err != nil {
		return nothing{}, err
	}
	wanted, escape := "", "^O"
	if req.IFace != nil {
		wanted = *req.IFace
	}
	if req.Escape != nil {
		escape = *req.Escape
	}
	port, err := power.SerialPort(doc.Values, wanted)
	if err != nil {
		return nothing{}, err
	}
	io := api.StreamsOf(ctx)
	return nothing{}, s.Power.Terminal(ctx, req.VMID, port, escape, io.In, io.Out)
}

func (s *Service) vncProxy(ctx context.Context, req local) (nothing, error) {
	if err := s.exists(ctx, req.VMID); err != nil {
		return nothing{}, err
	}
	io := api.StreamsOf(ctx)
	return nothing{}, s.Power.VNC(ctx, req.VMID, s.Power.Ticket(), io.In, io.Out)
}

func (s *Service) monitor(ctx context.Context, req local) (nothing, error) {
	if _, err := s.VMs.Load(ctx, req.VMID); err != nil {
		return nothing{}, err
	}
	io := api.StreamsOf(ctx)
	prompts := io.Err
	if term.IsTerminal(io.In) {
		prompts = io.Out
	}
	return nothing{}, s.Power.Monitor(ctx, req.VMID, io.In, io.Out, prompts, io.Err)
}
