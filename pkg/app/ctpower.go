package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/container/rootfs"
	"github.com/virtsmith/virtsmith/pkg/container/setup"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/link"
	lxcfiles "github.com/virtsmith/virtsmith/pkg/lxc"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/systemd"
	"github.com/virtsmith/virtsmith/pkg/task"
)

// ctPower joins what turns containers on and off.
func (a *App) ctPower(runner run.Runner) *power.Service {
	return &power.Service{
		Host: a.CTs,
		Machine: func(ctx context.Context) (lxcconf.Machine, error) {
			tree, err := groups()
			if err != nil {
				return lxcconf.Machine{}, err
			}
			cache := filepath.Join(a.Root, "var/cache/virtsmith/lxc-version")
			return power.Look(ctx, tree.Unified(), func(ctx context.Context) (lxcfiles.Version, error) {
				return lxcfiles.Find(ctx, runner, cache)
			})
		},
		Net:   func() (power.Net, error) { return link.Open() },
		Hook:  []string{a.Exe, HookWord},
		Env:   []string{"VIRTSMITH_ROOT=" + a.Root, "VIRTSMITH_NODE=" + a.Node},
		Space: a.env(power.SpaceVariable),
		Setup: a.setUp,
		// Units have the names of the machine's own containers.
		Systemd: a.Root == "/" && systemd.Running(a.Root),
		ApplyPending: func(ctx context.Context, vmid id.VM, doc *config.Doc) error {
			return a.ctEdit().Apply(ctx, vmid, doc)
		},
		Restart:   a.restart,
		Shutdowns: func(ctx context.Context, vmid id.VM) error { return a.endTasks(ctx, "vzshutdown", vmid) },
	}
}

// setUp makes the files in the root of a container that is about to start what its
// configuration says.
func (a *App) setUp(ctx context.Context, root *rootfs.Root, conf *container.Config) error {
	s, err := setup.Open(root, conf, a.setupEnv(ctx))
	if err != nil {
		return err
	}
	return s.PreStart(ctx)
}

// restart begins a task that starts a container that has asked to be rebooted.
func (a *App) restart(ctx context.Context, vmid id.VM, skipLock bool) error {
	params := schema.Params{"node": a.Node, "vmid": vmid.String()}
	if skipLock {
		params["skiplock"] = "1"
	}
	_, err := a.Tasks.Start(ctx, task.Spec{
		Type: "vzstart", ID: vmid.String(), User: "root@pam", Method: "POST /nodes/{node}/lxc/{vmid}/status/start", Params: params,
	})
	return err
}

// Hooked is the life of a process that LXC calls in one of its hooks, with the phase and the
// name of the container. It returns the exit code.
func (a *App) Hooked(ctx context.Context, args []string) int {
	if len(args) == 1 { // its configuration has "lxc.hook.version: 1"
		args = append(args, os.Getenv("LXC_NAME"))
	}
	if len(args) < 2 {
		return 255
	}
	vmid, err := cluster.ParseVM(args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 255
	}
	target := os.Getenv("LXC_TARGET")
	if len(args) == 3 { // called by ourselves
		target = args[2]
	}
	a.leaveProfile()
	if err := a.CTPower.Hooked(ctx, args[0], vmid, target); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
