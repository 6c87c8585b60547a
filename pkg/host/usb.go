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

// USBDevice is a USB device of the host.
type USBDevice struct {
	Vendor, Product string // four hexadecimal digits
	Bus, Number     int
	Path            string // ports from the root of its bus: 2.1; empty for the root itself
	Class           int    // 9 is a hub
	Speed           string // in Mbit/s
	Name            string // as the device tells it
	Manufacturer    string
	Serial          string
}

// ID returns the vendor and the product.
func (d USBDevice) ID() string { return d.Vendor + ":" + d.Product }

// Port returns where the device is plugged in: 1-2.1. It is empty for the root of a
// bus.
func (d USBDevice) Port() string {
	if d.Path == "" {
		return ""
	}
	return fmt.Sprintf("%d-%s", d.Bus, d.Path)
}

var usbName = pattern.New(`^(?:usb\d+|\d+-(\d+(?:\.\d+)*))$`)

// USBDevices lists the USB devices of the host.
func (s Sys) USBDevices() ([]USBDevice, error) {
	top := filepath.Join(string(s), "bus/usb/devices")
	entries, err := os.ReadDir(top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a machine without USB
	}
	if err != nil {
		return nil, err
	}
	var found []USBDevice
	for _, e := range entries {
		m := usbName.FindStringSubmatch(e.Name())
		if m == nil {
			continue // an interface of a device
		}
		dir := filepath.Join(top, e.Name())
		class, _ := strconv.ParseInt(line(dir, "bDeviceClass"), 16, 32)
		found = append(found, USBDevice{
			Vendor: line(dir, "idVendor"), Product: line(dir, "idProduct"), Bus: integer(dir, "busnum"), Number: integer(dir, "devnum"),
			Path: m[1], Class: int(class), Speed: line(dir, "speed"), Name: line(dir, "product"),
			Manufacturer: line(dir, "manufacturer"), Serial: line(dir, "serial"),
		})
	}
	return found, nil
}

// FindUSB returns the device that is plugged in at a port (1-2.1) or has the given
// vendor and product (046d:c52b).
func (s Sys) FindUSB(where string) (USBDevice, error) {
	all, err := s.USBDevices()
	if err != nil {
		return USBDevice{}, err
	}
	wanted := strings.ToLower(where)
	if vendor, product, ok := strings.Cut(wanted, ":"); ok {
		wanted = strings.TrimPrefix(vendor, "0x") + ":" + strings.TrimPrefix(product, "0x")
	}
	for _, d := range all {
		if d.Port() == wanted || d.ID() == wanted {
			return d, nil
		}
	}
	return USBDevice{}, fmt.Errorf("usb device '%s' not found", where)
}
