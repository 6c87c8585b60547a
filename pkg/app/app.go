// Package app puts the real world together: it is the one place where the root
// folder, the node's name, the clock, the runner of programs and the services that
// need them are joined, and where the environment is read.
package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/appliance"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	ctpower "github.com/virtsmith/virtsmith/pkg/container/power"
	"github.com/virtsmith/virtsmith/pkg/endpoint/all"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
	"github.com/virtsmith/virtsmith/pkg/storage"
	storagetypes "github.com/virtsmith/virtsmith/pkg/storage/all"
	"github.com/virtsmith/virtsmith/pkg/storage/outside"
	"github.com/virtsmith/virtsmith/pkg/task"
)

// The words that make the program something else than a command.
const (
	WorkerWord     = "--task-worker"
	SupervisorWord = "--supervise-qemu"
	ProbeWord      = "--probe-file-system"
	HookWord       = "--lxc-hook"
)

// Host is the world an App lives in.
type Host struct {
	Root string // stands before every path we own
	Node string // name of the node
	Exe  string // the program, to call it again
	Env  []string
	// LXC binds the library of LXC, where the program is linked with it. path is the
	// folder in which LXC keeps its containers.
	LXC func(path string) ct.Runtime
	// Guests is the kind of guests whose numbers and snapshots the shell completes.
	Guests cluster.Kind
}

// FromOS returns the world as the environment and the system tell it.
func FromOS() (Host, error) {
	exe, err := os.Executable()
	if err != nil {
		return Host{}, err
	}
	// Programs that make file systems and networks are where not everybody looks, cron for one.
	if err := os.Setenv("PATH", withSystemFolders(os.Getenv("PATH"))); err != nil {
		return Host{}, err
	}
	h := Host{Root: os.Getenv("VIRTSMITH_ROOT"), Node: os.Getenv("VIRTSMITH_NODE"), Exe: exe, Env: os.Environ()}
	if h.Root == "" {
		h.Root = "/"
	}
	if h.Root, err = filepath.Abs(h.Root); err != nil {
		return Host{}, err
	}
	// Workers and supervisors stand in another folder: what is relative to ours would
	// be another place to them.
	h.Env = slices.DeleteFunc(h.Env, func(pair string) bool { return strings.HasPrefix(pair, "VIRTSMITH_ROOT=") })
	h.Env = append(h.Env, "VIRTSMITH_ROOT="+h.Root)
	if h.Node == "" {
		name, err := os.Hostname()
		if err != nil {
			return Host{}, fmt.Errorf("name of this node: %w", err)
		}
		h.Node, _, _ = strings.Cut(name, ".")
	}
	// It becomes part of paths.
	if err := schema.CheckFormat("pve-node", h.Node); err != nil {
		return Host{}, fmt.Errorf("name of this node, %q: %w; set VIRTSMITH_NODE", h.Node, err)
	}
	return h, nil
}

// withSystemFolders adds to a search path the folders of the system that it has not.
func withSystemFolders(path string) string {
	folders, system := filepath.SplitList(path), []string{"/usr/sbin", "/sbin"}
	if path == "" {
		system = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	}
	for _, dir := range system {
		if !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	return strings.Join(folders, ":")
}

// An App is a node's services and the methods on them.
type App struct {
	Host
	Cluster *cluster.Client
	Storage *storage.Service
	Tasks   *task.Host
	VMs     *vm.Host
	Power   *power.Service
	Edit    *edit.Service
	CTs     *ct.Host
	CTPower *ctpower.Service

	Appliances *appliance.Service
}

// New joins the services. It touches nothing.
func New(h Host) *App {
	a := &App{Host: h, Cluster: cluster.New(h.Root, id.Node(h.Node))}
	runner := plannedRunner{run.Host{}}
	a.Tasks = &task.Host{Root: h.Root, Node: h.Node, Command: []string{h.Exe, WorkerWord}, Env: h.Env, Stderr: os.Stderr}
	a.Storage = storage.New(storage.Options{
		Root: h.Root, Node: id.Node(h.Node), Runner: runner, Types: storagetypes.Types(), Outside: outside.Finder{Root: h.Root, Runner: runner}.Types,
		Config: a.storageConfig, Lock: a.lock, Guests: a.guests, Secrets: secrets{a.Cluster}, Probe: a.prober().Probe,
		Save: func(ctx context.Context, text string) error {
			return a.Cluster.WriteFile(ctx, cluster.StorageFile, []byte(text))
		},
	})
	a.Appliances = a.appliances(runner)
	a.VMs = &vm.Host{
		Root: h.Root, Node: id.Node(h.Node), Cluster: a.Cluster, Storage: a.Storage, Run: runner,
		Dir: process.Below(h.Root), Launcher: process.Launcher{Argv: []string{h.Exe, SupervisorWord}, Env: h.Env},
		Now: time.Now, UUID: uuid,
	}
	a.CTs = a.containers(runner)
	a.CTPower = a.ctPower(runner)
	a.CTPower.ApplyPending = a.ctEdit().Apply
	a.Power = a.power(runner)
	a.Edit = a.edit(&disks.Service{Host: a.VMs, Firmware: power.Firmware, Gather: a.Power.Gather})
	return a
}

// Methods returns the methods of the node.
func (a *App) Methods() api.Registry {
	return all.Methods(all.Services{
		Node: id.Node(a.Node), Run: a.VMs.Run, Disks: host.DiskInventory{Runner: a.VMs.Run}, Cluster: a.Cluster, Storage: a.Storage,
		VMs: a.VMs, Power: a.Power, Edit: a.Edit, Containers: a.containerMethods(), Appliances: a.Appliances,
	})
}

// Caller calls the methods in this process. Tasks run in workers, which it waits for,
// showing what they log on out.
func (a *App) Caller(out io.Writer) api.Local {
	return api.Local{Methods: a.Methods(), Start: a.run(out)}
}

// storageConfig returns the text of storage.cfg, empty where there is none.
func (a *App) storageConfig(ctx context.Context) (string, error) {
	text, err := a.Cluster.ReadOptional(ctx, cluster.StorageFile)
	return string(text), err
}

// lock runs fn under a lock of the cluster.
func (a *App) lock(ctx context.Context, name string, fn func(context.Context) error) error {
	return a.Cluster.WithLock(ctx, name, file.LockOptions{Patience: cluster.Patience}, fn)
}

// guests tells of which kind the guests of the cluster are.
func (a *App) guests(ctx context.Context) (map[id.VM]string, error) {
	found, err := a.Cluster.Guests(ctx)
	kinds := make(map[id.VM]string, len(found))
	for _, g := range found {
		kinds[g.ID] = string(g.Kind)
	}
	return kinds, err
}

// uuid makes a random UUID, version 4 of RFC 9562.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
