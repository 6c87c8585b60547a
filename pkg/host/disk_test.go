package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// answers is a runner that says what a function has for a command line. A nil function
// has no program installed.
type answers func(ctx context.Context, argv []string) (string, error)

func (a answers) Run(ctx context.Context, c run.Cmd) error {
	if !c.ReadOnly {
		return fmt.Errorf("%s is not said to change nothing", c)
	}
	if a == nil {
		return &run.Error{Cmd: c, ExitCode: -1, Err: exec.ErrNotFound}
	}
	text, err := a(ctx, append([]string{c.Path}, c.Args...))
	if _, werr := io.WriteString(c.Stdout, text); werr != nil {
		return werr
	}
	switch code, ok := errors.AsType[exitCode](err); {
	case ok:
		return &run.Error{Cmd: c, ExitCode: int(code), Err: err}
	case err != nil:
		return &run.Error{Cmd: c, ExitCode: -1, Err: err}
	}
	return nil
}

type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// diskHost is a host made of files, as the conformance suite writes them down.
func diskHost(t *testing.T, files map[string]string) host.DiskInventory {
	t.Helper()
	root := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("proc/mounts", files["mounts"])
	disks := strings.Fields(files["disklist"])
	for _, disk := range disks {
		put(filepath.Join("sys/block", disk, "device/uevent"), "")
		for _, part := range strings.Fields(files["partlist"]) {
			if strings.HasPrefix(part, disk) && part != disk {
				put(filepath.Join("sys/block", disk, part, "holders/dm-0/dev"), "254:0\n")
			}
		}
	}
	for name, text := range files {
		if strings.Contains(name, "/") {
			put(filepath.Join("sys/block", name), text)
		}
	}
	sys := filepath.Join(root, "sys")
	return host.DiskInventory{
		Sys: host.Sys(sys), Proc: filepath.Join(root, "proc"), Dev: filepath.Join(root, "dev"),
		Warn: func(err error) { t.Errorf("warning: %v", err) },
		Runner: answers(func(_ context.Context, argv []string) (string, error) {
			switch name := filepath.Base(argv[0]); name {
			case "udevadm":
				disk := strings.TrimPrefix(argv[3], sys+"/block/")
				return files[disk+"_udevadm"], nil
			case "smartctl":
				kind := "_health"
				if slices.Contains(argv, "-A") {
					kind = "_smart"
				}
				return files[strings.TrimPrefix(argv[len(argv)-1], "/dev/")+kind], nil
			case "lsblk", "pvs", "lvs", "zpool":
				return files[name], nil
			}
			return "", fmt.Errorf("nobody answers %v", argv)
		}),
	}
}

// record is a disk as the API of old shows it, numbers as text.
func record(d host.Disk) map[string]any {
	text := func(v any) string { return fmt.Sprint(v) }
	flag := func(v bool) string {
		if v {
			return "1"
		}
		return "0"
	}
	r := map[string]any{
		"devpath": d.Path, "gpt": flag(d.GPT), "health": d.Health, "model": d.Model, "osdid": text(d.Ceph.OSD()), "osdid-list": nil,
		"rpm": text(d.RPM), "serial": d.Serial, "size": text(d.Size), "type": d.Type, "vendor": d.Vendor, "wwn": d.WWN, "wearout": "N/A",
	}
	if d.Wearout != nil {
		r["wearout"] = text(*d.Wearout)
	}
	if d.Mounted {
		r["mounted"] = "1"
	}
	for key, value := range map[string]string{"by_id_link": d.ByID, "used": d.Used} {
		if value != "" {
			r[key] = value
		}
	}
	for key, n := range map[string]int{"journals": d.Ceph.Journals, "db": d.Ceph.DBs, "wal": d.Ceph.WALs} {
		if n > 0 {
			r[key] = text(n)
		}
	}
	if len(d.Ceph.OSDs) > 0 {
		var list []any
		for _, osd := range d.Ceph.OSDs {
			list = append(list, text(osd))
		}
		r["osdid-list"], r["bluestore"], r["osdencrypted"] = list, flag(d.Ceph.Bluestore), flag(d.Ceph.Encrypted)
	}
	return r
}

// asText turns the numbers of decoded JSON into text.
func asText(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = asText(value)
		}
	case []any:
		for i, value := range v {
			v[i] = asText(value)
		}
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return v
}

func TestConformanceDiskList(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name   string
			Input  struct{ Files map[string]string }
			Expect struct{ Disks map[string]any }
		}
	}
	conformance.Load(t, "cluster/storage-disk-list", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			m := diskHost(t, c.Input.Files)
			list := func(q host.DiskQuery) map[string]any {
				disks, err := m.Disks(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				got := map[string]any{}
				for _, d := range disks {
					got[d.Name] = record(d)
				}
				return got
			}
			want := asText(c.Expect.Disks).(map[string]any)
			if diff := cmp.Diff(want, list(host.DiskQuery{})); diff != "" {
				t.Error(diff)
			}
			for name, disk := range want {
				if diff := cmp.Diff(map[string]any{name: disk}, list(host.DiskQuery{Names: []string{name}})); diff != "" {
					t.Errorf("alone: %s", diff)
				}
			}
		})
	}
}

