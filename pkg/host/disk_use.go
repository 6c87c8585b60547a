package host

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// diskUses is what block devices are used for, by their paths.
type diskUses struct {
	mounted map[string]string // to where
	block   map[string]blockDevice
	lvm     map[string]bool
	zfs     map[string]bool
	ceph    map[string]CephUse
}

// blockDevice is what lsblk knows of a device.
type blockDevice struct {
	PartType string `json:"parttype"`
	FSType   string `json:"fstype"`
}

// uses asks all who use block devices.
func (i DiskInventory) uses(ctx context.Context, p *prober) *diskUses {
	u := &diskUses{mounted: i.mounts()}
	var lvm, zfs []string
	var wait sync.WaitGroup
	for _, q := range []struct {
		command []string
		read    func(text string) error
	}{
		{[]string{"/bin/lsblk", "--json", "-o", "path,parttype,fstype"}, func(text string) (err error) {
			u.block, err = parseLSBLK(text)
			return err
		}},
		{[]string{"/sbin/pvs", "--noheadings", "--readonly", "-o", "pv_name"}, func(text string) error {
			lvm = parsePVs(text)
			return nil
		}},
		{[]string{"/sbin/lvs", "-S", "lv_name=~^osd-", "-o", "devices,lv_name,lv_tags", "--noheadings", "--readonly", "--separator", ";"}, func(text string) error {
			u.ceph = parseCephVolumes(text)
			return nil
		}},
		{[]string{"/sbin/zpool", "list", "-HPLv"}, func(text string) error {
			zfs = parseZpool(text)
			return nil
		}},
	} {
		wait.Go(func() {
			text, err := p.ask(ctx, q.command[0], q.command[1:]...)
			p.tell(err)
			p.tell(q.read(string(text)))
		})
	}
	wait.Wait()
	u.lvm, u.zfs = setOf(lvm), setOf(zfs)
	for path, b := range u.block {
		switch b.PartType {
		case "e6d6d379-f507-44c2-a23c-238f2a3df928":
			u.lvm[path] = true
		case "6a898cc3-1dd2-11b2-99a6-080020736631", "516e7cba-6ecf-11d6-8ff8-00022d09712b":
			// Logs and caches are told by these alone.
			u.zfs[path] = true
		}
	}
	return u
}

func setOf(paths []string) map[string]bool {
	set := map[string]bool{}
	for _, path := range paths {
		set[path] = true
	}
	return set
}

// of tells what a device is used for, as far as it does not take a look at what is built
// on it.
func (u *diskUses) of(path string) string {
	switch {
	case u.lvm[path]:
		return "LVM"
	case u.zfs[path]:
		return "ZFS"
	}
	switch u.block[path].PartType {
	case "21686148-6449-6e6f-744e-656564454649":
		return "BIOS boot"
	case "c12a7328-f81f-11d2-ba4b-00a0c93ec93b":
		return "EFI"
	case "6a945a3b-1dd2-11b2-99a6-080020736631":
		return "ZFS reserved"
	}
	if fs := u.block[path].FSType; fs != "" {
		return fs
	}
	if _, ok := u.mounted[path]; ok {
		return "mounted"
	}
	return ""
}

// mounts tells which devices are mounted where.
func (i DiskInventory) mounts() map[string]string {
	text, err := os.ReadFile(filepath.Join(i.Proc, "mounts"))
	if err != nil {
		return nil
	}
	mounted := parseMounts(string(text))
	for path, where := range mounted {
		// /dev/mapper/x is a link to the device itself.
		to, err := filepath.EvalSymlinks(filepath.Join(i.Dev, strings.TrimPrefix(path, "/dev")))
		if rest, ok := strings.CutPrefix(to, i.Dev+"/"); ok && err == nil {
			mounted["/dev/"+rest] = where
		}
	}
	return mounted
}

func parseMounts(text string) map[string]string {
	mounted := map[string]string{}
	for l := range strings.Lines(text) {
		if f := strings.Fields(l); len(f) >= 2 && strings.HasPrefix(f[0], "/dev/") {
			mounted[f[0]] = f[1]
		}
	}
	return mounted
}

func parseLSBLK(text string) (map[string]blockDevice, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var list struct {
		Devices []struct {
			Path string `json:"path"`
			blockDevice
		} `json:"blockdevices"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("lsblk: %w", err)
	}
	devices := map[string]blockDevice{}
	for _, d := range list.Devices {
		devices[d.Path] = d.blockDevice
	}
	return devices, nil
}

func parsePVs(text string) (paths []string) {
	for l := range strings.Lines(text) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "/dev/") {
			paths = append(paths, l)
		}
	}
	return paths
}

// parseZpool reads the devices from a list of pools: their lines begin with a tab.
func parseZpool(text string) (paths []string) {
	for l := range strings.Lines(text) {
		if l, ok := strings.CutPrefix(l, "\t"); ok {
			if path, _, ok := strings.Cut(l, "\t"); ok && path != "" {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// parseCephVolumes reads lines like "/dev/sdg(0);osd-block-0a1b;ceph.osd_id=1,…".
func parseCephVolumes(text string) map[string]CephUse {
	uses := map[string]CephUse{}
	for l := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(l), ";", 3)
		if len(f) < 2 {
			continue
		}
		kind := cephVolume.FindStringSubmatch(f[1])
		if kind == nil {
			continue
		}
		tags := []string{}
		if len(f) == 3 {
			tags = strings.Split(f[2], ",")
		}
		use := cephUse(kind[1], tags)
		for device := range strings.SplitSeq(f[0], ",") {
			if path, _, _ := strings.Cut(device, "("); strings.HasPrefix(path, "/dev/") {
				all := uses[path]
				all.add(use)
				uses[path] = all
			}
		}
	}
	return uses
}

var cephVolume = pattern.New(`^osd-([^-]+)-`)

func cephUse(kind string, tags []string) (use CephUse) {
	switch kind {
	case "journal":
		use.Journals = 1
	case "db":
		use.DBs = 1
	case "wal":
		use.WALs = 1
	case "block", "data":
		for _, tag := range tags {
			number, ok := strings.CutPrefix(tag, "ceph.osd_id=")
			if osd, err := strconv.ParseUint(number, 10, 31); ok && err == nil {
				use.OSDs = []int{int(osd)}
				use.Bluestore = kind == "block"
				use.Encrypted = slices.Contains(tags, "ceph.encrypted=1")
			}
		}
	}
	return use
}
