package power

import (
	"context"
	"fmt"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/mapping"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// sys is where the kernel shows its devices.
const sys host.Sys = "/sys"

// mapped reads a file of mappings.
func (s *Service) mapped(ctx context.Context, name string) (string, func(string), error) {
	text, err := s.Cluster.ReadOptional(ctx, name)
	return string(text), func(fault string) { api.Warnf(ctx, "%s: %s", name, fault) }, err
}

// directory returns the folder that a name of the cluster stands for here.
func (s *Service) directory(ctx context.Context, name string) (string, error) {
	text, warn, err := s.mapped(ctx, cluster.DirMappingFile)
	if err != nil {
		return "", err
	}
	return mapping.ReadDirectories(text, warn).Path(s.Node, name)
}

// usb returns the USB device that a name of the cluster stands for here.
func (s *Service) usb(ctx context.Context, name string) (string, error) {
	text, warn, err := s.mapped(ctx, cluster.USBMappingFile)
	if err != nil {
		return "", err
	}
	return mapping.ReadUSB(text, warn).Device(sys, s.Node, name)
}

// pciDevices are the PCI devices of the node as the command line of a VM asks for
// them. To ask reserves nothing.
type pciDevices struct {
	*Service
	ctx context.Context //nolint:containedctx // lives as long as the composing of one line
	vm  id.VM
}

// Functions returns the functions that a configured address means.
func (p pciDevices) Functions(address string) ([]string, error) {
	found, err := sys.FindPCI(address)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(found))
	for _, d := range found {
		ids = append(ids, d.Address)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("no PCI device found for '%s'", address)
	}
	return ids, nil
}

// Mapping returns the devices that a name of the cluster stands for.
func (p pciDevices) Mapping(name string) (cmdline.PCIMapping, error) {
	text, warn, err := p.mapped(p.ctx, cluster.PCIMappingFile)
	if err != nil {
		return cmdline.PCIMapping{}, err
	}
	all := mapping.ReadPCI(text, warn)
	devices, err := all.Devices(sys, p.Node, name)
	m := cmdline.PCIMapping{Devices: devices}
	if found, ok := all.Find(name); ok {
		m.LiveMigration = found.LiveMigrationCapable != nil && *found.LiveMigrationCapable
	}
	return m, err
}

// Reserve does nothing: that is done when the VM starts.
func (p pciDevices) Reserve([]string) error { return nil }

// IsNVIDIA tells whether a function is shared out in NVIDIA's own way.
func (p pciDevices) IsNVIDIA(address string) bool {
	d, ok := sys.PCIDevice(address)
	return ok && d.NVIDIA
}

// reservations say which VM has which PCI device.
func (s *Service) reservations() host.Reservations {
	return host.Reservations{Dir: string(s.Dir), Now: s.Now, Running: s.Dir.Running}
}

// reservationPatience is how long a VM that starts keeps its devices before it runs.
const reservationPatience = 2 * time.Minute

var _ cmdline.PCI = pciDevices{}
