package hotplug

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/cmdline"
)

// throttled is the object with the limits of a drive.
func throttled(key string) string { return "throttle-drive-" + key }

// plugs tells whether drives on a bus can come and go while the VM runs.
func plugs(d qemu.Drive) bool { return d.Bus == "scsi" || d.Bus == "virtio" }

// deleteDisk takes a disk away. Its volume is destroyed by force, else kept as unused.
func (m *machine) deleteDisk(ctx context.Context, key string, force bool) error {
	d, err := qemu.ParseDrive(key, m.doc.Values[key])
	if err != nil {
		return errRestart
	}
	if err := m.need("disk"); err != nil || !plugs(d) {
		return errRestart
	}
	if err := m.removeDisk(ctx, d); err != nil {
		return err
	}
	if force && !d.IsCDROM() {
		return m.Volumes.Free(ctx, m.vmid, m.doc, key, d.Volume())
	}
	return m.Volumes.Detach(ctx, m.vmid, m.doc, d)
}

// removeDisk takes a disk and all that only it needs away.
func (m *machine) removeDisk(ctx context.Context, d qemu.Drive) error {
	key := d.Key()
	if err := m.remove(ctx, key); err != nil {
		return err
	}
	if err := m.dropNodes(ctx, key); err != nil {
		return err
	}
	// After a move the node below was added by itself, and does not go along.
	if err := m.drop(ctx, "blockdev-del", "node-name", cmdline.NodeName('f', d)); err != nil {
		return err
	}
	if err := m.sweep(ctx); err != nil {
		return err
	}
	// A controller of its own goes along, and the thread that either worked in.
	controller := fmt.Sprintf("virtioscsi%d", d.Index)
	if d.Bus == "scsi" && m.devices[controller] {
		if err := m.remove(ctx, controller); err != nil {
			return err
		}
		return m.drop(ctx, "object-del", "id", "iothread-"+controller)
	}
	if d.Bus == "virtio" {
		return m.drop(ctx, "object-del", "id", "iothread-"+key)
	}
	return nil
}

// sweep lets QEMU close the states of a volume that nothing lies on any more: where they are
// volumes of their own, they have nodes that do not go along. Their names begin with a c.
func (m *machine) sweep(ctx context.Context) error {
	const size = 31
	for gone := true; gone; {
		gone = false
		nodes, err := m.nodes(ctx)
		if err != nil {
			return err
		}
		for name := range nodes {
			if len(name) == size && name[0] == 'c' && m.Call(ctx, "blockdev-del", map[string]string{"node-name": name}, nil) == nil {
				gone = true // those in use are refused
			}
		}
	}
	return nil
}

// dropNodes removes what a drive without a device has left.
func (m *machine) dropNodes(ctx context.Context, key string) error {
	if err := m.drop(ctx, "blockdev-del", "node-name", "drive-"+key); err != nil {
		return err
	}
	return m.drop(ctx, "object-del", "id", throttled(key))
}

// addDisk gives the VM a disk. What an earlier one has left, whose guest let go of it
// too late, is removed first.
func (m *machine) addDisk(ctx context.Context, key, value string) error {
	if m.devices[key] {
		return fmt.Errorf("device '%s' is still plugged in", key)
	}
	if err := m.dropNodes(ctx, key); err != nil {
		return err
	}
	if d, err := qemu.ParseDrive(key, value); err == nil && d.Bus == "virtio" {
		if err := m.drop(ctx, "object-del", "id", "iothread-"+key); err != nil {
			return err
		}
	}
	return m.add(ctx, key, value)
}

// setDrive changes a drive: its medium, its limits, or all of it.
func (m *machine) setDrive(ctx context.Context, key, value string) error {
	next, err := qemu.ParseDrive(key, value)
	if err != nil || qemu.KindOfDrive(key) != qemu.Disks {
		return errRestart
	}
	old, err := qemu.ParseDrive(key, m.doc.Values[key])
	switch has := err == nil; {
	case has && old.IsCDROM() && next.IsCDROM() && !next.IsCloudInit() && !old.IsCloudInit():
		return m.setDisc(ctx, old, next, value)
	case has && old.IsCDROM() != next.IsCDROM() && !plugs(next), next.IsCloudInit() && !plugs(next):
		return errRestart
	case has && old.File == next.File:
		return m.setLimits(ctx, old, next)
	case has:
		if err := m.replaceable(next); err != nil {
			return err
		}
		if err := m.removeDisk(ctx, old); err != nil {
			return err
		}
		if err := m.Volumes.Detach(ctx, m.vmid, m.doc, old); err != nil {
			return err
		}
		delete(m.doc.Values, key) // whatever comes now, the old one is gone
	}
	if err := m.replaceable(next); err != nil {
		return err
	}
	return m.addDisk(ctx, key, value)
}

