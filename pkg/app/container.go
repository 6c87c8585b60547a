package app

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/container/clone"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/container/destroy"
	"github.com/virtsmith/virtsmith/pkg/container/edit"
	"github.com/virtsmith/virtsmith/pkg/container/hotplug"
	ctpower "github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/container/volumes"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/lxc"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	lxcfiles "github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// containers joins what containers stand on.
func (a *App) containers(runner run.Runner) *ct.Host {
	h := &ct.Host{
		Root: a.Root, Node: id.Node(a.Node), Cluster: a.Cluster, Storage: a.Storage, Run: runner, Now: time.Now, UUID: uuid,
	}
	h.Active = func(context.Context) (map[string]bool, error) { return lxcfiles.Active("/proc", h.LXCPath()) }
	h.LXC = lxcfiles.Programs{Path: h.LXCPath(), Run: runner}
	if a.Host.LXC != nil {
		h.LXC = a.Host.LXC(h.LXCPath())
	}
	return h
}

// containerMethods joins what the methods of containers work on.
func (a *App) containerMethods() *lxc.Service {
	return &lxc.Service{
		CTs: a.CTs, Groups: groups, Power: a.CTPower, Replace: replace, Volumes: &volumes.Service{Host: a.CTs},
		Edit:      a.ctEdit(),
		Clones:    &clone.Service{Host: a.CTs, Volumes: &volumes.Service{Host: a.CTs}, Random: rand.Reader, Setup: a.setupEnv},
		Destroyer: &destroy.Service{Host: a.CTs, Volumes: &volumes.Service{Host: a.CTs}, Stop: a.stopCT, Clear: a.CTPower.Clear},
		StartCT:   a.startCT,
	}
}

// ctEdit joins what makes containers and changes their configurations.
func (a *App) ctEdit() *edit.Service {
	return &edit.Service{
		Host: a.CTs, Volumes: &volumes.Service{Host: a.CTs}, Random: rand.Reader, Setup: a.setupEnv,
		Plugger: a.ctHotplug(), Start: a.startCT,
	}
}

func (a *App) startCT(ctx context.Context, vmid id.VM) error {
	return a.CTPower.Start(ctx, vmid, ctpower.StartOptions{})
}

func (a *App) stopCT(ctx context.Context, vmid id.VM) error {
	return a.CTPower.Stop(ctx, vmid, ctpower.StopOptions{})
}

// ctHotplug joins what changes containers that run.
func (a *App) ctHotplug() *hotplug.Service {
	return &hotplug.Service{
		Host: a.CTs, Machine: a.CTPower.Machine, Net: link.Open, CPUs: a.CTPower.PickCPUs,
		Volumes: &volumes.Service{Host: a.CTs}, Setup: a.setupEnv,
	}
}

// groups looks at the control groups of the machine.
func groups() (*cgroup.Tree, error) { return cgroup.Open("/sys/fs/cgroup", "/proc") }
