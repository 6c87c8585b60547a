package host

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// A DiskInventory looks at the disks of a host. It only looks, and each program it asks
// has a bounded time: a disk that hangs hides nothing but its own health.
type DiskInventory struct {
	Runner run.Runner
	Sys    Sys    // empty means /sys
	Proc   string // empty means /proc
	Dev    string // empty means /dev
	// Patience is how long each program may take; 0 means [DiskPatience].
	Patience time.Duration
	// Warn is told what could not be asked; nil drops it. A program that is not
	// installed has nothing to tell, and is not told.
	Warn func(error)
}

// DiskPatience is how long a program may look at disks.
const DiskPatience = 15 * time.Second

// DiskQuery says what to list.
type DiskQuery struct {
	Names      []string // as sda or cciss/c0d0; none means all disks
	Partitions bool     // list partitions as entries of their own
	NoSMART    bool     // leave out health and wearout
}

// Kinds of disks. One whose kind is not known is DiskUnknown.
const (
	DiskHDD       = "hdd"
	DiskSSD       = "ssd"
	DiskNVMe      = "nvme"
	DiskUSB       = "usb"
	DiskUnknown   = "unknown"
	DiskPartition = "partition"
)

// Disk is a disk of the host, or a partition.
type Disk struct {
	Name    string // below /dev: sda, nvme0n1p2, cciss/c0d0
	Path    string // /dev/sda
	Parent  string // of a partition: the path of its disk
	Type    string // hdd, ssd, nvme, usb, unknown, partition
	Size    int64  // in bytes
	GPT     bool   // a partition tells what its disk has
	Mounted bool
	Used    string // what it is used for: LVM, ZFS, ext4, partitions, …; empty for nothing

	// What only disks have.
	Vendor  string // "unknown" where it is not told, as Model, Serial and WWN
	Model   string
	Serial  string
	WWN     string
	ByID    string // a link to it that does not change, empty where there is none
	RPM     int    // 0 for what does not turn, -1 where it is not known
	Health  string // as the disk judges itself; "UNKNOWN" where it does not
	Wearout *float64

	Ceph CephUse
}

// CephUse is what Ceph has on a disk.
type CephUse struct {
	OSDs      []int // that have their data there
	Bluestore bool
	Encrypted bool
	Journals  int
	DBs, WALs int
}

// OSD returns the number of the OSD that has its data there, -1 for none.
func (c CephUse) OSD() int {
	if len(c.OSDs) == 0 {
		return -1
	}
	return c.OSDs[len(c.OSDs)-1]
}

func (c CephUse) empty() bool {
	return len(c.OSDs) == 0 && !c.Bluestore && !c.Encrypted && c.Journals+c.DBs+c.WALs == 0
}

func (c *CephUse) add(o CephUse) {
	c.OSDs = append(c.OSDs, o.OSDs...)
	c.Bluestore = c.Bluestore || o.Bluestore
	c.Encrypted = c.Encrypted || o.Encrypted
	c.Journals += o.Journals
	c.DBs += o.DBs
	c.WALs += o.WALs
}

// diskName matches the names of what counts as a disk: hdX, sdX, vdX, xvdX, nvmeXnY and
// those of old RAID controllers. Loop devices, optical drives and what is built of other
// devices are none.
var diskName = pattern.New(`^(?:(?:h|s|x?v)d[a-z]+|nvme\d+n\d+|cciss!c\d+d\d+)$`)

// maxAsked is how many disks are asked at once: enough that some that hang do not hold
// up the others for long.
const maxAsked = 32

