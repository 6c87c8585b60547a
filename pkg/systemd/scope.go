package systemd

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Scope is a unit around a process that runs already.
type Scope struct {
	Name        string // with its ending: 100.scope
	Slice       string // qemu.slice
	Description string
	PID         int
	Limits      Limits
}

// Limits are what the processes of a scope may use.
type Limits struct {
	CPUs    float64 // processors' worth of time, 0 for as many as there are
	Units   int     // share beside others, in the bounds of the version in use
	Unified bool    // control groups are of version 2
}

// properties spells the limits as systemd knows them. No limit is spelled too, so that
// one that was there goes.
func (l Limits) properties() []dbus.Property {
	quota := uint64(math.MaxUint64)
	if l.CPUs > 0 {
		quota = uint64(l.CPUs * float64(time.Second/time.Microsecond))
	}
	share := "CPUShares"
	if l.Unified {
		share = "CPUWeight"
	}
	return []dbus.Property{property("CPUQuotaPerSecUSec", quota), property(share, uint64(l.Units))}
}

func property(name string, value any) dbus.Property {
	return dbus.Property{Name: name, Value: godbus.MakeVariant(value)}
}

// StartScope puts a process into a scope of its own. When systemd shuts the machine
// down it asks the process to end and waits for it as long as that takes: a guest
// killed while it writes is worse than a late shutdown.
func (b *Bus) StartScope(ctx context.Context, s Scope) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("start scope %s in %s", s.Name, s.Slice)
		return nil
	}
	properties := append([]dbus.Property{
		dbus.PropDescription(s.Description),
		dbus.PropSlice(s.Slice),
		dbus.PropPids(uint32(s.PID)),
		property("KillMode", "process"),
		property("SendSIGKILL", false),
		property("TimeoutStopUSec", uint64(math.MaxUint64)),
	}, s.Limits.properties()...)
	done := make(chan string, 1)
	_, err := b.conn.StartTransientUnitContext(ctx, s.Name, "fail", properties, done)
	if err == nil {
		err = await(ctx, done)
	}
	if err != nil {
		return fmt.Errorf("start scope %s: %w", s.Name, err)
	}
	return nil
}

// Limit changes the limits of a scope until it ends.
func (b *Bus) Limit(ctx context.Context, name string, l Limits) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("limit scope %s", name)
		return nil
	}
	if err := b.conn.SetUnitPropertiesContext(ctx, name, true, l.properties()...); err != nil {
		return fmt.Errorf("limit scope %s: %w", name, err)
	}
	return nil
}

// gonePoll is how often is asked whether a unit is gone; systemd tells of it only those
// who subscribe before.
const gonePoll = 20 * time.Millisecond

// Gone sees to it that no unit of that name is left over: one that has failed is
// forgotten, one that still ends is waited for until ctx does. One whose processes
// live on is not touched, and is an error then.
func (b *Bus) Gone(ctx context.Context, name string) error {
	tick := time.NewTicker(gonePoll)
	defer tick.Stop()
	for {
		state, err := b.state(ctx, name)
		switch {
		case err != nil:
			return fmt.Errorf("scope %s: %w", name, err)
		case state == "inactive":
			return nil
		case state == "failed" && plan.From(ctx) == nil:
			// An error here is a unit that went by itself in between.
			_ = b.conn.ResetFailedUnitContext(ctx, name)
		}
		if plan.From(ctx) != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("scope %s is still %s: %w", name, state, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// state returns the state of a unit; one that systemd does not know is inactive.
func (b *Bus) state(ctx context.Context, name string) (string, error) {
	p, err := b.conn.GetUnitPropertyContext(ctx, name, "ActiveState")
	if err != nil {
		return "", err
	}
	state, _ := p.Value.Value().(string)
	return state, nil
}

// Stop ends a scope and waits until that is done: its first process is asked to end.
func (b *Bus) Stop(ctx context.Context, name string) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("stop scope %s", name)
		return nil
	}
	done := make(chan string, 1)
	_, err := b.conn.StopUnitContext(ctx, name, "replace", done)
	if err == nil {
		err = await(ctx, done)
	}
	if err != nil {
		return fmt.Errorf("stop scope %s: %w", name, err)
	}
	return nil
}
