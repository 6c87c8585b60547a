// Package vm is what all operations on the VMs of a node stand on: the
// configuration of a VM, read and changed under its lock, and the node's storages
// and processes.
package vm

import (
	"context"
	"errors"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Host is the node that VMs are on, as far as they need it.
type Host struct {
	Root     string // stands before every path we own
	Node     id.Node
	Cluster  *cluster.Client
	Storage  *storage.Service
	Run      run.Runner
	Dir      process.Dir
	Launcher process.Launcher
	Now      func() time.Time
	UUID     func() string // makes a new random UUID
}

// Load reads the configuration of a VM of the node. What is wrong in it is left out
// and told to the user.
func (h *Host) Load(ctx context.Context, vmid id.VM) (*config.Doc, error) {
	return qemu.Load(ctx, h.Cluster, vmid)
}

// Save writes the configuration of a VM, whose lock the caller holds.
func (h *Host) Save(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	return qemu.Save(ctx, h.Cluster, vmid, doc)
}

// patience is how long a command waits for another one that works on the same
// VM.
const patience = 10 * time.Second

// Locked runs fn while no other command changes the configuration of the VM. what is
// told to those who wait.
func (h *Host) Locked(ctx context.Context, vmid id.VM, what string, fn func(context.Context) error) error {
	return h.Cluster.WithGuest(ctx, cluster.VM, vmid, file.LockOptions{Patience: patience, What: what}, fn)
}

// ErrUnchanged is returned by the function given to [Host.Change] to say that there
// is nothing to save.
var ErrUnchanged = errors.New("unchanged")

// Change lets fn change the configuration of a VM under its lock, and saves it.
func (h *Host) Change(ctx context.Context, vmid id.VM, what string, fn func(context.Context, *config.Doc) error) error {
	return h.Locked(ctx, vmid, what, func(ctx context.Context) error {
		doc, err := h.Load(ctx, vmid)
		if err != nil {
			return err
		}
		switch err := fn(ctx, doc); {
		case errors.Is(err, ErrUnchanged):
			return nil
		case err != nil:
			return err
		}
		return h.Save(ctx, vmid, doc)
	})
}

// Running tells whether the QEMU of the VM runs on this node.
func (h *Host) Running(vmid id.VM) (bool, error) {
	pid, err := h.Dir.Running(vmid)
	return pid != 0, err
}

// Typed reads the values of a section into a Config. What it cannot read is left out.
func Typed(values schema.Params) *qemu.Config {
	c := new(qemu.Config)
	for key, value := range values {
		if key != config.Description {
			_ = schema.Set(c, key, value) // Load has told of it already
		}
	}
	c.MergeCDROM()
	return c
}