func (m *machine) replaceable(next qemu.Drive) error {
	if !plugs(next) {
		return errRestart
	}
	return m.need("disk")
}

// setLimits changes the limits of a disk. Changes of other options that QEMU reads when
// the disk is made have to wait.
func (m *machine) setLimits(ctx context.Context, old, next qemu.Drive) error {
	a, b := strip(old), strip(next)
	if a != b {
		return errRestart
	}
	return m.Call(ctx, "qom-set", map[string]any{
		"path": "/objects/" + throttled(next.Key()), "property": "limits", "value": limits(next),
	}, nil)
}

// strip returns a drive without what may change at any time: limits, size, and what
// QEMU is not told at all.
func strip(d qemu.Drive) string {
	o := d.DriveOptions
	d.DriveOptions = qemu.DriveOptions{
		File: o.File, AIO: o.AIO, Cache: o.Cache, DetectZeroes: o.DetectZeroes, Discard: o.Discard, Format: o.Format,
		IOThread: o.IOThread, Media: o.Media, Model: o.Model, Product: o.Product, Queues: o.Queues, ReadError: o.ReadError,
		ReadOnly: o.ReadOnly, SCSIBlock: o.SCSIBlock, Serial: o.Serial, Snapshot: o.Snapshot, SSD: o.SSD,
		Vendor: o.Vendor, WriteError: o.WriteError, WWN: o.WWN,
	}
	return qemu.PrintDrive(d)
}

// limits are all limits that QEMU knows, so that those that are gone are lifted: it
// keeps what it is not told.
func limits(d qemu.Drive) map[string]any {
	all := map[string]any{"iops-size": 0}
	for _, unit := range []string{"iops", "bps"} {
		for _, kind := range []string{"total", "read", "write"} {
			name := unit + "-" + kind
			all[name], all[name+"-max"], all[name+"-max-length"] = 0, 0, 1
		}
	}
	for name, value := range cmdline.Limits(d) {
		all[name] = value
	}
	return all
}

// setDisc changes what is in a CD drive.
func (m *machine) setDisc(ctx context.Context, old, next qemu.Drive, value string) error {
	if old.File == next.File {
		return nil
	}
	if err := m.eject(ctx, next.Key()); err != nil {
		return err
	}
	if next.File == "none" {
		return nil
	}
	if err := m.insert(ctx, next.Key(), value); err != nil {
		// The old disc goes back, so that what is configured holds.
		if again := m.insert(ctx, next.Key(), m.doc.Values[next.Key()]); again != nil && old.File != "none" {
			return fmt.Errorf("%w (and the drive is empty now: %w)", err, again)
		}
		return err
	}
	return nil
}

// eject takes the disc out of a CD drive, also where the guest has locked the tray.
func (m *machine) eject(ctx context.Context, key string) error {
	if err := m.Call(ctx, "blockdev-open-tray", map[string]any{"id": key, "force": true}, nil); err != nil {
		return told(err)
	}
	if err := m.Call(ctx, "blockdev-remove-medium", map[string]string{"id": key}, nil); err != nil && !isEmpty(err) {
		return told(err)
	}
	return m.dropNodes(ctx, key)
}

// isEmpty tells whether QEMU says that there is no disc to take out.
func isEmpty(err error) bool { return strings.Contains(err.Error(), "no medium") }

// insert puts the disc that value names into a CD drive whose tray is open.
func (m *machine) insert(ctx context.Context, key, value string) error {
	d, err := qemu.ParseDrive(key, value)
	if err != nil {
		return err
	}
	if d.File != "none" {
		p, err := m.plug(key, value)
		if err != nil {
			return err
		}
		p.Devices = nil
		p.Objects = slices.DeleteFunc(p.Objects, func(o map[string]any) bool { return o["qom-type"] != "throttle-group" })
		if err := m.give(ctx, p); err != nil {
			return err
		}
		if err := m.Call(ctx, "blockdev-insert-medium", map[string]string{"id": key, "node-name": "drive-" + key}, nil); err != nil {
			return told(err)
		}
	}
	return m.Call(ctx, "blockdev-close-tray", map[string]string{"id": key}, nil)
}
