package host

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/pattern"
)

// udevInfo is what udev knows of a disk.
type udevInfo struct {
	path   string // /dev/sda
	model  string // empty where it is not known
	serial string
	wwn    string
	byID   string
	gpt    bool
	usb    bool
	rpm    int // -1 where it is not known
}

// udev asks udev for a disk. ok is false for what is no disk after all. Where udev does
// not run, as in many containers, the kernel tells less.
func (i DiskInventory) udev(ctx context.Context, p *prober, name string) (u udevInfo, ok bool) {
	dir := i.dir(name)
	text, err := p.ask(ctx, "udevadm", "info", "-p", dir, "--query", "all")
	if err == nil && len(text) > 0 {
		return parseUdev(string(text))
	}
	p.tell(err)
	var b strings.Builder
	for _, l := range strings.Split(line(dir, "uevent"), "\n") {
		if path, ok := strings.CutPrefix(l, "DEVNAME="); ok {
			l = "DEVNAME=/dev/" + path
		}
		b.WriteString("E: " + l + "\n")
	}
	if u, ok = parseUdev(b.String()); ok {
		u.serial = cmp.Or(firstLine(dir, "device/serial"), firstLine(dir, "serial"), unknown)
		if number, ok := strings.CutPrefix(cmp.Or(firstLine(dir, "wwid"), firstLine(dir, "device/wwid")), "naa."); ok {
			u.wwn = "0x" + number
		}
	}
	return u, ok
}

// parseUdev reads what udevadm says: lines like "E: ID_MODEL=SSD". Of a key that comes
// twice the first counts.
func parseUdev(text string) (u udevInfo, ok bool) {
	keys := map[string]string{}
	for l := range strings.Lines(text) {
		l, isKey := strings.CutPrefix(strings.TrimRight(l, "\r\n"), "E: ")
		key, value, hasValue := strings.Cut(l, "=")
		if _, known := keys[key]; isKey && hasValue && !known {
			keys[key] = value
		}
	}
	if kind := keys["DEVTYPE"]; kind != "disk" && kind != DiskPartition {
		return u, false
	}
	for key := range keys {
		if strings.HasPrefix(key, "ID_CDROM") {
			return u, false
		}
	}
	word := func(key string) string {
		if fields := strings.Fields(keys[key]); len(fields) == 1 {
			return fields[0]
		}
		return ""
	}
	if u.path = word("DEVNAME"); u.path == "" {
		return u, false
	}
	u.serial = cmp.Or(word("ID_SERIAL_SHORT"), unknown)
	u.wwn = cmp.Or(keys["ID_WWN"], unknown)
	u.model = keys["ID_MODEL"]
	u.gpt = keys["ID_PART_TABLE_TYPE"] == "gpt"
	u.usb = keys["ID_BUS"] == "usb"
	u.rpm = -1
	if n, err := strconv.ParseUint(keys["ID_ATA_ROTATION_RATE_RPM"], 10, 31); err == nil {
		u.rpm = int(n)
	}
	for link := range strings.FieldsSeq(keys["DEVLINKS"]) {
		if byIDLink.MatchString(link) && !strings.HasPrefix(link, "/dev/disk/by-id/nvme-eui") {
			u.byID = link
			break
		}
	}
	return u, true
}

// byIDLink matches links that say which disk it is, not only what number it has.
var byIDLink = pattern.New(`^/dev/disk/by-id/(?:ata|scsi|nvme)`)
