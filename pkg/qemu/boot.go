package qemu

import (
	"fmt"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Boot is the boot order: a list of devices, or letters of device classes in old files (boot).
type Boot struct {
	Legacy *string `pve:"legacy,default_key" doc:"Boot order by device class: a floppy, c disk, d CD-ROM, n network." pattern:"[acdn]{1,4}" default:"cdn" hint:"[acdn]{1,4}"`
	Order  *string `pve:"order" doc:"Devices to boot from, the first one first." format:"pve-qm-bootdev-list" hint:"device[;device...]"`
}

// Describe lets the order name nothing but devices that a VM can boot from.
func (Boot) Describe(s *schema.Schema) {
	order := *s.Keys["order"]
	order.Verify = func(device string) error {
		if !IsBootable(device) {
			return fmt.Errorf("invalid boot device '%s'", device)
		}
		return nil
	}
	s.Keys["order"] = &order
}

// BootDisk names the disk to boot from in old files (bootdisk).
type BootDisk string

// Describe lets it name nothing but drives that a VM can have.
func (BootDisk) Describe(s *schema.Schema) {
	s.Verify = func(key string) error {
		if KindOfDrive(key)&Volumes == 0 {
			return fmt.Errorf("invalid boot disk '%s'", key)
		}
		return nil
	}
}

// FirstBootIndex is the place in the boot order that the first device has: what
// is in args may come before it.
const FirstBootIndex = 100

// BootOrder returns the place of each bootable device, by its option: lower ones
// are tried first.
func (c *Config) BootOrder() map[string]int {
	if c.Boot == nil || c.Boot.Legacy != nil && *c.Boot.Legacy != "" {
		return c.legacyBootOrder()
	}
	order := map[string]int{}
	if c.Boot.Order != nil {
		for i, device := range schema.SplitList(*c.Boot.Order) {
			order[device] = FirstBootIndex + i
		}
	}
	return order
}

// legacyBootOrder is the order where classes of devices are given by letters: c
// is the disk named by bootdisk, d all CDs, n all network cards.
func (c *Config) legacyBootOrder() map[string]int {
	letters := "cdn"
	if c.Boot != nil && c.Boot.Legacy != nil {
		letters = *c.Boot.Legacy
	}
	next := map[rune]int{}
	for i, letter := range letters {
		next[letter] = (i + 1) * FirstBootIndex
	}
	order := map[string]int{}
	for d := range c.Drives(Volumes) {
		switch {
		case d.IsDisc():
			if next['d'] != 0 {
				order[d.Key()] = next['d']
				next['d']++
			}
		case next['c'] != 0:
			if c.BootDisk != nil && string(*c.BootDisk) == d.Key() {
				order[d.Key()] = next['c']
			}
			next['c']++
		}
	}
	for i := range 32 {
		if _, ok := c.Net[i]; ok && next['n'] != 0 {
			order["net"+strconv.Itoa(i)] = next['n']
			next['n']++
		}
	}
	return order
}

// DefaultBootOrder lists what a new VM boots from: its first disk, its first CD
// drive, its first network card.
func DefaultBootOrder(values schema.Params) []string {
	var disk, disc string
	for d := range Drives(values, Disks) {
		switch {
		case d.IsCDROM() && disc == "":
			disc = d.Key()
		case !d.IsCDROM() && disk == "":
			disk = d.Key()
		}
	}
	var order []string
	for _, key := range []string{disk, disc} {
		if key != "" {
			order = append(order, key)
		}
	}
	for i := range 32 {
		if key := "net" + strconv.Itoa(i); values[key] != "" {
			return append(order, key)
		}
	}
	return order
}

// IsBootable tells whether key is an option of a device that a VM can boot from.
func IsBootable(key string) bool {
	family, n, ok := schema.Member(key)
	if !ok {
		return false
	}
	switch family {
	case "net":
		return n < 32
	case "usb":
		return n < 14
	case "hostpci":
		return n < 16
	}
	return KindOfDrive(key) == Disks
}
