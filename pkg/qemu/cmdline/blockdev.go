package cmdline

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// node is a block node and those below it, as blockdev-add takes it.
type node = map[string]any

// blockOptions are what a tree of block nodes depends on besides its drive.
type blockOptions struct {
	readOnly bool
	size     int64 // bytes of it to show, 0 for all; raw only
	fresh    bool  // the file is made before QEMU starts, and is not there yet
}

// NodeName is the name of a block node of a drive: f for the one that knows the
// format, e for the one below it that knows where the bytes are.
func NodeName(kind byte, drive qemu.Drive) string {
	sum := sha256.Sum256([]byte("drive=" + drive.Key() + ",volid=" + drive.File))
	return string(kind) + fmt.Sprintf("%x", sum)[:30]
}

// blockdev returns the block nodes of a drive: a throttle, which the device sits
// on and which stays when the disk below is replaced, the format, the protocol.
func (c *composer) blockdev(d qemu.Drive, o blockOptions) (node, error) {
	volume, err := c.findVolume(d, o)
	if err != nil {
		return nil, err
	}
	cdrom := d.IsCDROM()
	common := func(n node) node {
		// The drive of cloud-init is read-only by its device alone: QEMU makes snapshots of it.
		n["read-only"] = flag(d.ReadOnly, false) || d.IsDisc() || o.readOnly
		if !cdrom {
			n["discard"] = map[bool]string{true: "unmap", false: "ignore"}[str(d.Discard, "") == "on"]
			n["detect-zeroes"] = detectZeroes(d)
		}
		return n
	}
	direct := cacheDirect(d, volume)
	cache := node{"direct": direct, "no-flush": str(d.Cache, "") == "unsafe"}
	if d.Bus == "efidisk" && volume.Node["driver"] == "rbd" {
		cache = node{"direct": false, "no-flush": false}
	}
	file := common(maps.Clone(volume.Node))
	file["node-name"], file["cache"] = NodeName('e', d), cache
	switch file["driver"] {
	case "file", "host_device", "host_cdrom":
		file["aio"] = c.aio(d, volume, direct)
	case "iscsi":
		c.iscsi = true
	}
	format := common(node{"driver": volume.Format, "file": file, "cache": cache, "node-name": NodeName('f', d)})
	if o.size > 0 && volume.Format == "raw" {
		format["size"] = o.size
	}
	if flag(d.SCSIBlock, false) { // commands pass through to the disk: there is nothing to throttle
		format["node-name"] = "drive-" + d.Key()
		return format, nil
	}
	return common(node{"driver": "throttle", "file": format, "node-name": "drive-" + d.Key(), "throttle-group": throttleID(d)}), nil
}

// temporary is a drive whose writes are lost when QEMU ends: it makes the file
// for them itself, which only -drive does.
func (c *composer) temporary(d qemu.Drive) (string, error) {
	v, err := c.findVolume(d, blockOptions{})
	if err != nil {
		return "", err
	}
	if v.Path == "" {
		return "", fmt.Errorf("%s: 'snapshot' option is not supported for volume '%s', which is no file", d.Key(), d.File)
	}
	pairs := []string{
		"file", v.Path, "if", "none", "id", "drive-" + d.Key(), "format", v.Format, "snapshot", "on", "detect-zeroes", detectZeroes(d),
		"discard", ifSet(str(d.Discard, "") == "on", "unmap"),
	}
	limits := Limits(d)
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		pairs = append(pairs, "throttling."+name, fmt.Sprint(limits[name]))
	}
	return option("", pairs...), nil
}

// findVolume finds what a drive is on: a volume of a storage, a path, or the CD
// drive of the host.
func (c *composer) findVolume(d qemu.Drive, o blockOptions) (Volume, error) {
	volid := d.Volume()
	if d.File == "cdrom" {
		return Volume{Format: "raw", Node: node{"driver": "host_cdrom", "filename": "/dev/cdrom"}}, nil
	}
	if volid == "" {
		return c.findPath(d, o)
	}
	v, err := c.host.volume(volid)
	if err != nil {
		return v, err
	}
	storage, _, _ := strings.Cut(volid, ":")
	if v.Kind == "iso" && d.Media == nil {
		return v, fmt.Errorf("%s: explicit media parameter is required for iso images", d.Key())
	}
	if kind := v.Kind; kind != "" && v.Contents != nil && !slices.Contains(v.Contents, kind) {
		return v, fmt.Errorf("storage '%s' does not support content-type '%s'", storage, kind)
	}
	if d.Format != nil && *d.Format != v.Format && v.Format != "" {
		return v, fmt.Errorf("drive '%s' - volume '%s' - 'format=%s' option different from storage format '%s'", d.Key(), volid, *d.Format, v.Format)
	}
	if v.Format == "" || v.Kind == "iso" {
		v.Format = "raw"
	}
	if v.Node == nil {
		v.Node = node{"driver": "file", "filename": v.Path}
	}
	c.out.Volumes = append(c.out.Volumes, volid)
	return v, nil
}

