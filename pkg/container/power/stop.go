package power

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest/hook"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// StopOptions say how a container is stopped.
type StopOptions struct {
	SkipLock bool
	Guest    bool           // ask its init to end, instead of killing it
	Force    bool           // one that does not is killed all the same
	Timeout  *time.Duration // for the init to end; nil for a minute
}

// defaultPatience is how long the init of a container may take to end.
const defaultPatience = 60 * time.Second

// Stop stops a container. While its init is waited for, the container is not locked: whoever
// loses patience may kill it.
func (s *Service) Stop(ctx context.Context, vmid id.VM, o StopOptions) error {
	doc, err := s.stoppable(ctx, vmid, o)
	if errors.Is(err, errStays) {
		return nil
	}
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("stop CT %d", vmid)
		return nil
	}
	if err := s.hookScript(ctx, vmid, doc, hook.PreStop); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	if err := s.bringDown(ctx, vmid, o); err != nil {
		return err
	}
	return s.Locked(ctx, vmid, fmt.Sprintf("stop of CT %d", vmid), func(ctx context.Context) error {
		return s.letGoStopped(ctx, vmid, doc)
	})
}

// StopLocked kills a container for a caller that holds its lock.
func (s *Service) StopLocked(ctx context.Context, vmid id.VM) error {
	doc, err := s.Load(ctx, vmid)
	if err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil {
		p.Stepf("stop CT %d", vmid)
		return nil
	}
	if err := s.bringDown(ctx, vmid, StopOptions{}); err != nil {
		return err
	}
	return s.letGoStopped(ctx, vmid, doc)
}

// bringDown ends the container while its last hook knows that we are here to clear up.
func (s *Service) bringDown(ctx context.Context, vmid id.VM, o StopOptions) error {
	unattend, err := s.attend(vmid)
	if err != nil {
		return err
	}
	err = s.end(ctx, vmid, o)
	if fault := s.relay(ctx, vmid); fault != "" {
		api.Warnf(ctx, "%s", fault)
	}
	return errors.Join(err, unattend())
}

// letGoStopped lets go of what a stopped container had. Somebody may have started it again
// by now.
func (s *Service) letGoStopped(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	if running, err := s.Running(ctx, vmid); err != nil || running {
		return err
	}
	if err := s.letGo(ctx, vmid, doc); err != nil {
		api.Warnf(ctx, "%v", err)
	}
	return nil
}

// stoppable loads the configuration of a container that may be stopped. What is left of one
// that does not run is cleared away before that is told.
func (s *Service) stoppable(ctx context.Context, vmid id.VM, o StopOptions) (doc *config.Doc, err error) {
	err = s.Locked(ctx, vmid, fmt.Sprintf("stop of CT %d", vmid), func(ctx context.Context) error {
		if doc, err = s.Load(ctx, vmid); err != nil {
			return err
		}
		if s.StartsAgain(ctx, vmid) && plan.From(ctx) == nil {
			return s.stay(ctx, vmid, doc)
		}
		if err := s.CheckRunning(ctx, vmid); err != nil {
			return errors.Join(err, s.Clear(ctx, vmid))
		}
		return checkLock(doc, o.SkipLock)
	})
	return doc, err
}

// end ends the container, one way or the other.
func (s *Service) end(ctx context.Context, vmid id.VM, o StopOptions) error {
	if o.Guest {
		err := s.shutDown(ctx, vmid, o)
		if err == nil || ctx.Err() != nil || !o.Force {
			return err
		}
		fmt.Fprintf(api.StreamsOf(ctx).Err, "%v - terminating now\n", err)
	}
	ctx, stop := bounded(ctx, endPatience, fmt.Sprintf("the end of CT %d", vmid))
	defer stop()
	return s.LXC.Stop(ctx, vmid.String())
}

// shutDown asks the init of a container to end. One that holds still is let go on: it could
// not hear.
func (s *Service) shutDown(ctx context.Context, vmid id.VM, o StopOptions) error {
	patience := defaultPatience
	if o.Timeout != nil {
		patience = *o.Timeout
	}
	frozen, err := s.LXC.Frozen(ctx, vmid.String())
	if err == nil && frozen {
		err = s.LXC.Unfreeze(ctx, vmid.String())
	}
	if err != nil {
		return err
	}
	waiting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	err = s.LXC.Shutdown(waiting, vmid.String())
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return fmt.Errorf("CT %d did not shut down within %s", vmid, patience)
	}
	return err
}

// Reboot lets the init of a container end and starts the container anew, with what has been
// changed since its start.
func (s *Service) Reboot(ctx context.Context, vmid id.VM, timeout *time.Duration) error {
	if err := s.Stop(ctx, vmid, StopOptions{Guest: true, Timeout: timeout}); err != nil {
		return err
	}
	if p := plan.From(ctx); p != nil { // it still runs
		p.Stepf("start CT %d", vmid)
		return nil
	}
	return s.Start(ctx, vmid, StartOptions{})
}
