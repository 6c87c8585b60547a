// Package ct is what all operations on the containers of a node stand on: the
// configuration of a container, read and changed under its lock, the node's storages,
// and LXC.
package ct

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A Host is the node that containers are on, as far as they need it.
type Host struct {
	Root    string // stands before every path we own
	Node    id.Node
	Cluster *cluster.Client
	Storage *storage.Service
	Run     run.Runner
	LXC     Runtime
	// Active lists the containers that run, by name.
	Active func(context.Context) (map[string]bool, error)
	Now    func() time.Time
	UUID   func() string // makes a new random UUID
}

// A Runtime is what LXC does with a container that runs. Containers are named by their
// number. All of it ends with its context.
type Runtime interface {
	// InitPID returns the process that is the init of a running container, 0 where it
	// does not run.
	InitPID(ctx context.Context, name string) (int, error)
	// Frozen tells whether the container holds still.
	Frozen(ctx context.Context, name string) (bool, error)
	Freeze(ctx context.Context, name string) error
	Unfreeze(ctx context.Context, name string) error
	// Stop kills the container and returns when it is gone.
	Stop(ctx context.Context, name string) error
	// Shutdown asks the init to end, by the signal of the configuration, and returns when
	// the container is gone.
	Shutdown(ctx context.Context, name string) error
	// SetCgroup sets a file of the container's control group, such as memory.max.
	SetCgroup(ctx context.Context, name, file, value string) error
	// Cgroup reads such a file.
	Cgroup(ctx context.Context, name, file string) (string, error)
}

// LXCPath is the folder in which LXC has a folder for each container.
func (h *Host) LXCPath() string { return filepath.Join(h.Root, "var/lib/lxc") }

// Dir is the folder that LXC has for a container.
func (h *Host) Dir(vmid id.VM) string { return filepath.Join(h.LXCPath(), vmid.String()) }

// RootDir is where the root of a container is mounted.
func (h *Host) RootDir(vmid id.VM) string { return filepath.Join(h.Dir(vmid), "rootfs") }

// Load reads the configuration of a container of the node. What is wrong in it is told to
// the user.
func (h *Host) Load(ctx context.Context, vmid id.VM) (*config.Doc, error) {
	return container.Load(ctx, h.Cluster, vmid)
}

// Save writes the configuration of a container, whose lock the caller holds.
func (h *Host) Save(ctx context.Context, vmid id.VM, doc *config.Doc) error {
	return container.Save(ctx, h.Cluster, vmid, doc)
}

// patience is how long a command waits for another one that works on the same
// container.
const patience = 10 * time.Second

// Locked runs fn while no other command changes the configuration of the container. what
// is told to those who wait.
func (h *Host) Locked(ctx context.Context, vmid id.VM, what string, fn func(context.Context) error) error {
	return h.Cluster.WithGuest(ctx, cluster.Container, vmid, file.LockOptions{Patience: patience, What: what}, fn)
}

// ErrUnchanged is returned by the function given to [Host.Change] to say that there
// is nothing to save.
var ErrUnchanged = errors.New("unchanged")

// Change lets fn change the configuration of a container under its lock, and saves it.
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

// Running tells whether the container runs on this node.
func (h *Host) Running(ctx context.Context, vmid id.VM) (bool, error) {
	active, err := h.Active(ctx)
	return active[vmid.String()], err
}