// findPath is findVolume for a path.
func (c *composer) findPath(d qemu.Drive, o blockOptions) (Volume, error) {
	if !strings.HasPrefix(d.File, "/") {
		return Volume{}, fmt.Errorf("%s: '%s' is neither a volume nor an absolute path", d.Key(), d.File)
	}
	driver := "file"
	if !o.fresh {
		block, err := c.host.isBlock(d.File)
		switch {
		case err != nil:
			return Volume{}, fmt.Errorf("%s: %w", d.Key(), err)
		case block && d.IsCDROM():
			driver = "host_cdrom"
		case block:
			driver = "host_device"
		}
	}
	return Volume{Format: str(d.Format, "raw"), Path: d.File, Node: node{"driver": driver, "filename": d.File}}, nil
}

// cacheDirect tells whether the page cache of the host is passed by. On btrfs it
// is not: checksums of blocks that change while they are written would be wrong.
func cacheDirect(d qemu.Drive, v Volume) bool {
	switch str(d.Cache, "") {
	case "none", "directsync":
		return true
	case "":
		return !d.IsCDROM() && (v.Type != "btrfs" || v.NoCOW)
	}
	return false
}

// aio is how the host reads and writes. io_uring hangs on some storages.
func (c *composer) aio(d qemu.Drive, v Volume, direct bool) string {
	plain := map[bool]string{true: "native", false: "threads"}[direct]
	usable := func(way string) bool {
		return c.host.QEMU.hasAIO(way) && (way != "io_uring" || c.host.IOURing)
	}
	if !usable(plain) {
		plain = "threads"
	}
	if d.AIO != nil {
		if !usable(*d.AIO) {
			c.note("%s: aio '%s' is not possible on node '%s', using '%s'", d.Key(), *d.AIO, c.host.Node, plain)
			return plain
		}
		return *d.AIO
	}
	if v.Type == "lvm" || v.Type == "cifs" || v.KRBD && !direct || !usable("io_uring") {
		return plain
	}
	return "io_uring"
}

// detectZeroes is what becomes of writes of zeroes.
func detectZeroes(d qemu.Drive) string {
	switch {
	case !flag(d.DetectZeroes, true):
		return "off"
	case str(d.Discard, "") == "on":
		return "unmap"
	}
	return "on"
}

func throttleID(d qemu.Drive) string { return "throttle-drive-" + d.Key() }

// throttleGroup is the object that holds the limits of a drive.
func throttleGroup(d qemu.Drive) node {
	return node{"qom-type": "throttle-group", "id": throttleID(d), "limits": Limits(d)}
}

// Limits returns the limits of a drive as QEMU's throttle groups name them.
func Limits(d qemu.Drive) map[string]any {
	limits := map[string]any{}
	bytes := func(name string, mebibytes *float64) {
		if mebibytes != nil && *mebibytes > 0 {
			limits[name] = int64(math.Min(*mebibytes*(1<<20), 1e15)) // 1e15 is the most that QEMU takes
		}
	}
	count := func(name string, n *int) {
		if n != nil && *n > 0 {
			limits[name] = int64(*n)
		}
	}
	for _, l := range []struct {
		kind                string
		bps, bpsMax         *float64
		bpsLength, iops     *int
		iopsMax, iopsLength *int
	}{
		{"total", d.MBPS, d.MBPSMax, d.BPSMaxLength, d.IOPS, d.IOPSMax, d.IOPSMaxLength},
		{"read", d.MBPSRead, d.MBPSReadMax, d.BPSReadMaxLength, d.IOPSRead, d.IOPSReadMax, d.IOPSReadMaxLength},
		{"write", d.MBPSWrite, d.MBPSWriteMax, d.BPSWriteMaxLength, d.IOPSWrite, d.IOPSWriteMax, d.IOPSWriteMaxLength},
	} {
		bytes("bps-"+l.kind, l.bps)
		bytes("bps-"+l.kind+"-max", l.bpsMax)
		count("bps-"+l.kind+"-max-length", l.bpsLength)
		count("iops-"+l.kind, l.iops)
		count("iops-"+l.kind+"-max", l.iopsMax)
		count("iops-"+l.kind+"-max-length", l.iopsLength)
	}
	return limits
}
