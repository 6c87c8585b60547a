package edit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/disks"
	"github.com/virtsmith/virtsmith/pkg/revert"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// An editing is an update under way: its changes go to the pending ones of doc.
type editing struct {
	*Service
	Update
	doc     *config.Doc
	values  schema.Params // to set, as they are kept
	undo    *revert.List
	order   []string // the devices to boot from, nil where the configuration does not list them
	touched map[string]bool
}

// keys are the options that have changed.
func (e *editing) keys() map[string]string {
	keys := map[string]string{}
	for key := range e.touched {
		keys[key] = ""
	}
	return keys
}

// bootDevices returns the boot order of doc, pending or not.
func bootDevices(doc *config.Doc) []string {
	text, ok := doc.Pending["boot"]
	if !ok {
		text = doc.Values["boot"]
	}
	var b qemu.Boot
	if err := schema.Parse(text, &b); err != nil || b.Order == nil {
		return nil
	}
	return schema.SplitList(*b.Order)
}

// setOrder changes the boot order.
func (e *editing) setOrder(order []string) {
	e.order = order
	guest.AddPending(e.doc, "boot", bootOrder(order))
	e.touched["boot"] = true
}

// revert forgets pending changes.
func (e *editing) revert(ctx context.Context) error {
	for _, key := range e.Revert {
		if err := e.forget(ctx, key); err != nil {
			return err
		}
		e.touched[key] = true
	}
	return nil
}

// forget forgets the pending change of an option. A volume that was made for it is
// noted as unused.
func (e *editing) forget(ctx context.Context, key string) error {
	d, err := qemu.ParseDrive(key, e.doc.Pending[key])
	guest.Revert(e.doc, key)
	if err != nil {
		return nil //nolint:nilerr // no drive, or none that can be read
	}
	return e.Detach(ctx, e.VM, e.doc, d)
}

// delete notes the options that will be gone. Volumes that nobody uses go at once.
func (e *editing) delete(ctx context.Context) error {
	if contains(e.Delete, "vmstate") {
		for _, key := range []string{"runningmachine", "runningcpu", "running-nets-host-mtu"} {
			if _, set := e.doc.Values[key]; set {
				e.Delete = append(e.Delete, key)
			}
		}
		if e.doc.Values["lock"] == "suspended" {
			e.Delete = append(e.Delete, "lock")
		}
	}
	for _, key := range e.Delete {
		if key == "cdrom" {
			key = "ide2"
		}
		if err := e.deleteOne(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (e *editing) deleteOne(ctx context.Context, key string) error {
	value, set := e.doc.Values[key]
	waits, pending := e.doc.Pending[key]
	if !set && !pending {
		fmt.Fprintf(api.StreamsOf(ctx).Err, "cannot delete '%s' - not set in current configuration!\n", key)
		return nil
	}
	if !set {
		value = waits
	}
	e.touched[key] = true
	switch {
	case guest.IsUnused(key):
		return e.deleteVolume(ctx, key, value, fmt.Sprintf("can't remove unused disk '%s'", value))
	case key == "vmstate":
		return e.deleteVolume(ctx, key, value, fmt.Sprintf("can't remove vmstate '%s'", value))
	case qemu.IsDriveKey(key):
		if err := guest.CheckProtection(e.doc, fmt.Sprintf("can't remove drive '%s'", key)); err != nil {
			return err
		}
		if pending {
			if err := e.forget(ctx, key); err != nil {
				return err
			}
		}
	}
	if !pending && slices.Contains(e.order, key) {
		e.setOrder(slices.DeleteFunc(slices.Clone(e.order), func(device string) bool { return device == key }))
	}
	guest.AddDelete(e.doc, key, e.Force)
	return nil
}

// deleteVolume removes a volume that no drive uses, and its entry at once: what is
// gone must not be named.
func (e *editing) deleteVolume(ctx context.Context, key, volume, what string) error {
	if err := guest.CheckProtection(e.doc, what); err != nil {
		return err
	}
	if err := e.Free(ctx, e.VM, e.doc, key, volume); err != nil {
		return err
	}
	delete(e.doc.Values, key)
	guest.Revert(e.doc, key)
	return e.Save(ctx, e.VM, e.doc)
}

// set notes the values that will hold.
func (e *editing) set(ctx context.Context) error {
	if err := e.checkOrder(); err != nil {
		return err
	}
	for _, key := range sorted(e.values) {
		e.touched[key] = true
		text := e.values[key]
		if waits, pending := e.doc.Pending[key]; pending && waits == text {
			continue
		}
		if qemu.KindOfDrive(key)&qemu.Volumes != 0 {
			var err error
			if text, err = e.drive(ctx, key, text); err != nil {
				return err
			}
		}
		if key == "boot" && e.doc.Values["bootdisk"] != "" && strings.Contains(text, "order=") {
			guest.AddDelete(e.doc, "bootdisk", false)
			e.touched["bootdisk"] = true
		}
		guest.AddPending(e.doc, key, text)
	}
	return nil
}

// checkOrder refuses a boot order with devices that the VM will not have.
func (e *editing) checkOrder() error {
	var b qemu.Boot
	if text, given := e.values["boot"]; !given || schema.Parse(text, &b) != nil || b.Order == nil {
		return nil
	}
	for _, device := range schema.SplitList(*b.Order) {
		has := e.doc.Values[device] != "" || e.doc.Pending[device] != "" || e.values[device] != ""
		if !has || contains(e.Delete, device) {
			return errors.New("invalid bootorder: device '" + device + "' does not exist'")
		}
	}
	return nil
}

// drive makes the volume that a drive asks for, and returns its value.
func (e *editing) drive(ctx context.Context, key, text string) (string, error) {
	next, err := qemu.ParseDrive(key, text)
	if err != nil {
		return "", err
	}
	if waits, err := qemu.ParseDrive(key, e.doc.Pending[key]); err == nil && waits.File != next.File {
		if err := e.forget(ctx, key); err != nil {
			return "", err
		}
	}
	values := guest.Merged(e.doc)
	delete(values, key)
	made, err := e.Disks.Make(ctx, disks.Request{VMID: e.VM, Drives: schema.Params{key: text}, Values: values}, e.undo)
	if err != nil {
		return "", err
	}
	d, err := qemu.ParseDrive(key, made[key])
	if err == nil && e.order != nil && d.IsDisc() && !slices.Contains(e.order, key) && e.values["boot"] == "" {
		e.setOrder(append(slices.Clone(e.order), key))
	}
	return made[key], err
}
