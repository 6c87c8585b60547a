// Package snapshot takes snapshots of VMs, removes them and goes back to them. In which
// order that is done, and what the configuration says meanwhile, is with package guest; here
// is what a VM does its own way.
//
// A running guest is held while its disks are snapshot, see [machine.Begin]. Its memory is
// saved as for a migration into a file: the guest runs on until nearly all of it is written,
// then QEMU holds still before it would hand the disks over. In that moment the disks are
// snapshot, and only then the rest is written. Once a migration is over, QEMU has let go of the
// disks, and there would be nothing to snapshot them with.
package snapshot

import (
	"context"
	"fmt"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Power is what snapshots need of the room that starts and stops VMs.
type Power interface {
	// Call runs a command of the monitor of a running VM.
	Call(ctx context.Context, vmid id.VM, command string, args, result any) error
	StartLocked(context.Context, id.VM, power.StartOptions) error
	StopLocked(context.Context, id.VM, power.StopOptions) error
	Start(context.Context, id.VM, power.StartOptions) error
	// AllocState makes a volume for the state of a VM, StateStorage says where.
	AllocState(ctx context.Context, vmid id.VM, values schema.Params, storeid id.Storage, name string) (id.Volume, error)
	StateStorage(ctx context.Context, values schema.Params) id.Storage
	// Hardware tells as what a VM runs.
	Hardware(ctx context.Context, vmid id.VM) (machine, cpu string, err error)
	// HostMTU tells the MTU of its network cards, as running-nets-host-mtu has it.
	HostMTU(vmid id.VM) string
	// Gather finds out what the block nodes of a running QEMU depend on.
	Gather(ctx context.Context, vmid id.VM, arch string) (*cmdline.Host, error)
}

// A Service does it for the VMs of a node.
type Service struct {
	*vm.Host
	Power Power
}

// Create takes a snapshot; with ram, where the VM runs, also of its memory.
func (s *Service) Create(ctx context.Context, vmid id.VM, name, description string, ram bool) error {
	if err := s.heal(ctx, vmid); err != nil {
		return err
	}
	return s.of(vmid, "snapshot").Create(ctx, name, description, ram)
}

// Delete removes a snapshot. With force it is gone from the configuration whatever becomes of
// the volumes.
func (s *Service) Delete(ctx context.Context, vmid id.VM, name string, force bool) error {
	if err := s.heal(ctx, vmid); err != nil {
		return err
	}
	return s.of(vmid, "removal of a snapshot").Delete(ctx, name, force)
}

// Rollback makes a VM what it was. One whose memory was saved runs afterwards, and with start
// every one does.
func (s *Service) Rollback(ctx context.Context, vmid id.VM, name string, start bool) error {
	if err := s.of(vmid, "rollback").Rollback(ctx, name); err != nil || !start {
		return err
	}
	running, err := s.Running(vmid)
	if err != nil || running {
		return err
	}
	return s.Power.Start(ctx, vmid, power.StartOptions{})
}

// Describe notes a text with a snapshot; nil leaves it as it is.
func (s *Service) Describe(ctx context.Context, vmid id.VM, name string, description *string) error {
	return s.Change(ctx, vmid, what(vmid, "note on a snapshot"), func(_ context.Context, doc *config.Doc) error {
		if err := guest.CheckLock(cluster.VM, doc); err != nil {
			return err
		}
		snap, err := guest.Snapshot(doc, name)
		switch {
		case err != nil:
			return err
		case description == nil:
			return vm.ErrUnchanged
		case *description == "":
			delete(snap, config.Description)
		default:
			snap[config.Description] = *description
		}
		return nil
	})
}

func what(vmid id.VM, does string) string { return fmt.Sprintf("%s of VM %d", does, vmid) }

// of returns the snapshots of a VM. does tells those who wait what for.
func (s *Service) of(vmid id.VM, does string) *guest.Snapshots {
	return &guest.Snapshots{
		Kind: cluster.VM, ID: vmid, Now: s.Now,
		Store: store{s.Host, vmid, what(vmid, does)},
		Guest: &machine{Service: s, vmid: vmid},
	}
}

// store is the configuration of one VM.
type store struct {
	host *vm.Host
	vmid id.VM
	what string
}

func (s store) Load(ctx context.Context) (*config.Doc, error) { return s.host.Load(ctx, s.vmid) }

func (s store) Save(ctx context.Context, doc *config.Doc) error {
	return s.host.Save(ctx, s.vmid, doc)
}

func (s store) Locked(ctx context.Context, fn func(context.Context) error) error {
	return s.host.Locked(ctx, s.vmid, s.what, fn)
}
