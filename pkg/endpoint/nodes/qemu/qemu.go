// Package qemu has the methods below /nodes/{node}/qemu, and the commands of qm
// that have no path.
package qemu

import (
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

// A Service serves the VMs of a node.
type Service struct {
	VMs   *vm.Host
	Power *power.Service
	Edit  *edit.Service
}

// Methods declares what s serves.
func (s *Service) Methods() []api.Method {
	var all []api.Method
	for _, group := range [][]api.Method{
		s.listMethods(), s.configMethods(), s.snapshotListMethods(), s.snapshotMethods(), s.featureMethods(), s.powerMethods(), s.consoleMethods(), s.monitorMethods(), s.agentMethods(), s.unlockMethods(), s.efiMethods(), s.createMethods(), s.updateMethods(), s.cloudInitMethods(), s.diskMethods(), s.cloneMethods(), s.templateMethods(), s.destroyMethods(), s.importMethods(),
	} {
		all = append(all, group...)
	}
	return all
}

// target names the VM that a method is about.
type target struct {
	Node id.Node `pve:"node"`
	VMID id.VM   `pve:"vmid"`
}

// local names the VM that a command without a path is about.
type local struct {
	VMID id.VM `pve:"vmid"`
}

// nothing is what a method returns that has no answer.
type nothing struct{}

// auditVM is the permission to look at a VM.
func auditVM() api.Permissions { return onVM("VM.Audit") }

// onVM is the permission for something on a VM.
func onVM(privileges ...string) api.Permissions {
	return api.Permissions{Check: api.Perm("/vms/{vmid}", privileges...)}
}
