package dataset

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// How volumes are named. What follows the guest's number is what ZFS lets datasets be
// called: a slash or an at sign would name something else than a volume.
var (
	volumeName   = regexp.MustCompile(`^(?:((?:base|basevol)-(\d+)-[A-Za-z0-9_.:-]+)/)?((base|basevol|vm|subvol)-(\d+)-[A-Za-z0-9_.:-]+)$`)
	snapshotName = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)
)

// Parse reads a volume's name.
func Parse(name string) (storage.Name, error) {
	m := volumeName.FindStringSubmatch(name)
	if m == nil || !plain(m[5]) || m[2] != "" && !plain(m[2]) {
		return storage.Name{}, fmt.Errorf("unable to parse zfs volume name '%s'", name)
	}
	n := storage.Name{
		Content: storage.Images, File: m[3], Guest: vmid(m[5]), Base: m[1], BaseGuest: vmid(m[2]),
		IsBase: m[4] == "base" || m[4] == "basevol", Format: "raw",
	}
	if m[4] == "subvol" || m[4] == "basevol" {
		n.Format = "subvol"
	}
	return n, nil
}

// Parse reads a volume's name.
func (v *Volumes) Parse(name string) (storage.Name, error) { return Parse(name) }

// plain tells that a guest's number is written in the one way that names it.
func plain(digits string) bool { return vmid(digits).String() == digits }

func vmid(digits string) id.VM {
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return 0
	}
	return id.VM(n)
}

// checkSnapshot refuses names of snapshots that ZFS would take for something else.
func checkSnapshot(snap string) error {
	if !snapshotName.MatchString(snap) {
		return fmt.Errorf("invalid snapshot name '%s'", snap)
	}
	return nil
}

// number reads a property that is a number; 0 where it is none.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// volume returns the name of the volume that a file with a base is.
func volume(base, file string) string {
	if base == "" {
		return file
	}
	return base + "/" + file
}
