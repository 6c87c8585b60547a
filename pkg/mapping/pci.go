package mapping

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// PCI is a name for PCI devices.
type PCI struct {
	ID                   string
	Description          *string    `pve:"description" doc:"What the devices are." maxlen:"4096"`
	LiveMigrationCapable *bool      `pve:"live-migration-capable" doc:"The devices can move between nodes while the guest runs." default:"0"`
	MDev                 *bool      `pve:"mdev" doc:"The devices can be shared out as mediated devices." default:"0"`
	Maps                 []PCIEntry // what the name stands for
}

// PCIEntry is what a name stands for on one node: a device, or several functions with
// semicolons between them. A node may have several entries, of which any will do.
type PCIEntry struct {
	Description *string `pve:"description" doc:"What the device of this node is." maxlen:"4096"`
	DeviceID    string  `pve:"id" doc:"Vendor and product that the device must have." pattern:"(?:^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}$)"`
	IOMMUGroup  *int    `pve:"iommugroup" doc:"IOMMU group that the device must be in."`
	Node        id.Node `pve:"node" doc:"Node that the entry is for."`
	Path        string  `pve:"path" doc:"Address of the device, or several with semicolons between them." pattern:"(?:[a-f0-9]{4,}:[a-f0-9]{2}:[a-f0-9]{2}(?:.[a-f0-9])?;)*[a-f0-9]{4,}:[a-f0-9]{2}:[a-f0-9]{2}(?:.[a-f0-9])?"`
	SubsystemID *string `pve:"subsystem-id" doc:"Subsystem vendor and product that the device must have." pattern:"(?:^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}$)"`
}

// PCIs are the names of mapping/pci.cfg, in its order.
type PCIs []PCI

// ReadPCI reads mapping/pci.cfg. What is wrong in it is told to warn and left out.
func ReadPCI(text string, warn func(string)) PCIs {
	r := &reader{file: "mapping/pci.cfg", keys: schema.Of[PCI]().Properties, warn: warn}
	var all PCIs
	for _, s := range r.read(text) {
		one := PCI{ID: s.id, Maps: entries[PCIEntry](r, s)}
		_ = schema.Decode(s.values, &one) // each value was checked when read
		all = append(all, one)
	}
	return all
}

// Find returns the mapping of the given name.
func (p PCIs) Find(name string) (PCI, bool) {
	i := slices.IndexFunc(p, func(m PCI) bool { return m.ID == name })
	if i < 0 {
		return PCI{}, false
	}
	return p[i], true
}

// On returns what the name stands for on a node.
func (m PCI) On(node id.Node) []PCIEntry {
	return on(m.Maps, node, func(e PCIEntry) id.Node { return e.Node })
}

// Devices returns the devices that a name stands for on a node, each as addresses with
// semicolons between them, after a look whether they are what the mapping says.
func (p PCIs) Devices(sys host.Sys, node id.Node, name string) (paths []string, err error) {
	m, _ := p.Find(name)
	here := m.On(node)
	if len(here) == 0 {
		return nil, fmt.Errorf("PCI device mapping not found for '%s'", name)
	}
	for _, e := range here {
		if err := m.Validate(sys, e); err != nil {
			return nil, fmt.Errorf("PCI device mapping invalid (hardware probably changed): %w", err)
		}
		paths = append(paths, e.Path)
	}
	return paths, nil
}

// Validate compares an entry for this node with the device that is there.
func (m PCI) Validate(sys host.Sys, e PCIEntry) error {
	for i, path := range strings.Split(e.Path, ";") {
		if !strings.Contains(path, ".") {
			path += ".0" // a whole device is known by its first function
		}
		d, ok := sys.PCIDevice(path)
		if !ok {
			return fmt.Errorf("pci device '%s' not found", path)
		}
		real, noted := m.traits(d, e)
		for _, name := range []string{"id", "iommugroup", "mdev", "subsystem-id"} {
			if name == "iommugroup" && i > 0 {
				continue // of functions it is that of the first
			}
			if err := compare(name, path, m.ID, real, noted); err != nil {
				return err
			}
		}
	}
	return nil
}

// traits returns what a device is and what the mapping says it is, in the same words.
func (m PCI) traits(d host.PCIDevice, e PCIEntry) (real, noted map[string]string) {
	real = map[string]string{"id": pair(d.Vendor, d.Device), "mdev": schema.FormatBool(d.MDev)}
	noted = map[string]string{"id": e.DeviceID, "mdev": schema.FormatBool(m.MDev != nil && *m.MDev)}
	if d.IOMMUGroup >= 0 {
		real["iommugroup"] = strconv.Itoa(d.IOMMUGroup)
	}
	if e.IOMMUGroup != nil {
		noted["iommugroup"] = strconv.Itoa(*e.IOMMUGroup)
	}
	if d.SubVendor != "" && d.SubDevice != "" {
		real["subsystem-id"] = pair(d.SubVendor, d.SubDevice)
	}
	if e.SubsystemID != nil {
		noted["subsystem-id"] = *e.SubsystemID
	}
	return real, noted
}

// pair joins two ids as a mapping writes them.
func pair(vendor, device string) string {
	return strings.TrimPrefix(vendor, "0x") + ":" + strings.TrimPrefix(device, "0x")
}

func compare(name, path, mapping string, real, noted map[string]string) error {
	is, hasReal := real[name]
	said, hasNoted := noted[name]
	switch {
	case !hasReal && !hasNoted:
		return nil
	case !hasNoted:
		return fmt.Errorf("no '%s' for device '%s'", name, path)
	case !hasReal:
		return fmt.Errorf("'%s' configured but should not be", name)
	case !strings.EqualFold(is, said):
		return fmt.Errorf("'%s' does not match for '%s' (%s != %s)", name, mapping, is, said)
	}
	return nil
}
