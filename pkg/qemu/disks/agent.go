package disks

import (
	"context"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// How long a guest's agent may take to answer at all, and to work on its file systems.
const (
	agentGreeting = 5 * time.Second
	agentPatience = 2 * time.Minute
)

// agent connects to the agent of a guest, nil where none answers.
func (s *Service) agent(ctx context.Context, vmid id.VM, conf *qemu.Agent) *qmp.Agent {
	if conf == nil || !conf.Enabled {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, agentGreeting)
	defer cancel()
	a, err := qmp.DialAgent(ctx, s.Dir.Agent(vmid))
	if err != nil {
		return nil
	}
	return a
}

// freeze makes the guest's file systems hold still, where its agent answers. What it
// returns lets them go on.
func (m *Mirrors) freeze(ctx context.Context) (thaw func()) {
	none := func() {}
	doc, err := m.s.Load(ctx, m.vm)
	if err != nil {
		return none
	}
	conf := vm.Typed(doc.Values).Agent
	if conf != nil && conf.FreezeFS != nil && !*conf.FreezeFS {
		return none
	}
	a := m.s.agent(ctx, m.vm, conf)
	if a == nil {
		return none
	}
	api.Printf(ctx, "freeze filesystem\n")
	if err := a.CallFor(ctx, agentPatience, "guest-fsfreeze-freeze", nil, nil); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return func() {
		defer a.Close()
		api.Printf(ctx, "unfreeze filesystem\n")
		if err := a.CallFor(context.WithoutCancel(ctx), agentPatience, "guest-fsfreeze-thaw", nil, nil); err != nil {
			api.Warnf(ctx, "%v", err)
		}
	}
}

// trim lets the guest trim its file systems, where it is set to do that after a disk
// was moved.
func (s *Service) trim(ctx context.Context, vmid id.VM, conf *qemu.Agent) {
	if conf == nil || conf.FSTrimClonedDisks == nil || !*conf.FSTrimClonedDisks {
		return
	}
	if a := s.agent(ctx, vmid, conf); a != nil {
		defer a.Close()
		_ = a.CallFor(ctx, agentPatience, "guest-fstrim", nil, nil)
	}
}
