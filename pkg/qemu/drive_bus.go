package qemu

import (
	"reflect"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// IDE is a drive on the IDE bus (ideN).
type IDE struct{ DriveOptions }

// SATA is a drive on the SATA bus (sataN).
type SATA struct{ DriveOptions }

// SCSI is a drive on the SCSI bus (scsiN).
type SCSI struct{ DriveOptions }

// VirtIO is a disk that is a virtio device of its own (virtioN).
type VirtIO struct{ DriveOptions }

// Describe leaves the options that an IDE drive has.
func (IDE) Describe(s *schema.Schema) { keepBus(s, "ide") }

// CDROM is the value of cdrom, which stands for ide2.
type CDROM struct{ DriveOptions }

// Describe leaves the options that an IDE drive has, but for the import of a disk.
func (CDROM) Describe(s *schema.Schema) {
	keepBus(s, "ide")
	delete(s.Keys, "import-from")
}

// Describe leaves the options that a SATA drive has.
func (SATA) Describe(s *schema.Schema) { keepBus(s, "sata") }

// Describe leaves the options that a SCSI drive has.
func (SCSI) Describe(s *schema.Schema) { keepBus(s, "scsi") }

// Describe leaves the options that a virtio drive has.
func (VirtIO) Describe(s *schema.Schema) { keepBus(s, "virtio") }

// keepBus removes from s the options that drives on bus do not have.
func keepBus(s *schema.Schema, bus string) {
	fields := schema.TypeOf(reflect.TypeFor[DriveOptions]()).Fields
	for i := range fields {
		only, some := fields[i].Tag.Lookup("bus")
		if some && !slices.Contains(strings.Fields(only), bus) {
			delete(s.Keys, fields[i].Name)
		}
	}
}
