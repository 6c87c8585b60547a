package cmdline

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// drives adds disks and CD drives and the controllers they are on.
func (c *composer) drives() error {
	for _, key := range qemu.DriveKeys(qemu.Volumes) {
		if d, ok := c.conf.Drive(key); ok {
			if err := d.Check(); err != nil { // else the VM would start without the disk
				return err
			}
		}
	}
	controllers := map[string]bool{}
	for d := range c.conf.Drives(qemu.Disks) {
		if err := c.drive(d, controllers); err != nil {
			return err
		}
	}
	return nil
}

func (c *composer) drive(d qemu.Drive, controllers map[string]bool) error {
	if err := c.controller(d, controllers); err != nil {
		return err
	}
	if d.IsCloudInit() {
		c.out.CloudInit = d.Key()
	}
	switch {
	case d.File == "none":
	case flag(d.Snapshot, false) && !d.IsCDROM():
		drive, err := c.temporary(d)
		if err != nil {
			return err
		}
		c.add("-drive", drive)
	default:
		tree, err := c.blockdev(d, blockOptions{readOnly: c.isTemplate()})
		if err != nil {
			return err
		}
		c.arg("-object", canonical(throttleGroup(d)))
		c.add("-blockdev", canonical(tree))
	}
	device, err := c.driveDevice(d)
	if err != nil {
		return err
	}
	c.add("-device", device)
	return nil
}

// controller adds the controller of a drive, and the thread it works in.
func (c *composer) controller(d qemu.Drive, done map[string]bool) error {
	switch d.Bus {
	case "virtio":
		if flag(d.IOThread, false) {
			c.arg("-object", "iothread,id=iothread-"+d.Key())
		}
	case "scsi":
		if d.Index > 13 && !c.machine.version.atLeast(4, 1, 2) {
			return fmt.Errorf("scsi%d: machine version 4.1~pve2 or higher is required to use more than 14 SCSI disks", d.Index)
		}
		return c.scsiController(d, done)
	case "sata":
		if !done["ahci0"] {
			done["ahci0"] = true
			c.device("ahci", append([]string{"id", "ahci0", "multifunction", "on"}, c.at("ahci0")...)...)
		}
	case "ide":
		if c.machine.virt && d.HasVolume() && !d.IsCDROM() {
			return errors.New("aarch64/virt cannot use IDE devices")
		}
	}
	return nil
}

func (c *composer) scsiController(d qemu.Drive, done map[string]bool) error {
	hw := str(c.conf.SCSIHW, "lsi")
	id, _ := scsiPlace(hw, d.Index)
	single := hw == "virtio-scsi-single"
	thread := flag(d.IOThread, false) && single
	if flag(d.IOThread, false) && !single {
		c.warn("iothread is only valid with virtio disk or virtio-scsi-single controller, ignoring")
	}
	if done[id] {
		return nil
	}
	done[id] = true
	if thread {
		c.arg("-object", "iothread,id=iothread-"+id)
	}
	queues := ""
	if single && d.Queues != nil {
		queues = itoa(*d.Queues)
	}
	if single {
		hw = "virtio-scsi-pci"
	}
	c.device(hw, append(append([]string{"id", id}, c.at(id)...), "iothread", ifSet(thread, "iothread-"+id), "num_queues", queues)...)
	return nil
}

// scsiPlace is the controller of the n-th SCSI drive and its number there.
func scsiPlace(hw string, n int) (controller string, unit int) {
	switch {
	case hw == "virtio-scsi-single":
		return fmt.Sprintf("virtioscsi%d", n), 0
	case strings.HasPrefix(hw, "lsi"):
		return fmt.Sprintf("scsihw%d", n/7), n % 7
	}
	return "scsihw0", n
}

