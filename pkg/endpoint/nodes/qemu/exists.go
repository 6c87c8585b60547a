package qemu

import (
	"context"
	"errors"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// exists tells whether the VM is on this node, in upstream's words for what is done to
// VMs that run.
func (s *Service) exists(ctx context.Context, vmid id.VM) error {
	_, err := s.VMs.Cluster.ReadGuest(ctx, cluster.VM, vmid)
	if errors.Is(err, cluster.ErrNoGuest) {
		return fmt.Errorf("unable to find configuration file for VM %d on node '%s'", vmid, s.VMs.Node)
	}
	return err
}

// runs tells whether the VM is there and runs.
func (s *Service) runs(ctx context.Context, vmid id.VM) error {
	if err := s.exists(ctx, vmid); err != nil {
		return err
	}
	return s.Power.CheckRunning(vmid)
}
