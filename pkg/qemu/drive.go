package qemu

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"regexp"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/schema"
)

// A Drive is what a VM has under a key such as scsi0, whatever bus it is on.
type Drive struct {
	Bus   string // ide, scsi, virtio, sata, efidisk, tpmstate or unused
	Index int
	DriveOptions
	EFIType         *string // of an efidisk
	MSCert          *string // of an efidisk
	PreEnrolledKeys *bool   // of an efidisk
	TPMVersion      *string // of a tpmstate
}

// ErrNotDrive is the error of a key that is none of a drive.
var ErrNotDrive = errors.New("not a drive")

// ParseDrive reads what a configuration has under key, which says the bus. The
// faults of the text are told by [schema.Faults].
func ParseDrive(key, text string) (Drive, error) {
	if !IsDriveKey(key) {
		return Drive{}, fmt.Errorf("%s: %w", key, ErrNotDrive)
	}
	var c Config
	if err := schema.Set(&c, key, text); err != nil {
		return Drive{}, err
	}
	d, ok := c.Drive(key)
	if !ok {
		return Drive{}, fmt.Errorf("%s: %w", key, ErrNotDrive)
	}
	return d, d.settle()
}

// PrintDrive writes d as a configuration has it.
func PrintDrive(d Drive) string {
	switch d.Bus {
	case "efidisk":
		return schema.Print(EFIDisk{
			File: d.File, Format: d.Format, ImportFrom: d.ImportFrom, Size: d.Size,
			Type: d.EFIType, MSCert: d.MSCert, PreEnrolledKeys: d.PreEnrolledKeys,
		})
	case "tpmstate":
		return schema.Print(TPMState{File: d.File, Format: d.Format, ImportFrom: d.ImportFrom, Size: d.Size, Version: d.TPMVersion})
	case "unused":
		return schema.Print(Unused{File: d.File})
	}
	return schema.Print(d.DriveOptions)
}

// Key returns the option that d is the value of.
func (d Drive) Key() string { return d.Bus + strconv.Itoa(d.Index) }

// IsCDROM tells whether d is a CD drive, with a disc in it or not; a cloud-init
// drive is one.
func (d Drive) IsCDROM() bool { return d.Media != nil && *d.Media == "cdrom" }

// IsCloudInit tells whether d is the drive that cloud-init reads.
func (d Drive) IsCloudInit() bool { return cloudInitVolume.MatchString(d.File) }

// IsDisc tells whether d is a CD drive for discs, not for cloud-init.
func (d Drive) IsDisc() bool { return d.IsCDROM() && !d.IsCloudInit() }

// HasVolume tells whether d holds a volume of a storage: not an empty CD drive,
// the CD drive of the host, nor a path.
func (d Drive) HasVolume() bool { return d.Volume() != "" }

// Volume returns the volume that d holds as "storage:name", or the empty string
// where it holds none.
func (d Drive) Volume() string {
	if d.File == "none" || d.File == "cdrom" || !volumeText.MatchString(d.File) {
		return ""
	}
	return d.File
}

// BacksUp tells whether backups take d along.
func (d Drive) BacksUp() bool { return !d.IsCDROM() && (d.Backup == nil || *d.Backup) }

var (
	cloudInitVolume = regexp.MustCompile(`[:/](?:vm-\d+-)?cloudinit(?:\.(?:raw|qcow2?|qed|vmdk|cloop))?$`)
	volumeText      = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:.`)
)

// Check tells whether the options of d go together, as [ParseDrive] does.
func (d Drive) Check() error { return d.settle() }

// settle checks what the options of d say of each other. Limits in bytes become
// limits in mebibytes.
func (d *Drive) settle() error {
	faults := schema.Faults{}
	for _, limit := range []struct {
		bytes **int
		mega  **float64
		name  string
	}{
		{&d.BPS, &d.MBPS, "bps"}, {&d.BPSRead, &d.MBPSRead, "bps_rd"}, {&d.BPSWrite, &d.MBPSWrite, "bps_wr"},
	} {
		if *limit.bytes != nil {
			if *limit.mega != nil {
				faults[d.Key()] = fmt.Sprintf("both %s and m%s specified", limit.name, limit.name)
				continue
			}
			*limit.mega, *limit.bytes = new(math.Round(float64(**limit.bytes)/(1<<20)*1000)/1000), nil
		}
	}
	for _, pair := range d.dependent() {
		if pair.has && !pair.base {
			faults[d.Key()+"."+pair.name] = fmt.Sprintf("%s requires %s", pair.name, pair.needs)
		}
	}
	if d.IsCDROM() {
		for name, given := range map[string]bool{"snapshot": d.Snapshot != nil && *d.Snapshot, "format": d.Format != nil} {
			if given {
				faults[d.Key()+"."+name] = "not possible with media=cdrom"
			}
		}
		if d.Bus == "virtio" {
			faults[d.Key()+".media"] = "a virtio drive cannot be a CD drive"
		}
	}
	some := func(f *float64) bool { return f != nil && *f != 0 }
	count := func(n *int) bool { return n != nil && *n != 0 }
	if some(d.MBPS) && (some(d.MBPSRead) || some(d.MBPSWrite)) {
		faults[d.Key()+".mbps"] = "mbps cannot be set together with mbps_rd or mbps_wr"
	}
	if count(d.IOPS) && (count(d.IOPSRead) || count(d.IOPSWrite)) {
		faults[d.Key()+".iops"] = "iops cannot be set together with iops_rd or iops_wr"
	}
	return faults.Err()
}

// dependence is a limit that has a meaning only beside another one.
type dependence struct {
	name, needs string
	has, base   bool
}

// dependent lists the limits of d that need another one.
func (d *Drive) dependent() []dependence {
	f := func(v *float64) bool { return v != nil && *v != 0 }
	n := func(v *int) bool { return v != nil && *v != 0 }
	return []dependence{
		{"mbps_max", "mbps", f(d.MBPSMax), f(d.MBPS)},
		{"mbps_rd_max", "mbps_rd", f(d.MBPSReadMax), f(d.MBPSRead)},
		{"mbps_wr_max", "mbps_wr", f(d.MBPSWriteMax), f(d.MBPSWrite)},
		{"bps_max_length", "mbps_max", n(d.BPSMaxLength), f(d.MBPSMax)},
		{"bps_rd_max_length", "mbps_rd_max", n(d.BPSReadMaxLength), f(d.MBPSReadMax)},
		{"bps_wr_max_length", "mbps_wr_max", n(d.BPSWriteMaxLength), f(d.MBPSWriteMax)},
		{"iops_max_length", "iops_max", n(d.IOPSMaxLength), n(d.IOPSMax)},
		{"iops_rd_max_length", "iops_rd_max", n(d.IOPSReadMaxLength), n(d.IOPSReadMax)},
		{"iops_wr_max_length", "iops_wr_max", n(d.IOPSWriteMaxLength), n(d.IOPSWriteMax)},
	}
}

// Drives walks the drives of the given kinds in values, a section of a
// configuration, in the order that upstream has: ide, scsi, virtio, sata,
// efidisk, tpmstate, unused. What cannot be read is left out.
func Drives(values schema.Params, kinds DriveKind) iter.Seq[Drive] {
	return func(yield func(Drive) bool) {
		for _, key := range DriveKeys(kinds) {
			text, ok := values[key]
			if !ok {
				continue
			}
			if d, err := ParseDrive(key, text); err == nil && !yield(d) {
				return
			}
		}
	}
}
