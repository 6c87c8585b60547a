package qemu

import (
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// SnapshotVolumes lists the volumes that a snapshot of a VM with the given values covers: those
// of all drives, less the media in CD-ROM drives, which the image of cloud-init is not.
func SnapshotVolumes(values schema.Params) []guest.Volume {
	var volumes []guest.Volume
	for key, value := range driveValues(values) {
		volume := driveFile(value)
		if isCDROM(value) && !isCloudInitDrive(value) || volume == "" || volume == "none" {
			continue
		}
		volumes = append(volumes, guest.Volume{Key: key, ID: volume})
	}
	slices.SortFunc(volumes, func(a, b guest.Volume) int { return driveOrder(a.Key) - driveOrder(b.Key) })
	return volumes
}

// driveOrder says in which order the drives of a VM are gone through.
func driveOrder(key string) int {
	family := strings.TrimRight(key, "0123456789")
	n, _ := strconv.Atoi(key[len(family):])
	return slices.Index([]string{"ide", "scsi", "virtio", "sata", "efidisk", "tpmstate"}, family)*1000 + n
}

// isCDROM tells whether the value of a drive is that of a CD-ROM drive.
func isCDROM(value string) bool {
	return slices.Contains(strings.Split(value, ","), "media=cdrom") || driveFile(value) == "cdrom"
}

// RolledBack changes what the configuration of a VM has become by going back to a snapshot. What
// the VM ran with then is not part of it. A machine that was written down only for the state that was
// saved is not kept, and the guest learns by a new generation id that time has gone back.
func RolledBack(old, now *config.Doc, snap schema.Params, newUUID func() string) {
	v := now.Values
	if v["runningmachine"] == "" && snap["vmstate"] != "" && old.Values["machine"] == "" {
		delete(v, "machine") // how it was written before there was runningmachine
	}
	for _, key := range []string{"runningmachine", "runningcpu", "running-nets-host-mtu"} {
		delete(v, key)
	}
	if id := v["vmgenid"]; id != "" && id != "0" {
		v["vmgenid"] = newUUID()
	}
}
