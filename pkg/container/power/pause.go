package power

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Suspend makes all processes of a container hold still.
func (s *Service) Suspend(ctx context.Context, vmid id.VM) error {
	return s.pause(ctx, vmid, "suspend", s.freeze)
}

// Resume lets them go on.
func (s *Service) Resume(ctx context.Context, vmid id.VM) error {
	return s.pause(ctx, vmid, "resume", s.unfreeze)
}

func (s *Service) freeze(ctx context.Context, name string) error   { return s.LXC.Freeze(ctx, name) }
func (s *Service) unfreeze(ctx context.Context, name string) error { return s.LXC.Unfreeze(ctx, name) }

func (s *Service) pause(ctx context.Context, vmid id.VM, what string, do func(context.Context, string) error) error {
	return s.Locked(ctx, vmid, fmt.Sprintf("%s of CT %d", what, vmid), func(ctx context.Context) error {
		if err := s.CheckRunning(ctx, vmid); err != nil {
			return err
		}
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		if err := checkLock(doc, false); err != nil {
			return err
		}
		if p := plan.From(ctx); p != nil {
			p.Stepf("%s CT %d", what, vmid)
			return nil
		}
		return do(ctx, vmid.String())
	})
}
