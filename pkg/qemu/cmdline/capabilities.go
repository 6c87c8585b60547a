package cmdline

import (
	"slices"
	"strings"
)

// Capabilities are what an installed QEMU can do, as it says itself. A nil list
// means that it was not asked, and that it can do what its version should.
type Capabilities struct {
	Binary     string              `json:"binary"`     // path of the program
	Version    string              `json:"version"`    // such as 7.2.22
	Machines   []string            `json:"machines"`   // names and aliases
	CPUs       []string            `json:"cpus"`       // models
	Devices    []string            `json:"devices"`    // drivers of -device
	Objects    []string            `json:"objects"`    // types of -object
	AIO        []string            `json:"aio"`        // ways a file is read
	Properties map[string][]string `json:"properties"` // of those drivers that differ between versions, and of the CPU
	Spice      bool                `json:"spice"`      // built with SPICE
}

// CPUProperties is the key of [Capabilities.Properties] for the flags of a CPU.
const CPUProperties = "cpu"

// VersionedDrivers lists the drivers whose properties are worth asking for: a
// command line uses some that not every version has.
func VersionedDrivers() []string {
	return []string{"virtio-net-pci", "virtio-balloon-pci", "vfio-pci", "VGA", "pcie-root-port", "virtio-iommu-pci", "intel-iommu"}
}

// hasDevice tells whether QEMU has a driver.
func (c *Capabilities) hasDevice(driver string) bool {
	return c.Devices == nil || slices.Contains(c.Devices, driver)
}

// hasMachine tells whether QEMU has a machine type, or an alias.
func (c *Capabilities) hasMachine(name string) bool {
	return c.Machines == nil || slices.Contains(c.Machines, name)
}

// hasCPU tells whether QEMU has a CPU model.
func (c *Capabilities) hasCPU(model string) bool {
	return c.CPUs == nil || slices.Contains(c.CPUs, model)
}

// hasObject tells whether QEMU has a type of object.
func (c *Capabilities) hasObject(kind string) bool {
	return c.Objects == nil || slices.Contains(c.Objects, kind)
}

// hasAIO tells whether QEMU was built with a way to read files.
func (c *Capabilities) hasAIO(way string) bool { return c.AIO == nil || slices.Contains(c.AIO, way) }

// hasProperty tells whether a driver has a property. Where nobody asked, it has.
func (c *Capabilities) hasProperty(driver, property string) bool {
	known, asked := c.Properties[driver]
	return !asked || slices.Contains(known, property)
}

// hasFlag tells whether QEMU knows a CPU flag; _ and - are the same to it.
func (c *Capabilities) hasFlag(flag string) bool {
	known, asked := c.Properties[CPUProperties]
	if !asked {
		return true
	}
	name := strings.ReplaceAll(flag, "_", "-")
	if proper, ok := flagAliases()[name]; ok {
		name = proper
	}
	return slices.Contains(known, name)
}

// flagAliases are the second names of flags, which QEMU takes but does not list.
func flagAliases() map[string]string {
	return map[string]string{
		"sse3": "pni", "pclmuldq": "pclmulqdq", "sse4-1": "sse4.1", "sse4-2": "sse4.2", "xd": "nx", "ffxsr": "fxsr-opt", "i64": "lm",
	}
}
