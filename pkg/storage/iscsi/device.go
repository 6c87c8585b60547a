package iscsi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/pattern"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// A host is where the kernel tells of devices.
type host struct {
	sys, dev string // the folders /sys and /dev
}

// A device is a disk of a target.
type device struct {
	channel, id, lun string
	path             string // the disk on one path to it: sda
	kernel           string // the same, or the multipath device that joins the paths: dm-0
	stable           string // the name by which udev knows it for good
	wwid             string // what the disk calls itself, the same on all paths to it
	size             int64  // bytes
}

// volume returns the name of the volume.
func (d device) volume() string { return d.channel + "." + d.id + "." + d.lun + "." + d.stable }

var (
	targetDir  = pattern.New(`^target(\d+):`)
	scsiDevice = pattern.New(`^(\d+):(\d+):(\d+):(\d+)$`)
)

// A session is a connection of the kernel to a target.
type session struct {
	id     string
	portal string // address and port
	alive  bool   // connected just now
}

// sessions lists those with a target.
func (h host) sessions(target string) (list []session) {
	for _, entry := range names(filepath.Join(h.sys, "class/iscsi_session")) {
		id, ok := strings.CutPrefix(entry, "session")
		if !ok || h.line("class/iscsi_session", entry, "targetname") != target {
			continue
		}
		to := "class/iscsi_connection/connection" + id + ":0"
		list = append(list, session{
			id: id, portal: net.JoinHostPort(h.line(to, "persistent_address"), h.line(to, "persistent_port")),
			alive: h.line("class/iscsi_session", entry, "state") == "LOGGED_IN",
		})
	}
	return list
}

// devices lists the disks of the sessions with a target. It reads what the kernel knows:
// it does not wait for the target.
func (h host) devices(target string) []device {
	hosts := map[string]bool{}
	for _, s := range h.sessions(target) {
		for _, entry := range names(filepath.Join(h.sys, "class/iscsi_session/session"+s.id, "device")) {
			if m := targetDir.FindStringSubmatch(entry); m != nil {
				hosts[m[1]] = true
			}
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	stable := h.stableNames()
	var list []device
	for _, entry := range names(filepath.Join(h.sys, "bus/scsi/devices")) {
		m := scsiDevice.FindStringSubmatch(entry)
		if m == nil || !hosts[m[1]] || h.line("bus/scsi/devices", entry, "type") != "0" {
			continue
		}
		blocks := names(filepath.Join(h.sys, "bus/scsi/devices", entry, "block"))
		if len(blocks) == 0 {
			continue
		}
		d := device{channel: m[2], id: m[3], lun: m[4], path: blocks[0], wwid: h.line("bus/scsi/devices", entry, "wwid")}
		d.kernel = h.multipath(d.path)
		d.stable = stable[d.kernel]
		sectors, _ := strconv.ParseInt(h.line("block", d.kernel, "size"), 10, 64)
		d.size = sectors << 9
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b device) int { return cmp.Compare(a.volume(), b.volume()) })
	return list
}

// multipath returns the device that joins the paths to a disk, or the disk itself where
// there is none. Others may hold it, too: a volume group lies on it.
func (h host) multipath(disk string) string {
	for _, holder := range names(filepath.Join(h.sys, "block", disk, "holders")) {
		if strings.HasPrefix(h.line("block", holder, "dm/uuid"), "mpath-") {
			return holder
		}
	}
	return disk
}

var partition = pattern.New(`-part\d+$`)

// isStable tells whether a name in /dev/disk/by-id is one for a whole disk that volumes
// are called by.
func isStable(name string) bool {
	return !partition.MatchString(name) && (strings.HasPrefix(name, "scsi-") || strings.HasPrefix(name, "dm-uuid-mpath-"))
}

// stableNames maps the kernel's names of devices to those for good: the last in the
// order of bytes where there are several.
func (h host) stableNames() map[string]string {
	found := map[string]string{}
	for _, name := range names(filepath.Join(h.dev, "disk/by-id")) {
		if kernel := h.resolve(name); kernel != "" && isStable(name) {
			found[kernel] = name
		}
	}
	return found
}

// resolve returns the kernel's name of a device, empty where there is none.
func (h host) resolve(name string) string {
	to, err := os.Readlink(filepath.Join(h.dev, "disk/by-id", name))
	if err != nil || !strings.HasPrefix(to, "../../") {
		return ""
	}
	return strings.TrimPrefix(to, "../../")
}

// unused fails where somebody has a device: a file system, another device, a guest.
func (h host) unused(ctx context.Context, d device) error {
	if holders := names(filepath.Join(h.sys, "block", d.path, "holders")); len(holders) > 0 && d.kernel == d.path {
		return inUse(d, "held by "+strings.Join(holders, ", "))
	}
	return bounded(ctx, stuck, func() error {
		f, err := os.OpenFile(filepath.Join(h.dev, d.kernel), os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
		switch {
		case errors.Is(err, unix.EBUSY):
			return inUse(d, "it is mounted, or part of another device")
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
			return nil
		case err != nil:
			return inUse(d, err.Error())
		}
		defer f.Close() //nolint:errcheck // nothing was written
		// QEMU does not claim the devices of guests, but it locks bytes of them as it
		// does with files.
		const first, count = 100, 200
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: first, Len: count}
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err == nil && lock.Type != unix.F_UNLCK {
			return inUse(d, "a guest has it")
		}
		return nil
	})
}

func inUse(d device, why string) error {
	return fmt.Errorf("LUN %s (%s): %w: %s", d.lun, d.kernel, storage.ErrInUse, why)
}

// bounded runs fn, which may hang in the kernel, and leaves it behind when it does.
func bounded(ctx context.Context, patience time.Duration, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(patience):
		return fmt.Errorf("no answer in %s", patience)
	}
}

// line returns the first line of a file of the kernel, empty where it cannot be read.
func (h host) line(parts ...string) string {
	text, err := os.ReadFile(filepath.Join(append([]string{h.sys}, parts...)...))
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(first)
}

// names lists a folder, sorted; nothing where it cannot be read.
func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	list := make([]string, 0, len(entries))
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
