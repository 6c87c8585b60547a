package disks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/host"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// programs answers by the name of a program; others are not installed.
type programs map[string]string

func (p programs) Run(_ context.Context, c run.Cmd) error {
	text, ok := p[filepath.Base(c.Path)+" "+c.Args[len(c.Args)-1]]
	if !ok {
		text, ok = p[filepath.Base(c.Path)]
	}
	if !ok {
		return &run.Error{Cmd: c, ExitCode: -1, Err: exec.ErrNotFound}
	}
	if reason, ok := strings.CutPrefix(text, "fails: "); ok {
		return &run.Error{Cmd: c, ExitCode: 2, Stderr: reason}
	}
	_, err := io.WriteString(c.Stdout, text)
	return err
}

// caller calls the methods of a node with three disks: one free, one with partitions,
// one that an OSD is on.
func caller(t *testing.T, p programs) api.Local {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"sys/block/sda/size": "8", "sys/block/sda/device/vendor": "ATA", "sys/block/sda/queue/rotational": "0", "sys/block/sda/uevent": "DEVNAME=sda\nDEVTYPE=disk",
		"sys/block/sdb/size": "8", "sys/block/sdb/device/vendor": "ATA", "sys/block/sdb/sdb1/size": "7", "sys/block/sdb/uevent": "DEVNAME=sdb\nDEVTYPE=disk",
		"sys/block/sdc/size": "8", "sys/block/sdc/device/vendor": "ATA", "sys/block/sdc/uevent": "DEVNAME=sdc\nDEVTYPE=disk",
		"proc/mounts": "/dev/sdb1 /srv ext4 rw 0 0\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := &Service{Disks: host.DiskInventory{Runner: p, Sys: host.Sys(filepath.Join(root, "sys")), Proc: filepath.Join(root, "proc")}}
	return api.Local{Methods: s.Methods()}
}

// asked calls a method and returns its answer as JSON, and what was warned of.
func asked(t *testing.T, l api.Local, key string, p schema.Params) (answer, warnings string, err error) {
	t.Helper()
	var b bytes.Buffer
	v, err := l.Call(api.WithStreams(t.Context(), api.Streams{Err: &b}), key, p)
	raw, jerr := json.Marshal(schema.Value(v))
	if jerr != nil {
		t.Fatal(jerr)
	}
	return string(raw), b.String(), err
}

const (
	listKey  = "GET /nodes/{node}/disks/list"
	smartKey = "GET /nodes/{node}/disks/smart"
)

