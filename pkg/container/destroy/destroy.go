// Package destroy ends the life of containers: it removes their volumes and
// configurations, and the places elsewhere that name them.
package destroy

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/guest/purge"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
)

// A Service destroys the containers of a node.
type Service struct {
	*ct.Host
	Volumes *volumes.Service
	// Stop stops a container that runs; nil refuses to.
	Stop func(ctx context.Context, vmid id.VM) error
	// Clear takes away what a container that does not run has left mounted; nil does
	// nothing.
	Clear func(ctx context.Context, vmid id.VM) error
}

// Options say what to destroy.
type Options struct {
	VM           id.VM
	Force        bool // also one that runs
	Purge        bool // also where jobs and high availability name it
	Unreferenced bool // also volumes that only their name says are the container's
}

func (o Options) guest() purge.Guest { return purge.Guest{Kind: cluster.Container, ID: o.VM} }

// Check returns why a container cannot be destroyed. It touches nothing.
func (s *Service) Check(ctx context.Context, o Options) error {
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return err
	}
	if err := s.check(ctx, o, doc); err != nil {
		return err
	}
	running, err := s.Running(ctx, o.VM)
	if err == nil && running && !o.Force {
		err = errRunning(o.VM)
	}
	return err
}

func errRunning(vmid id.VM) error {
	return fmt.Errorf("unable to destroy CT %s - container is running", vmid)
}

func (s *Service) check(ctx context.Context, o Options, doc *config.Doc) error {
	if err := guest.CheckProtection(doc, fmt.Sprintf("can't remove CT %s", o.VM)); err != nil {
		return err
	}
	if err := guest.CheckLock(cluster.Container, doc); err != nil && !isLeftOver(doc) {
		return err
	}
	if o.Purge {
		return nil
	}
	return purge.Check(ctx, s.Cluster, o.guest())
}

// lockDestroyed is the lock of a container whose volumes are being removed.
const lockDestroyed = "destroyed"

// isLeftOver tells whether a container is one whose destruction was interrupted: nobody can
// use what is left of it.
func isLeftOver(doc *config.Doc) bool { return doc.Values["lock"] == lockDestroyed }

// Destroy removes a container. Its configuration goes last, so that what is left of one that
// was interrupted can be destroyed again.
func (s *Service) Destroy(ctx context.Context, o Options) error {
	if err := s.stop(ctx, o); err != nil {
		return err
	}
	return s.Locked(ctx, o.VM, "destroy", func(ctx context.Context) error {
		doc, err := s.Load(ctx, o.VM)
		if err != nil {
			return err
		}
		if err := s.check(ctx, o, doc); err != nil {
			return err
		}
		running, err := s.Running(ctx, o.VM)
		if err != nil {
			return err
		}
		if rehearsed := o.Force && plan.From(ctx) != nil; running && !rehearsed {
			return errRunning(o.VM)
		}
		if err := s.Volumes.CheckBases(ctx, doc); err != nil {
			return err
		}
		if err := s.Cluster.CheckChangeable(ctx, cluster.Container, o.VM); err != nil {
			return err
		}
		return s.destroy(ctx, o, doc)
	})
}

// stop stops a container that runs, where that is wanted. It is not yet locked: what LXC
// does at the end of a container wants the lock too.
func (s *Service) stop(ctx context.Context, o Options) error {
	running, err := s.Running(ctx, o.VM)
	if err != nil || !running || !o.Force || s.Stop == nil {
		return err
	}
	doc, err := s.Load(ctx, o.VM)
	if err != nil {
		return err
	}
	if err := s.check(ctx, o, doc); err != nil {
		return err
	}
	api.Warnf(ctx, "forced to stop CT %s before destroying!", o.VM)
	return s.Stop(ctx, o.VM)
}

func (s *Service) destroy(ctx context.Context, o Options, doc *config.Doc) error {
	if s.Clear != nil && plan.From(ctx) == nil {
		if err := s.Clear(ctx, o.VM); err != nil {
			return err
		}
	}
	doc.Values["lock"] = lockDestroyed
	if err := s.Save(ctx, o.VM, doc); err != nil {
		api.Warnf(ctx, "%v", err) // on a full disk what is removed next makes room
	}
	if err := s.Volumes.Remove(ctx, o.VM, doc, o.Unreferenced); err != nil {
		return err
	}
	if err := purge.Leave(ctx, s.Cluster, o.VM); err != nil {
		return err
	}
	if o.Purge {
		if err := purge.Jobs(ctx, s.Cluster, o.guest()); err != nil {
			return err
		}
	}
	if err := s.removeDir(ctx, o.VM); err != nil {
		return err
	}
	return s.Cluster.RemoveGuest(ctx, cluster.Container, o.VM)
}
