package power

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Clear removes what a container that does not run has left on the node: processes that have
// outlived its monitor, control groups, network devices. Where all went well there is nothing.
func (s *Service) Clear(ctx context.Context, vmid id.VM) error {
	if p := plan.From(ctx); p != nil {
		return nil
	}
	ctx, stop := bounded(ctx, endPatience, "clearing up")
	defer stop()
	name := vmid.String()
	// The names of control groups and network devices are those of any container with that
	// number on the machine: the first call tells whether they are ours.
	if err := lxc.EndLeftovers(ctx, "/proc", name); err != nil {
		return fmt.Errorf("CT %d: %w", vmid, err)
	}
	if err := lxc.RemoveGroups("/proc", name); err != nil {
		return fmt.Errorf("CT %d: %w", vmid, err)
	}
	if err := s.unplugAll(vmid); err != nil {
		return fmt.Errorf("CT %d: %w", vmid, err)
	}
	return remove(s.path(vmid, lxcconf.Passthrough))
}

// Tidy clears up after a container that was found not to run, unless somebody else works on
// it. That something cannot be cleared away is only told: it is not what the user asked for.
func (s *Service) Tidy(ctx context.Context, vmid id.VM) {
	if s.traces(vmid) == 0 {
		return
	}
	err := s.Locked(ctx, vmid, fmt.Sprintf("clearing up of CT %d", vmid), func(ctx context.Context) error {
		if s.CheckRunning(ctx, vmid) == nil {
			return nil
		}
		return s.Clear(ctx, vmid)
	})
	if err != nil {
		api.Warnf(ctx, "%v", err)
	}
}

// traces counts what is there of a container on the node.
func (s *Service) traces(vmid id.VM) int {
	devices, _ := devicesOf(vmid)
	return len(devices) + len(lxc.Groups("/proc", vmid.String()))
}
