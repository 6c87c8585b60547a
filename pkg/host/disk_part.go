package host

import (
	"os"
	"strconv"
	"strings"
)

// withParts completes a disk by what is on it, and adds its partitions as entries of
// their own where they are wanted.
func (i DiskInventory) withParts(d Disk, sysName string, u *diskUses, asEntries bool) []Disk {
	parts := i.partitions(d, sysName, u)
	_, d.Mounted = u.mounted[d.Path]
	d.Used = u.of(d.Path)
	for _, part := range parts {
		if d.Used == "" && !asEntries {
			d.Used = part.Used
		}
		d.Ceph.add(part.Ceph)
	}
	d.Ceph.add(u.ceph[d.Path])
	switch {
	case len(parts) > 0 && (asEntries || d.Used == ""):
		// A file system may be seen beside the partitions: then it is a remainder.
		d.Used = "partitions"
	case d.Used == "" && i.isHeld(sysName):
		d.Used = "Device Mapper" // multipath, software RAID and the like
	}
	if !asEntries {
		return []Disk{d}
	}
	return append([]Disk{d}, parts...)
}

// partitions lists what a disk is divided into, by name.
func (i DiskInventory) partitions(d Disk, sysName string, u *diskUses) []Disk {
	entries, err := os.ReadDir(i.dir(sysName))
	if err != nil {
		return nil // it has just been pulled out
	}
	var parts []Disk
	for _, e := range entries {
		name := e.Name()
		if len(name) > len(sysName) && strings.HasPrefix(name, sysName) {
			parts = append(parts, i.partition(d, sysName, name, u))
		}
	}
	return parts
}

func (i DiskInventory) partition(d Disk, disk, name string, u *diskUses) Disk {
	part := Disk{
		Name: devName(name), Path: "/dev/" + devName(name), Parent: d.Path,
		Type: DiskPartition, GPT: d.GPT, Size: i.size(disk, name), RPM: -1,
	}
	where, mounted := u.mounted[part.Path]
	part.Mounted = mounted
	if part.Used = u.of(part.Path); part.Used == "" && i.isHeld(disk, name) {
		part.Used = "Device Mapper"
	}
	if part.Ceph = u.ceph[part.Path]; !part.Ceph.empty() {
		return part
	}
	// OSDs from before they lay on LVM: known by where they are mounted, and by the types
	// of their partitions.
	if number, ok := strings.CutPrefix(where, "/var/lib/ceph/osd/ceph-"); ok {
		if osd, err := strconv.ParseUint(number, 10, 31); err == nil {
			part.Ceph.OSDs = []int{int(osd)}
		}
	}
	switch u.block[part.Path].PartType {
	case "45b0969e-9b03-4f30-b4c6-b4b80ceff106":
		part.Ceph.Journals = 1
	case "30cd0809-c2b2-499c-8879-2d6b78529876":
		part.Ceph.DBs = 1
	case "5ce17fce-4087-4169-b7ff-056cc58473f9":
		part.Ceph.WALs = 1
	case "cafecafe-9b03-4f30-b4c6-b4b80ceff106":
		part.Ceph.Bluestore = true
	}
	return part
}

// isHeld tells whether something is built on a disk or a partition.
func (i DiskInventory) isHeld(elem ...string) bool {
	entries, err := os.ReadDir(i.dir(append(elem, "holders")...))
	return err == nil && len(entries) > 0
}
