package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// PCIDevice is one function of a PCI device of the host.
type PCIDevice struct {
	Address    string // with domain and function: 0000:01:00.0
	Vendor     string // 0x8086
	Device     string // 0x1520
	SubVendor  string // empty where it has none
	SubDevice  string
	Class      string // 0x020000
	Driver     string // that it is bound to, empty for none
	IOMMUGroup int    // -1 where it is in none
	MDev       bool   // can be shared out as mediated devices
	NVIDIA     bool   // as NVIDIA's driver does it since Linux 6.8
	Reset      bool   // can be reset on its own
	Bridge     bool   // has a bus behind it
}

var pciAddress = pattern.New(`^[a-f0-9]{4,}:[a-f0-9]{2}:[a-f0-9]{2}\.[a-f0-9]$`)

// FullPCIAddress puts the domain 0000 before an address that names none.
func FullPCIAddress(address string) string {
	if strings.Count(address, ":") == 1 {
		return "0000:" + address
	}
	return address
}

func (s Sys) pciDir(address string) string {
	return filepath.Join(string(s), "bus/pci/devices", address)
}

// PCIDevices lists the PCI devices of the host by address.
func (s Sys) PCIDevices() ([]PCIDevice, error) {
	entries, err := os.ReadDir(s.pciDir(""))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a machine without PCI
	}
	if err != nil {
		return nil, err
	}
	var found []PCIDevice
	for _, e := range entries { // sorted by name
		if pciAddress.MatchString(e.Name()) {
			found = append(found, s.readPCI(e.Name()))
		}
	}
	return found, nil
}

// PCIDevice returns one function by its full address; ok is false where there is none.
func (s Sys) PCIDevice(address string) (d PCIDevice, ok bool) {
	address = FullPCIAddress(address)
	if !pciAddress.MatchString(address) || !exists(s.pciDir(address)) {
		return PCIDevice{}, false
	}
	return s.readPCI(address), true
}

func (s Sys) readPCI(address string) PCIDevice {
	dir := s.pciDir(address)
	d := PCIDevice{
		Address: address, Vendor: line(dir, "vendor"), Device: line(dir, "device"), Class: line(dir, "class"),
		SubVendor: line(dir, "subsystem_vendor"), SubDevice: line(dir, "subsystem_device"),
		Driver: linked(dir, "driver"), IOMMUGroup: -1,
		NVIDIA: exists(dir, "nvidia"), Reset: exists(dir, "reset"), Bridge: exists(dir, "pci_bus"),
	}
	d.MDev = d.NVIDIA || exists(dir, "mdev_supported_types")
	if n, err := strconv.Atoi(linked(dir, "iommu_group")); err == nil {
		d.IOMMUGroup = n
	}
	return d
}

// FindPCI returns the device that an address names: one function, or all functions of
// a device where the address has none. The domain may be left out.
func (s Sys) FindPCI(address string) ([]PCIDevice, error) {
	all, err := s.PCIDevices()
	if err != nil {
		return nil, err
	}
	wanted := FullPCIAddress(address)
	var found []PCIDevice
	for _, d := range all {
		if d.Address == wanted || strings.HasPrefix(d.Address, wanted+".") {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no PCI device found for '%s'", address)
	}
	return found, nil
}

// HasIOMMU tells whether the host can keep devices of guests apart.
func (s Sys) HasIOMMU() bool {
	entries, err := os.ReadDir(filepath.Join(string(s), "class/iommu"))
	return err == nil && len(entries) > 0
}

// MDevType is a kind of mediated device that a device can be shared out as.
type MDevType struct {
	Type        string // nvidia-37
	Name        string
	Description string
	Available   int // how many more can be made
}

// MDevTypes lists the kinds of mediated devices of a device.
func (s Sys) MDevTypes(address string) ([]MDevType, error) {
	dir := s.pciDir(FullPCIAddress(address))
	entries, err := os.ReadDir(filepath.Join(dir, "mdev_supported_types"))
	if errors.Is(err, fs.ErrNotExist) {
		return nvidiaTypes(dir), nil
	}
	if err != nil {
		return nil, err
	}
	var types []MDevType
	for _, e := range entries {
		kind := filepath.Join(dir, "mdev_supported_types", e.Name())
		types = append(types, MDevType{
			Type: e.Name(), Name: line(kind, "name"), Description: line(kind, "description"), Available: integer(kind, "available_instances"),
		})
	}
	return types, nil
}

// nvidiaTypes reads the table of NVIDIA's driver: "557 : NVIDIA RTX5000-Ada-1B". It
// lists only what can be made.
func nvidiaTypes(dir string) (types []MDevType) {
	for text := range strings.Lines(line(dir, "nvidia/creatable_vgpu_types")) {
		number, name, ok := strings.Cut(text, ":")
		number = strings.TrimSpace(number)
		if !ok || number == "" || strings.HasPrefix(number, "ID") {
			continue
		}
		types = append(types, MDevType{Type: "nvidia-" + number, Name: strings.TrimSpace(name), Available: 1})
	}
	return types
}