func TestList(t *testing.T) {
	l := caller(t, programs{
		"smartctl /dev/sda": "=== START OF SMART DATA SECTION ===\nSMART overall-health self-assessment test result: PASSED\n\nPercentage Used: 0.5%\n",
		"lvs":               "  /dev/sdc(0);osd-block-1;ceph.osd_id=3,ceph.encrypted=1\n  /dev/sdc(9);osd-db-1;x\n",
		"zpool":             "fails: no daemon",
	})
	answer, warnings, err := asked(t, l, listKey, schema.Params{"node": "pve1", "include-partitions": "1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"devpath":"/dev/sda","gpt":0,"health":"PASSED","model":"unknown","mounted":0,"osdid":-1,"osdid-list":[],"rpm":0,"serial":"unknown","size":4096,"type":"ssd","vendor":"ATA","wearout":99.5,"wwn":"unknown"}`,
		`{"devpath":"/dev/sdb","gpt":0,"health":"UNKNOWN","model":"unknown","mounted":0,"osdid":-1,"osdid-list":[],"rpm":-1,"serial":"unknown","size":4096,"type":"unknown","used":"partitions","vendor":"ATA","wearout":"N/A","wwn":"unknown"}`,
		`{"devpath":"/dev/sdb1","gpt":0,"mounted":1,"osdid":-1,"osdid-list":[],"parent":"/dev/sdb","size":3584,"type":"partition","used":"mounted"}`,
		`{"bluestore":1,"db":1,"devpath":"/dev/sdc","gpt":0,"health":"UNKNOWN","model":"unknown","mounted":0,"osdencrypted":1,"osdid":3,"osdid-list":[3],"rpm":-1,"serial":"unknown","size":4096,"type":"unknown","vendor":"ATA","wearout":"N/A","wwn":"unknown"}`,
	}
	if diff := cmp.Diff("["+strings.Join(want, ",")+"]", answer); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(warnings, "zpool: exit status 2: no daemon") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestListTypes(t *testing.T) {
	l := caller(t, programs{"lvs": "/dev/sdc(0);osd-block-1;ceph.osd_id=3\n", "pvs": " /dev/sdc\n"})
	for kind, want := range map[string]string{"unused": "/dev/sda", "journal_disks": "/dev/sda"} {
		answer, _, err := asked(t, l, listKey, schema.Params{"node": "pve1", "type": kind, "skipsmart": "1"})
		if err != nil || strings.Count(answer, "devpath") != 1 || !strings.Contains(answer, want) {
			t.Errorf("%s: got %s, %v", kind, answer, err)
		}
	}
	for _, c := range []struct {
		used string
		gpt  bool
		want bool
	}{{"", false, true}, {"LVM", false, true}, {"partitions", false, false}, {"partitions", true, true}, {"ext4", true, false}} {
		if got := fits(host.Disk{Used: c.used, GPT: c.gpt}, "journal_disks"); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
	if _, _, err := asked(t, l, listKey, schema.Params{"node": "pve1", "type": "other"}); err == nil {
		t.Error("a type that there is not")
	}
	empty := api.Local{Methods: (&Service{Disks: host.DiskInventory{Runner: programs{}, Sys: host.Sys(t.TempDir())}}).Methods()}
	if answer, _, err := asked(t, empty, listKey, schema.Params{"node": "pve1"}); answer != "[]" || err != nil {
		t.Errorf("got %s, %v", answer, err)
	}
}

func TestSMART(t *testing.T) {
	const device = "/dev/loop0" // any block device will do
	if _, err := os.Stat(device); err != nil {
		t.Skip("there is no block device to ask")
	}
	const table = "=== START OF READ SMART DATA SECTION ===\nSMART overall-health self-assessment test result: PASSED\n\n" +
		"Vendor Specific SMART Attributes with Thresholds:\n  5 Reallocated_Sector_Ct   PO--CK   100   099   010    -    7\n"
	for _, c := range []struct {
		name       string
		programs   programs
		healthOnly string
		want       string
	}{
		{"table", programs{"smartctl": table}, "0", `{"attributes":[{"fail":"-","flags":"PO--CK","id":"  5","name":"Reallocated_Sector_Ct","normalized":100,"raw":"7","threshold":10,"value":100,"worst":99}],"health":"PASSED","type":"ata"}`},
		{"text", programs{"smartctl": "=== START OF SMART DATA SECTION ===\nPercentage Used: 3%\n"}, "0", `{"health":"UNKNOWN","text":"Percentage Used: 3%\n","type":"text","wearout":97}`},
		{"health", programs{"smartctl": table}, "1", `{"health":"PASSED"}`},
		{"nothing", programs{"smartctl": "fails: no such device"}, "0", `{"health":"UNKNOWN","text":"smartctl: exit status 2: no such device\n","type":"text"}`},
		{"not installed", programs{}, "1", `{"health":"UNKNOWN"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, _, err := asked(t, caller(t, c.programs), smartKey, schema.Params{"node": "pve1", "disk": device, "healthonly": c.healthOnly})
			if diff := cmp.Diff(c.want, answer); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

func TestSMARTRefuses(t *testing.T) {
	l := caller(t, programs{})
	for disk, want := range map[string]string{
		"/dev/nosuch":     "failed to get absolute path to /dev/nosuch",
		"/dev/null":       "not a valid block device",
		"/dev/../etc":     "400 Parameter verification failed.",
		"/dev/a b":        "400 Parameter verification failed.",
		"-H":              "400 Parameter verification failed.",
		"/etc/fstab":      "400 Parameter verification failed.",
		"/dev/sda\n/etc/": "400 Parameter verification failed.",
	} {
		_, _, err := asked(t, l, smartKey, schema.Params{"node": "pve1", "disk": disk})
		if first, _, _ := strings.Cut(fmt.Sprint(err), "\n"); first != want {
			t.Errorf("%q: %v", disk, err)
		}
	}
}
