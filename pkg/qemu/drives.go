package qemu

import (
	"iter"
	"maps"
	"slices"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A DriveKind says which drives are meant.
type DriveKind int

// The kinds of drives. Volumes are all that a VM uses.
const (
	Disks       DriveKind = 1 << iota // on ide, scsi, virtio, sata: what a VM can boot from
	EFI                               // efidisk0
	TPM                               // tpmstate0
	UnusedDisks                       // unused0 and on

	Volumes   = Disks | EFI | TPM
	AllDrives = Volumes | UnusedDisks
)

// buses are the drives a VM can have, in upstream's order.
func buses() []struct {
	name  string
	count int
	kind  DriveKind
} {
	return []struct {
		name  string
		count int
		kind  DriveKind
	}{
		{"ide", 4, Disks}, {"scsi", 31, Disks}, {"virtio", 16, Disks}, {"sata", 6, Disks},
		{"efidisk", 1, EFI}, {"tpmstate", 1, TPM}, {"unused", 256, UnusedDisks},
	}
}

// DriveKeys lists the options that drives of the given kinds can have.
func DriveKeys(kinds DriveKind) []string {
	var keys []string
	for _, bus := range buses() {
		for i := range bus.count {
			if bus.kind&kinds != 0 {
				keys = append(keys, bus.name+strconv.Itoa(i))
			}
		}
	}
	return keys
}

// IsDriveKey tells whether key is an option of a drive, used or unused.
func IsDriveKey(key string) bool { return KindOfDrive(key) != 0 }

// KindOfDrive returns the kind of the drive that key is of, 0 where it is of none.
func KindOfDrive(key string) DriveKind {
	family, n, ok := schema.Member(key)
	if !ok {
		return 0
	}
	for _, bus := range buses() {
		if bus.name == family && n < bus.count {
			return bus.kind
		}
	}
	return 0
}

// Drive returns the drive under key; ok is false where there is none.
func (c *Config) Drive(key string) (d Drive, ok bool) {
	bus, n, _ := schema.Member(key)
	d = Drive{Bus: bus, Index: n}
	switch bus {
	case "ide":
		var v IDE
		v, ok = c.IDE[n]
		d.DriveOptions = v.DriveOptions
	case "scsi":
		var v SCSI
		v, ok = c.SCSI[n]
		d.DriveOptions = v.DriveOptions
	case "virtio":
		var v VirtIO
		v, ok = c.VirtIO[n]
		d.DriveOptions = v.DriveOptions
	case "sata":
		var v SATA
		v, ok = c.SATA[n]
		d.DriveOptions = v.DriveOptions
	case "efidisk":
		if e := c.EFIDisk; e != nil && n == 0 {
			d.DriveOptions = DriveOptions{File: e.File, Format: e.Format, ImportFrom: e.ImportFrom, Size: e.Size}
			d.EFIType, d.MSCert, d.PreEnrolledKeys = e.Type, e.MSCert, e.PreEnrolledKeys
			ok = true
		}
	case "tpmstate":
		if t := c.TPMState; t != nil && n == 0 {
			d.DriveOptions = DriveOptions{File: t.File, Format: t.Format, ImportFrom: t.ImportFrom, Size: t.Size}
			d.TPMVersion = t.Version
			ok = true
		}
	case "unused":
		var v Unused
		v, ok = c.Unused[n]
		d.DriveOptions = DriveOptions{File: v.File}
	}
	return d, ok
}

// Drives walks the drives of the given kinds in the order of [DriveKeys].
func (c *Config) Drives(kinds DriveKind) iter.Seq[Drive] {
	members := map[string][]int{
		"ide": slices.Sorted(maps.Keys(c.IDE)), "scsi": slices.Sorted(maps.Keys(c.SCSI)),
		"virtio": slices.Sorted(maps.Keys(c.VirtIO)), "sata": slices.Sorted(maps.Keys(c.SATA)),
		"efidisk": {0}, "tpmstate": {0}, "unused": slices.Sorted(maps.Keys(c.Unused)),
	}
	return func(yield func(Drive) bool) {
		for _, bus := range buses() {
			if bus.kind&kinds == 0 {
				continue
			}
			for _, n := range members[bus.name] {
				d, ok := c.Drive(bus.name + strconv.Itoa(n))
				if !ok || d.settle() != nil {
					continue
				}
				if !yield(d) {
					return
				}
			}
		}
	}
}

// MergeCDROM puts the value of the option cdrom, which is another name of ide2,
// where it belongs.
func (c *Config) MergeCDROM() {
	if c.CDROM == nil {
		return
	}
	ide := map[int]IDE{2: {c.CDROM.DriveOptions}}
	for n, drive := range c.IDE {
		if n != 2 {
			ide[n] = drive
		}
	}
	c.IDE, c.CDROM = ide, nil
}