// Disks lists the local disks by name; those of an iSCSI session are no local ones.
func (i DiskInventory) Disks(ctx context.Context, q DiskQuery) ([]Disk, error) {
	i = i.withDefaults()
	names, err := i.names(q.Names)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	p := i.prober()
	found := make([]*Disk, len(names))
	var uses *diskUses
	var group errgroup.Group
	group.SetLimit(maxAsked)
	group.Go(func() error { uses = i.uses(ctx, p); return nil })
	for n, name := range names {
		group.Go(func() error { found[n] = i.disk(ctx, p, name, q); return nil })
	}
	_ = group.Wait() // nothing fails: what is not known stays empty
	p.told()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var all []Disk
	for n, d := range found {
		if d != nil {
			all = append(all, i.withParts(*d, names[n], uses, q.Partitions)...)
		}
	}
	slices.SortFunc(all, func(a, b Disk) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (i DiskInventory) withDefaults() DiskInventory {
	i.Sys = cmp.Or(i.Sys, "/sys")
	i.Proc = cmp.Or(i.Proc, "/proc")
	i.Dev = cmp.Or(i.Dev, "/dev")
	i.Patience = cmp.Or(i.Patience, DiskPatience)
	if i.Warn == nil {
		i.Warn = func(error) {}
	}
	return i
}

func (i DiskInventory) prober() *prober {
	return &prober{runner: i.Runner, patience: i.Patience, warn: i.Warn, stuck: sync.OnceValue(func() map[string]int { return stuckCommands(i.Proc, i.Patience) })}
}

func (i DiskInventory) dir(elem ...string) string {
	return filepath.Join(append([]string{string(i.Sys), "block"}, elem...)...)
}

// names lists the disks there are in /sys/block, of those wanted.
func (i DiskInventory) names(wanted []string) ([]string, error) {
	entries, err := os.ReadDir(i.dir())
	if os.IsNotExist(err) {
		return nil, nil // a container sees none
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if diskName.MatchString(name) && (wanted == nil || slices.Contains(wanted, devName(name))) {
			names = append(names, name)
		}
	}
	return names, nil
}

// devName is the name below /dev of what /sys names: a slash is written ! there.
func devName(sysName string) string { return strings.ReplaceAll(sysName, "!", "/") }

// disk looks at one disk, nil where it is none of those we list.
func (i DiskInventory) disk(ctx context.Context, p *prober, name string, q DiskQuery) *Disk {
	if i.isISCSI(name) || !exists(i.dir(name, "device")) {
		return nil
	}
	size := i.size(name)
	if size == 0 {
		return nil // a card reader without a card
	}
	u, ok := i.udev(ctx, p, name)
	if !ok {
		return nil
	}
	device := i.dir(name, "device")
	d := &Disk{
		Name: devName(name), Path: u.path, Size: size, GPT: u.gpt,
		Vendor: cmp.Or(firstLine(device, "vendor"), unknown),
		Model:  cmp.Or(u.model, firstLine(device, "model"), unknown),
		Serial: u.serial, WWN: u.wwn, ByID: u.byID, RPM: u.rpm, Health: "UNKNOWN",
	}
	d.Type, d.RPM = diskKind(name, firstLine(i.dir(name), "queue/rotational"), u)
	if q.NoSMART {
		return d
	}
	solid := d.Type == DiskSSD || d.Type == DiskNVMe
	s, err := askSMART(ctx, p, d.Path, !solid)
	if err != nil {
		p.warnSlow(err)
		return d
	}
	d.Health = cmp.Or(s.Health, d.Health)
	if solid {
		d.Wearout = s.wearout()
	}
	return d
}

const unknown = "unknown"

// diskKind tells the kind of a disk and how fast it turns. rotational is what the kernel
// says: 1 also of disks that it knows nothing of.
func diskKind(name, rotational string, u udevInfo) (kind string, rpm int) {
	switch {
	case rotational == "0" && strings.HasPrefix(name, "nvme"):
		return DiskNVMe, 0
	case rotational == "0":
		return DiskSSD, 0
	case rotational == "1" && u.rpm >= 0:
		return DiskHDD, u.rpm
	case rotational == "1" && u.usb:
		return DiskUSB, 0
	}
	return DiskUnknown, u.rpm
}

// isISCSI tells whether a disk comes from an iSCSI session: its place among the devices
// says so.
func (i DiskInventory) isISCSI(name string) bool {
	to, err := os.Readlink(i.dir(name))
	return err == nil && iscsiDevice.MatchString(to)
}

var iscsiDevice = pattern.New(`host[^/]*/session`)

// size returns the size of a disk, or a partition, in bytes. The kernel counts in
// sectors of 512 bytes, whatever the disk has.
func (i DiskInventory) size(elem ...string) int64 {
	n, err := strconv.ParseInt(firstLine(i.dir(elem...), "size"), 10, 64)
	if err != nil || n < 0 || n > 1<<53 {
		return 0
	}
	return n * 512
}

// firstLine returns the first line of a file below dir, without what surrounds it.
func firstLine(dir, name string) string {
	text, _, _ := strings.Cut(line(dir, name), "\n")
	return strings.TrimSpace(text)
}
