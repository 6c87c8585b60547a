package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// USB is a name for a USB device.
type USB struct {
	ID          string
	Description *string    `pve:"description" doc:"What the device is." maxlen:"4096"`
	Maps        []USBEntry // what the name stands for
}

// USBEntry is what a name stands for on one node: what is plugged in at a port, or
// wherever a device with its id is.
type USBEntry struct {
	Description *string `pve:"description" doc:"What the device of this node is." maxlen:"4096"`
	DeviceID    string  `pve:"id" doc:"Vendor and product that the device must have." pattern:"(?:^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}$)"`
	Node        id.Node `pve:"node" doc:"Node that the entry is for."`
	Path        *string `pve:"path" doc:"Port that the device is plugged in at." pattern:"(?:^(\\d+)\\-(\\d+(\\.\\d+)*)$)"`
}

// USBs are the names of mapping/usb.cfg, in its order.
type USBs []USB

// ReadUSB reads mapping/usb.cfg. What is wrong in it is told to warn and left out.
func ReadUSB(text string, warn func(string)) USBs {
	r := &reader{file: "mapping/usb.cfg", keys: schema.Of[USB]().Properties, warn: warn}
	var all USBs
	for _, s := range r.read(text) {
		one := USB{ID: s.id, Maps: entries[USBEntry](r, s)}
		_ = schema.Decode(s.values, &one) // each value was checked when read
		all = append(all, one)
	}
	return all
}

// Find returns the mapping of the given name.
func (u USBs) Find(name string) (USB, bool) {
	i := slices.IndexFunc(u, func(m USB) bool { return m.ID == name })
	if i < 0 {
		return USB{}, false
	}
	return u[i], true
}

// On returns what the name stands for on a node.
func (m USB) On(node id.Node) []USBEntry {
	return on(m.Maps, node, func(e USBEntry) id.Node { return e.Node })
}

// Device returns the device that a name stands for on a node, as BUS-PORT or
// VENDOR:PRODUCT, after a look whether it is there.
func (u USBs) Device(sys host.Sys, node id.Node, name string) (string, error) {
	m, _ := u.Find(name)
	here := m.On(node)
	switch len(here) {
	case 0:
		return "", fmt.Errorf("USB device mapping not found for '%s'", name)
	case 1:
	default:
		//lint:ignore ST1005 upstream's words
		return "", errors.New("More than one USB mapping per host not supported")
	}
	if err := m.Validate(sys, here[0]); err != nil {
		return "", fmt.Errorf("USB Mapping invalid (hardware probably changed): %w", err)
	}
	if here[0].Path != nil {
		return *here[0].Path, nil
	}
	return here[0].DeviceID, nil
}

// Validate compares an entry for this node with the device that is there.
func (m USB) Validate(sys host.Sys, e USBEntry) error {
	where := e.DeviceID
	if e.Path != nil {
		where = *e.Path
	}
	d, err := sys.FindUSB(where)
	if err != nil {
		return err
	}
	if !strings.EqualFold(d.ID(), e.DeviceID) {
		return fmt.Errorf("'id' does not match for '%s' (%s != %s)", m.ID, d.ID(), e.DeviceID)
	}
	return nil
}
