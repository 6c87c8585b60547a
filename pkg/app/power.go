package app

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline/probe"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/systemd"
)

// power joins what turns VMs on and off.
func (a *App) power(runner run.Runner) *power.Service {
	prober := &probe.Prober{Runner: runner, Cache: filepath.Join(a.Root, "var/cache/virtsmith"), Look: run.Host{}.Look}
	s := &power.Service{
		Host:      a.VMs,
		QEMU:      prober.QEMU,
		Net:       func() (power.Net, error) { return link.Open() },
		Groups:    groups,
		Ticket:    func() string { return a.env("LC_PVE_TICKET") },
		Shutdowns: a.endShutdowns,
	}
	if a.Root == "/" && systemd.Running(a.Root) {
		s.Scopes = func(ctx context.Context) (power.Scopes, error) { return systemd.Connect(ctx) }
	}
	return s
}

// env returns a variable of the environment that we were called with.
func (a *App) env(name string) string {
	for _, pair := range a.Env {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// endPatience is how long a task that is told to end may take.
const endPatience = 10 * time.Second

// endShutdowns ends the tasks that wait for a VM to shut down.
func (a *App) endShutdowns(ctx context.Context, vmid id.VM) error {
	return a.endTasks(ctx, "qmshutdown", vmid)
}

// endTasks ends the tasks of a kind for a guest.
func (a *App) endTasks(ctx context.Context, kind string, vmid id.VM) error {
	tasks, err := a.Tasks.Active(ctx)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if t.Task.Type == kind && t.Task.ID == vmid.String() && t.Status == "" {
			if err := a.Tasks.Stop(ctx, t.Task, endPatience); err != nil {
				return err
			}
		}
	}
	return nil
}
