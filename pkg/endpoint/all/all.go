// Package all lists the API methods that there are.
package all

import (
	"slices"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/appliance"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/aplinfo"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/disks"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/lxc"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/qemu"
	nodestorage "github.com/virtsmith/virtsmith/pkg/endpoint/nodes/storage"
	clusterstorage "github.com/virtsmith/virtsmith/pkg/endpoint/storage"
	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// Services are what the methods work on.
type Services struct {
	Node    id.Node
	Run     run.Runner
	Disks   host.DiskInventory
	Cluster *cluster.Client
	Storage *storage.Service
	VMs     *vm.Host
	Power   *power.Service
	Edit    *edit.Service

	Appliances *appliance.Service

	Containers *lxc.Service
}

// Methods returns all methods, served by s.
func Methods(s Services) api.Registry {
	return slices.Concat(
		(&aplinfo.Service{Appliances: s.Appliances}).Methods(),
		(&disks.Service{Disks: s.Disks}).Methods(),
		(&qemu.Service{VMs: s.VMs, Power: s.Power, Edit: s.Edit}).Methods(),
		s.Containers.Methods(),
		(&nodestorage.Service{Storage: s.Storage, Node: s.Node, Run: s.Run}).Methods(),
		(&clusterstorage.Service{Storage: s.Storage, Cluster: s.Cluster}).Methods(),
	)
}
