package hotplug

import (
	"context"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// plugsUSB returns errRestart where USB devices cannot come and go.
func (m *machine) plugsUSB(key, value string) error {
	if err := m.need("usb"); err != nil {
		return err
	}
	can, err := cmdline.PlugsUSB(m.with(key, value), *m.host)
	if err == nil && !can {
		err = errRestart
	}
	return err
}

// redirected names the device and the channel of a USB port that SPICE serves.
func redirected(key string) (device, channel string) {
	number := key[len("usb"):]
	return "usbredirdev" + number, "usbredirchardev" + number
}

// removeUSB takes a USB device away, and the controller with the last one.
func (m *machine) removeUSB(ctx context.Context, key string) error {
	if err := m.plugsUSB(key, m.doc.Values[key]); err != nil {
		return err
	}
	if err := m.unplugUSB(ctx, key); err != nil {
		return err
	}
	for other := range m.doc.Values {
		if family, _, ok := schema.Member(other); ok && family == "usb" && other != key {
			return nil
		}
	}
	for other := range m.doc.Pending {
		if family, _, ok := schema.Member(other); ok && family == "usb" {
			return nil
		}
	}
	if err := m.remove(ctx, "xhci"); err != nil {
		api.Warnf(ctx, "the USB controller stays: %v", err)
	}
	return nil
}

func (m *machine) unplugUSB(ctx context.Context, key string) error {
	device, channel := redirected(key)
	if m.devices[device] {
		if err := m.remove(ctx, device); err != nil {
			return err
		}
		if err := m.drop(ctx, "chardev-remove", "id", channel); err != nil {
			return err
		}
	}
	return m.remove(ctx, key)
}

// setUSB puts another device on a USB port.
func (m *machine) setUSB(ctx context.Context, key, value string) error {
	if err := m.plugsUSB(key, value); err != nil {
		return err
	}
	if err := m.unplugUSB(ctx, key); err != nil {
		return err
	}
	return m.add(ctx, key, value)
}

// setTablet gives the VM its pointer that knows absolute places, or takes it away.
func (m *machine) setTablet(ctx context.Context, on bool) error {
	if err := m.need("usb"); err != nil {
		return err
	}
	if !on {
		return m.remove(ctx, "tablet")
	}
	return m.add(ctx, "tablet", "1")
}
