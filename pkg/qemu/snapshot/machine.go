package snapshot

import (
	"context"
	"time"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// machine is one VM as the steps of a snapshot see it.
type machine struct {
	*Service
	vmid    id.VM
	state   *saving // the memory that is being saved
	stopped bool    // in a dry run: it would be
}

var (
	_ guest.StateSaver    = (*machine)(nil)
	_ guest.StateFinisher = (*machine)(nil)
)

// Running tells whether the VM runs. It implements [guest.Snapshotter], as the others here do.
func (m *machine) Running(context.Context) (bool, error) {
	if m.stopped {
		return false, nil
	}
	return m.Host.Running(m.vmid)
}

// stopPatience is how long QEMU may take to go before a rollback.
const stopPatience = 5 * time.Second

// Stop pulls the plug.
func (m *machine) Stop(ctx context.Context) error {
	running, err := m.Running(ctx)
	if err != nil || !running {
		return err
	}
	m.stopped = plan.From(ctx) != nil
	return m.Power.StopLocked(ctx, m.vmid, power.StopOptions{Force: true, Timeout: new(stopPatience)})
}

// RolledBack adapts the configuration.
func (m *machine) RolledBack(old, now *config.Doc, snap schema.Params) error {
	qemu.RolledBack(old, now, snap, m.UUID)
	return nil
}

// call runs a command of the monitor, or tells of it in a dry run.
func (m *machine) call(ctx context.Context, command string, args, result any) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("tell QEMU of VM %d: %s", m.vmid, command)
		return nil
	}
	return m.Power.Call(ctx, m.vmid, command, args, result)
}
