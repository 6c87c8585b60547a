// Package all lists the API methods that there are.
package all

import (
	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/endpoint/nodes/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/edit"
	"github.com/virtsmith/virtsmith/pkg/qemu/power"
	"github.com/virtsmith/virtsmith/pkg/qemu/vm"
)

// Services are what the methods work on.
type Services struct {
	VMs   *vm.Host
	Power *power.Service
	Edit  *edit.Service
}

// Methods returns all methods, served by s.
func Methods(s Services) api.Registry {
	return (&qemu.Service{VMs: s.VMs, Power: s.Power, Edit: s.Edit}).Methods()
}