func TestConformanceDiskSMART(t *testing.T) {
	var suite struct {
		Cases []struct {
			Name   string
			Input  struct{ Output string }
			Expect struct{ SMART json.RawMessage }
		}
	}
	conformance.Load(t, "cluster/storage-disk-smart", &suite)
	for _, c := range suite.Cases {
		t.Run(c.Name, func(t *testing.T) {
			s := host.ParseSMART(c.Input.Output)
			got := map[string]any{"type": s.Type, "health": s.Health}
			if s.Text != "" {
				got["text"] = s.Text
			}
			if s.Wearout != nil {
				got["wearout"] = *s.Wearout
			}
			for _, a := range s.Attributes {
				list, _ := got["attributes"].([]any)
				got["attributes"] = append(list, map[string]any{
					"id": a.ID, "name": a.Name, "flags": a.Flags, "fail": a.Fail, "raw": a.Raw, "value": float64(a.Normalized),
					"normalized": float64(a.Normalized), "worst": float64(a.Worst), "threshold": float64(a.Threshold),
				})
			}
			var want map[string]any
			if err := json.Unmarshal(c.Expect.SMART, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// server is a host with a disk that has partitions, one that is held, one of an iSCSI
// session, and things that are no disks.
func server(t *testing.T) (host.DiskInventory, string) {
	t.Helper()
	m := diskHost(t, map[string]string{
		"disklist": "sda sdb sdc sdd sr0 loop0 nvme0n1 vdb",
		"partlist": "nvme0n1p1 nvme0n1p2 nvme0n1p3",
		"sda/size": "100", "sda/queue/rotational": "1", "sda/holders/dm-1/dev": "", "sda_udevadm": udev("/dev/sda", "ID_BUS=usb", "ID_MODEL=Stick"),
		"sdb/size": "100", "sdb_udevadm": udev("/dev/sdb"), // of an iSCSI session, see below
		"sdc/size": "0", "sdc_udevadm": udev("/dev/sdc"),
		"sdd/size": "100", "sdd_udevadm": udev("/dev/sdd", "ID_CDROM=1"),
		"sr0/size": "100", "sr0_udevadm": udev("/dev/sr0"),
		"loop0/size": "100", "loop0_udevadm": udev("/dev/loop0"),
		"nvme0n1/size": "1000", "nvme0n1/queue/rotational": "0",
		"nvme0n1/device/model": "Fast 1\n", "nvme0n1/nvme0n1p1/size": "100", "nvme0n1/nvme0n1p2/size": "200", "nvme0n1/nvme0n1p3/size": "700",
		"nvme0n1_udevadm": udev("/dev/nvme0n1", "ID_PART_TABLE_TYPE=gpt", "ID_SERIAL_SHORT=  S1", "ID_WWN=eui.1",
			"DEVLINKS=/dev/disk/by-path/x /dev/disk/by-id/nvme-eui.1 /dev/disk/by-id/nvme-Fast_1 /dev/disk/by-id/nvme-Fast_2"),
		"nvme0n1_smart": "=== START OF SMART DATA SECTION ===\nSMART overall-health self-assessment test result: PASSED\n\nPercentage Used:    3%\n",
		"lsblk": `{"blockdevices":[{"path":"/dev/nvme0n1","parttype":null,"fstype":"iso9660"},
			{"path":"/dev/nvme0n1p1","parttype":"21686148-6449-6e6f-744e-656564454649","fstype":null},
			{"path":"/dev/nvme0n1p2","parttype":"c12a7328-f81f-11d2-ba4b-00a0c93ec93b","fstype":"vfat"}]}`,
		"mounts":   "/dev/nvme0n1p2 /boot/efi vfat rw 0 0\n/dev/mapper/root / ext4 rw 0 0\nproc /proc proc rw 0 0\n",
		"vdb/size": "8", "vdb/uevent": "DEVNAME=vdb\nDEVTYPE=disk\n", "vdb/serial": "disk-7", "vdb/wwid": "naa.5000c500",
	})
	root := filepath.Dir(string(m.Sys))
	iscsi := filepath.Join(root, "sys/devices/platform/host7/session1/target7:0:0/7:0:0:1/block/sdb")
	for _, err := range []error{
		os.MkdirAll(filepath.Dir(iscsi), 0o755), os.Rename(filepath.Join(root, "sys/block/sdb"), iscsi),
		os.Symlink("../devices/platform/host7/session1/target7:0:0/7:0:0:1/block/sdb", filepath.Join(root, "sys/block/sdb")),
		os.MkdirAll(filepath.Join(root, "dev/mapper"), 0o755), os.WriteFile(filepath.Join(root, "dev/nvme0n1p3"), nil, 0o600),
		os.Symlink("../nvme0n1p3", filepath.Join(root, "dev/mapper/root")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return m, root
}

func udev(path string, more ...string) string {
	return "E: DEVTYPE=disk\nE: DEVNAME=" + path + "\nE: " + strings.Join(more, "\nE: ") + "\n"
}

func TestDisks(t *testing.T) {
	m, _ := server(t)
	got, err := m.Disks(t.Context(), host.DiskQuery{Partitions: true})
	if err != nil {
		t.Fatal(err)
	}
	part := func(n int, size int64, used string, mounted bool) host.Disk {
		name := fmt.Sprintf("nvme0n1p%d", n)
		return host.Disk{Name: name, Path: "/dev/" + name, Parent: "/dev/nvme0n1", Type: host.DiskPartition, Size: size * 512, GPT: true, Used: used, Mounted: mounted, RPM: -1}
	}
	want := []host.Disk{
		{
			Name: "nvme0n1", Path: "/dev/nvme0n1", Type: host.DiskNVMe, Size: 512000, GPT: true, Used: "partitions",
			Vendor: "unknown", Model: "Fast 1", Serial: "S1", WWN: "eui.1", ByID: "/dev/disk/by-id/nvme-Fast_1", Health: "PASSED", Wearout: new(97.0),
		},
		part(1, 100, "BIOS boot", false), part(2, 200, "EFI", true), part(3, 700, "mounted", true),
		{
			Name: "sda", Path: "/dev/sda", Type: host.DiskUSB, Size: 51200, Used: "Device Mapper",
			Vendor: "unknown", Model: "Stick", Serial: "unknown", WWN: "unknown", Health: "UNKNOWN",
		},
		{
			Name: "vdb", Path: "/dev/vdb", Type: host.DiskUnknown, Size: 4096,
			Vendor: "unknown", Model: "unknown", Serial: "disk-7", WWN: "0x5000c500", RPM: -1, Health: "UNKNOWN",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err = m.Disks(t.Context(), host.DiskQuery{Names: []string{"nvme0n1"}, NoSMART: true}); err != nil || len(got) != 1 || got[0].Used != "iso9660" || got[0].Health != "UNKNOWN" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDisksFaults(t *testing.T) {
	garbage := func(context.Context, []string) (string, error) { return "\x00}{;\t\xff\n\t\t\n;;;\n", nil }
	fails := func(_ context.Context, argv []string) (string, error) { return "", exitCode(5) }
	hangs := func(ctx context.Context, argv []string) (string, error) {
		if filepath.Base(argv[0]) == "udevadm" {
			return udev("/dev/" + filepath.Base(argv[3])), nil
		}
		<-ctx.Done()
		if filepath.Base(argv[0]) == "smartctl" {
			select {} // cannot even be killed
		}
		return "", context.Cause(ctx)
	}
	for _, c := range []struct {
		name     string
		runner   answers
		warnings int
		disks    int
	}{
		{"no programs", nil, 0, 1},
		{"all fail", fails, 4 + 4, 1},  // four who use disks, and udev for each of four
		{"all hang", hangs, 4 + 4, 4},  // and the health of each, which udev says is a disk
		{"garbage", garbage, 1 + 0, 0}, // lsblk's is not JSON, and no disk is left
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, _ := server(t)
			m.Runner, m.Patience = c.runner, 50*time.Millisecond
			var warnings []error
			m.Warn = func(err error) { warnings = append(warnings, err) }
			got, err := m.Disks(t.Context(), host.DiskQuery{})
			if err != nil || len(got) != c.disks {
				t.Errorf("got %d disks, %v, want %d", len(got), err, c.disks)
			}
			if len(warnings) != c.warnings {
				t.Errorf("got %d warnings, want %d: %v", len(warnings), c.warnings, warnings)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		m, _ := server(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("no more patience")
		cancel(why)
		if _, err := m.Disks(ctx, host.DiskQuery{}); !errors.Is(err, why) {
			t.Errorf("error %v", err)
		}
	})
}

// A question that nobody could end is not asked once more.
func TestDisksStuckProcess(t *testing.T) {
	m, root := server(t)
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Join(root, "proc", filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "proc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("uptime", "1000.00 900.00\n")
	stat := func(name, state string, start int) string {
		return "7 (" + name + ") " + state + strings.Repeat(" 1", 18) + fmt.Sprintf(" %d 1 1\n", start)
	}
	put("7/stat", stat("a) b", "D", 50000))
	put("7/cmdline", "/usr/sbin/smartctl\x00-H\x00-A\x00-f\x00brief\x00/dev/nvme0n1\x00")
	put("8/stat", stat("pvs", "S", 50000))
	put("8/cmdline", "/sbin/pvs\x00--noheadings\x00--readonly\x00-o\x00pv_name\x00")
	put("9/stat", stat("smartctl", "D", 99999)) // not for long
	put("9/cmdline", "/usr/sbin/smartctl\x00-H\x00/dev/sda\x00")
	put("10/stat", stat("lvs", "D", 50000)) // killed, and not gone
	put("10/cmdline", "")
	put("11/stat", stat("smartctl", "D", 50000)) // of nobody knows which disk
	put("11/cmdline", "")
	var warnings []string
	m.Warn = func(err error) { warnings = append(warnings, err.Error()) }
	got, err := m.Disks(t.Context(), host.DiskQuery{})
	if err != nil || len(got) != 3 || got[0].Health != "UNKNOWN" {
		t.Errorf("got %+v, %v", got, err)
	}
	slices.Sort(warnings)
	if len(warnings) != 2 || !strings.Contains(warnings[0], "lv_tags --noheadings --readonly --separator ';': process 10 still waits for an answer") ||
		!strings.Contains(warnings[1], "process 7 still waits for an answer") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestSMARTFaults(t *testing.T) {
	const complaint = "smartctl 7.3 [x]\nCopyright (C) 2002-22\n\n/dev/vda: Unable to detect device type\nPlease specify\n"
	for _, c := range []struct {
		name   string
		answer answers
		want   string
		health string
	}{
		{"missing", nil, "smartctl: program not found, is its package installed?", ""},
		{"no SMART", func(context.Context, []string) (string, error) { return complaint, exitCode(1) }, "smartctl: exit status 1: /dev/vda: Unable to detect device type", ""},
		{"failing", func(context.Context, []string) (string, error) {
			return "=== START OF SMART DATA SECTION ===\nSMART overall-health self-assessment test result: FAILED!\n", exitCode(8)
		}, "", "FAILED!"},
		{"disabled", func(context.Context, []string) (string, error) { return "SMART Disabled. Use option -s\n", exitCode(4) }, "", "SMART Disabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _ := server(t)
			m.Runner = c.answer
			s, err := m.SMART(t.Context(), "/dev/vda", true)
			told := ""
			if err != nil {
				told = err.Error()
			}
			if s.Health != c.health || told != c.want {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

func TestDevice(t *testing.T) {
	m, root := server(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "dev/away")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/dev/nosuch":         "failed to get absolute path to /dev/nosuch",
		"/dev/../etc/passwd":  "failed to get absolute path to /dev/../etc/passwd",
		"sda":                 "failed to get absolute path to sda",
		"/dev/away":           "got unusual device path '/etc/passwd'",
		"/dev/mapper/root":    "not a valid block device",
		"/dev/../dev/missing": "failed to get absolute path to /dev/../dev/missing",
	} {
		if got, err := m.Device(path); err == nil || err.Error() != want {
			t.Errorf("%s: got %q, %v, want %s", path, got, err, want)
		}
	}
	if _, err := os.Stat("/dev/loop0"); err == nil {
		if got, err := (host.DiskInventory{}).Device("/dev/loop0"); err != nil || got != "/dev/loop0" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// deaf runs, in place of smartctl, a program that does not end when it is asked to.
type deaf struct{ run.Host }

func (d deaf) Run(ctx context.Context, c run.Cmd) error {
	if c.Name() == "smartctl" {
		c.Path, c.Args = "sh", []string{"-c", "trap '' TERM; while :; do sleep 1; done", "disk-test", c.Args[len(c.Args)-1]}
	}
	return d.Host.Run(ctx, c)
}

func TestDisksDeafProgram(t *testing.T) {
	i := host.DiskInventory{Runner: deaf{}, Patience: 100 * time.Millisecond}
	if _, err := i.SMART(t.Context(), "/dev/sda", true); err == nil {
		t.Error("somebody answered")
	}
	if left, err := exec.CommandContext(t.Context(), "pgrep", "-f", "disk-test /dev/sda").CombinedOutput(); err == nil {
		t.Errorf("left behind: process %s", left)
	}
}

// What this machine has differs; what must hold is that the question is answered, and by
// disks only.
func TestDisksOfThisMachine(t *testing.T) {
	i := host.DiskInventory{Runner: run.Host{}, Warn: func(err error) { t.Logf("warning: %v", err) }}
	got, err := i.Disks(t.Context(), host.DiskQuery{Partitions: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range got {
		t.Logf("%+v", d)
		if !strings.HasPrefix(d.Path, "/dev/") || strings.HasPrefix(d.Name, "loop") || d.Size <= 0 {
			t.Errorf("%+v is no disk", d)
		}
	}
}