// driveDevice is the device of a drive.
func (c *composer) driveDevice(d qemu.Drive) (string, error) {
	var driver string
	var pairs []string
	hasCache := !d.IsCDROM()
	node := ifSet(d.File != "none", "drive-"+d.Key())
	switch d.Bus {
	case "virtio":
		driver = "virtio-blk-pci"
		pairs = append([]string{"drive", node, "id", d.Key()}, c.at(d.Key())...)
		pairs = append(pairs, "iothread", ifSet(flag(d.IOThread, false), "iothread-"+d.Key()))
	case "scsi":
		driver = "scsi-" + c.scsiType(d)
		pairs = c.scsiDevice(d, driver, node)
		hasCache = hasCache && driver == "scsi-hd"
	default:
		driver = "ide-hd"
		if d.IsCDROM() || c.isTemplate() { // a read-only disk must not be an ide-hd
			driver, hasCache = "ide-cd", hasCache && !d.IsCDROM()
		}
		pairs = c.ideDevice(d, driver, node)
	}
	pairs = append(pairs, "bootindex", c.bootIndex(d.Key()))
	serial, err := url.PathUnescape(str(d.Serial, ""))
	if err != nil {
		return "", fmt.Errorf("%s: serial: %w", d.Key(), err)
	}
	pairs = append(pairs, "serial", serial)
	if hasCache {
		cache := str(d.Cache, "")
		pairs = append(pairs, "write-cache", onOff(cache != "writethrough" && cache != "directsync"))
	}
	pairs = append(pairs, "rerror", str(d.ReadError, ""), "werror", str(d.WriteError, ""))
	return option(driver, pairs...), nil
}

// scsiDevice are the options of a SCSI drive.
func (c *composer) scsiDevice(d qemu.Drive, driver, node string) []string {
	hw := str(c.conf.SCSIHW, "lsi")
	controller, unit := scsiPlace(hw, d.Index)
	pairs := []string{"bus", controller + ".0"}
	if strings.HasPrefix(hw, "lsi") || hw == "pvscsi" {
		pairs = append(pairs, "scsi-id", itoa(unit))
	} else {
		pairs = append(pairs, "channel", "0", "scsi-id", "0", "lun", itoa(d.Index))
	}
	pairs = append(pairs, "drive", node, "id", d.Key())
	hd, cd := driver == "scsi-hd", driver == "scsi-cd"
	if hd || cd {
		// What guests see in /dev/disk/by-id: with -drive it was its id.
		pairs = append(pairs, "device_id", "drive-"+d.Key())
	}
	pairs = append(pairs, "rotation_rate", ifSet(flag(d.SSD, false) && (hd || driver == "scsi-block"), "1"), "wwn", str(d.WWN, ""))
	if hd || cd {
		pairs = append(pairs, "vendor", str(d.Vendor, ""), "product", str(d.Product, ""))
	}
	return pairs
}

// scsiType is the kind of SCSI device: hd, cd, or a disk or tape of the host that
// gets the commands of the guest itself.
func (c *composer) scsiType(d qemu.Drive) string {
	if d.IsCDROM() || d.IsCloudInit() {
		return "cd"
	}
	if strings.HasPrefix(d.File, "/") && c.host.SCSIType != nil {
		switch kind, ok := c.host.SCSIType(d.File); {
		case ok && kind == 0 && flag(d.SCSIBlock, false):
			return "block"
		case ok && kind == 1:
			return "generic"
		}
	}
	return "hd"
}

// ideDevice are the options of an IDE or SATA drive.
func (c *composer) ideDevice(d qemu.Drive, driver, node string) []string {
	var pairs []string
	if d.Bus == "ide" {
		bus, unit := d.Index/2, d.Index%2
		if c.machine.q35 { // each port has one drive there; odd ones move to the upper ports
			bus, unit = bus+2*unit, 0
		}
		pairs = []string{"bus", fmt.Sprintf("ide.%d", bus), "unit", itoa(unit)}
	} else {
		pairs = []string{"bus", fmt.Sprintf("ahci0.%d", d.Index)}
	}
	pairs = append(pairs, "drive", node, "id", d.Key())
	if driver == "ide-hd" {
		model, err := url.PathUnescape(str(d.Model, ""))
		if err != nil {
			model = str(d.Model, "")
		}
		pairs = append(pairs, "model", model, "rotation_rate", ifSet(flag(d.SSD, false), "1"))
	}
	return append(pairs, "wwn", str(d.WWN, ""))
}
