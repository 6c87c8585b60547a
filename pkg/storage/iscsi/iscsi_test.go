package iscsi

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

const iqn = "iqn.2003-01.org.example:disks"

// newHost is a machine with two sessions with one target, by one of which a disk is
// seen that lies below a volume group, by both a disk that multipath has joined.
func newHost(t *testing.T) host {
	t.Helper()
	root := t.TempDir()
	h := host{sys: root + "/sys", dev: root + "/dev"}
	file := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, to string) {
		t.Helper()
		path := filepath.Join(root, "dev/disk/by-id", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink("../../"+to, path)); err != nil {
			t.Fatal(err)
		}
	}
	for number, target := range map[string]string{"1": iqn, "2": iqn, "3": "iqn.other"} {
		file("sys/class/iscsi_session/session"+number+"/targetname", target+"\n")
		file("sys/class/iscsi_session/session"+number+"/state", map[bool]string{true: "FAILED\n", false: "LOGGED_IN\n"}[number == "2"])
		file("sys/class/iscsi_connection/connection"+number+":0/persistent_address", "192.0.2."+number+"\n")
		file("sys/class/iscsi_connection/connection"+number+":0/persistent_port", "3260\n")
		file("sys/class/iscsi_session/session"+number+"/device/target1"+number+":0:0/x", "")
	}
	disk := func(address, kind, name, sectors string) {
		file("sys/bus/scsi/devices/"+address+"/type", kind+"\n")
		if name != "" {
			file("sys/bus/scsi/devices/"+address+"/block/"+name+"/x", "")
			file("sys/block/"+name+"/size", sectors+"\n")
		}
	}
	disk("11:0:0:0", "12", "", "")
	disk("11:0:0:1", "0", "sda", "2048")
	disk("11:0:0:2", "0", "sdb", "4096")
	disk("12:0:0:2", "0", "sdc", "4096")
	disk("11:0:0:3", "0", "sdd", "0")
	disk("11:0:0:5", "0", "sdh", "0") // as one that was removed on the other side
	disk("13:0:0:1", "0", "sdf", "2048")
	disk("1:0:0:1", "0", "sdg", "2048")
	file("sys/block/sda/holders/dm-7/x", "")
	file("sys/block/dm-7/dm/uuid", "LVM-abc\n")
	for _, path := range []string{"sdb", "sdc"} {
		file("sys/block/"+path+"/holders/dm-1/x", "")
	}
	file("sys/block/dm-1/dm/uuid", "mpath-360002\n")
	file("sys/block/dm-1/size", "4096\n")
	link("scsi-360001", "sda")
	link("scsi-SLIO-ORG_one", "sda")
	link("scsi-360001-part1", "sda1")
	link("wwn-0x60001", "sda")
	link("scsi-360002", "dm-1")
	link("dm-uuid-mpath-360002", "dm-1")
	link("dm-name-mpatha", "dm-1")
	link("scsi-360003", "sdd")
	link("scsi-360006", "sdf")
	link("scsi-360005", "sdh")
	link("scsi-360005-part1", "sdh1")
	return h
}

func newPool(t *testing.T, r run.Runner) *pool {
	t.Helper()
	return &pool{
		Env: storage.Env{ID: "san", Runner: r, Root: t.TempDir()}, portal: "192.0.2.5", target: iqn,
		host: newHost(t), patience: time.Second,
	}
}

func TestList(t *testing.T) {
	p := newPool(t, run.NewFake())
	want := []storage.Volume{
		{Name: "0.0.1.scsi-SLIO-ORG_one", Content: storage.Images, Format: "raw", Size: 1 << 20},
		{Name: "0.0.2.scsi-360002", Content: storage.Images, Format: "raw", Size: 2 << 20},
	}
	for _, f := range []storage.Filter{{Content: []storage.Content{storage.Images}}, {Content: []storage.Content{storage.None}}} {
		list, err := p.List(t.Context(), f)
		if diff := cmp.Diff(want, list); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	for _, f := range []storage.Filter{{Content: []storage.Content{storage.ISO}}, {Content: []storage.Content{storage.Images}, Guest: 100}} {
		if list, err := p.List(t.Context(), f); len(list) > 0 || err != nil {
			t.Errorf("%+v: %+v, %v", f, list, err)
		}
	}
}

func TestFind(t *testing.T) {
	p := newPool(t, run.NewFake())
	for name, want := range map[string]int64{
		"0.0.1.scsi-SLIO-ORG_one":        1 << 20,
		"0.0.1.scsi-360001":              1 << 20, // another name for good
		"0.0.1.wwn-0x60001":              1 << 20,
		"9.9.9.scsi-360001":              1 << 20, // found elsewhere than before
		"0.0.2.dm-uuid-mpath-360002":     2 << 20,
		"0.0.1.scsi-360006":              -1, // of another target
		"0.0.1.scsi-360001-part1":        -1,
		"0.0.1.nothing":                  -1,
		"0.0.1...":                       -1,
		"0.0.1.../../../../etc/passwd":   -1,
		"0.0.1":                          -1,
		"scsi-360001":                    -1,
		"0.0.1.scsi-360001 scsi-360001":  -1,
		"-1.0.1.scsi-360001":             -1,
		"0.0.1.scsi-360001\n0.0.1.other": -1,
	} {
		info, err := p.Info(t.Context(), name)
		if err == nil && info.Size != want || err != nil && want >= 0 {
			t.Errorf("%q: %+v, %v", name, info, err)
		}
	}
	path, err := p.Path("0.0.1.scsi-360001", "")
	if err != nil || path != p.host.dev+"/disk/by-id/scsi-360001" {
		t.Errorf("path %q, %v", path, err)
	}
	if _, err := p.Path("0.0.1.scsi-360001", "snap"); err == nil || err.Error() != "snapshot is not possible on iscsi storage" {
		t.Errorf("path of a snapshot: %v", err)
	}
}

func TestUnused(t *testing.T) {
	h := newHost(t)
	for _, d := range h.devices(iqn) {
		err := h.unused(t.Context(), d)
		if held := d.path == "sda"; errors.Is(err, storage.ErrInUse) != held {
			t.Errorf("%s: %v", d.path, err)
		}
	}
}

func says(args, stdout string, exit int) run.Exchange {
	return run.Exchange{Args: append([]string{"iscsiadm"}, strings.Fields(args)...), Stdout: stdout, Exit: exit}
}

// forget ends the sessions of a machine.
func (h host) forget(t *testing.T, numbers ...string) {
	t.Helper()
	for _, number := range numbers {
		if err := os.RemoveAll(h.sys + "/class/iscsi_session/session" + number); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessions(t *testing.T) {
	want := []session{{"1", "192.0.2.1:3260", true}, {"2", "192.0.2.2:3260", false}}
	if diff := cmp.Diff(want, newHost(t).sessions(iqn), cmp.AllowUnexported(session{})); diff != "" {
		t.Error(diff)
	}
}

// TestActivateAgain: a target that is there is looked at once in a while, and portals
// that are down do not matter.
func TestActivateAgain(t *testing.T) {
	f := run.NewFake(
		says("--mode session --sid 1 --rescan", "", 0),
		says("--mode node", "192.0.2.1:3260,1 "+iqn+"\n127.0.0.1:1,1 "+iqn+"\n", 0),
	)
	p := newPool(t, f)
	for range 3 {
		if err := p.Activate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := f.Left(); len(left) > 0 || len(f.Calls()) != 2 {
		t.Errorf("not asked: %v, asked %v", left, f.Calls())
	}
}

// TestLost: with all connections lost, the portals are tried that there was none to.
func TestLost(t *testing.T) {
	const lost = "storage 'san' is not online: the connection to target '" + iqn + "' is lost, and is not restored yet"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there := l.Addr().String()
	records := "192.0.2.2:3260,1 " + iqn + "\n" + there + ",1 " + iqn + "\n"
	login := "--mode node --targetname " + iqn + " --portal " + there + " --login"
	for _, c := range []struct {
		name  string
		asked []run.Exchange
		want  string
	}{
		{"no other portal", []run.Exchange{says("--mode node", "192.0.2.2:3260,1 "+iqn+"\n", 0)}, lost},
		{"another portal", []run.Exchange{says("--mode node", records, 0), says(login, "", 0)}, ""},
		{
			"wrong password for another portal",
			[]run.Exchange{says("--mode node", records, 0), says(login, "", 24)},
			lost + "\nportal '" + there + "': iscsiadm: exit status 24",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := run.NewFake(c.asked...)
			p := newPool(t, f)
			p.host.forget(t, "1")
			got := ""
			if err := p.Activate(t.Context()); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if left := f.Left(); len(left) > 0 {
				t.Errorf("not asked: %v", left)
			}
		})
	}
}

// TestNamed: a disk that several sessions see needs but one name.
func TestNamed(t *testing.T) {
	p := newPool(t, run.NewFake())
	for _, name := range []string{"11:0:0:3", "11:0:0:5"} {
		if err := os.RemoveAll(p.host.sys + "/bus/scsi/devices/" + name); err != nil {
			t.Fatal(err)
		}
	}
	// As without multipath: the name is that of one of both.
	for _, disk := range []string{"sdb", "sdc"} {
		if err := os.RemoveAll(p.host.sys + "/block/" + disk); err != nil {
			t.Fatal(err)
		}
	}
	one := p.host.dev + "/disk/by-id/scsi-360002"
	if err := errors.Join(os.Remove(one), os.Symlink("../../sdc", one)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if p.named(short) {
		t.Error("two different disks, of which one has no name")
	}
	for _, name := range []string{"11:0:0:2", "12:0:0:2"} {
		if err := os.WriteFile(p.host.sys+"/bus/scsi/devices/"+name+"/wwid", []byte("naa.60002\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !p.named(t.Context()) {
		t.Error("a disk that has a name")
	}
}

// TestDiscover: each portal is asked until one knows the target. Where none tells of it,
// there may be records of it nevertheless.
func TestDiscover(t *testing.T) {
	var portals []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		portals = append(portals, l.Addr().String())
	}
	failed := func(portal string) run.Exchange { return says(strings.Join(discovery(portal, "new").Args, " "), "", 4) }
	tells := says(strings.Join(discovery(portals[1], "new").Args, " "), portals[1]+",1 "+iqn+"\n", 0)
	retry := says("--mode node --targetname "+iqn+" --op update --name node.session.initial_login_retry_max --value 0", "", 0)
	for _, c := range []struct {
		name  string
		known []string
		asked []run.Exchange
		want  []string
	}{
		{"the second knows", nil, []run.Exchange{failed(portals[0]), tells, retry}, portals[1:]},
		{"and the first has a record", portals[:1], []run.Exchange{failed(portals[0]), tells, retry}, []string{portals[1], portals[0]}},
		{"records alone", portals, []run.Exchange{failed(portals[0]), failed(portals[1]), retry}, portals},
		{"none", nil, []run.Exchange{failed(portals[0]), failed(portals[1])}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := run.NewFake(c.asked...)
			got, err := newPool(t, f).discover(t.Context(), portals, c.known)
			if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.want != nil) {
				t.Error(diff, err)
			}
			if left := f.Left(); len(left) > 0 {
				t.Errorf("not asked: %v", left)
			}
		})
	}
}

// TestLogin: by each portal that answers, and without one that does not.
func TestLogin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there := l.Addr().String()
	login := "--mode node --targetname " + iqn
	discovered := there + ",1 " + iqn + "\n127.0.0.1:1,1 " + iqn + "\n" + there + ",1 iqn.other\n"
	start := []run.Exchange{
		says("--mode node", "", nothingFound),
		says("--mode discovery --type sendtargets --portal "+there+" --op new", discovered, 0),
	}
	retry := says(login+" --op update --name node.session.initial_login_retry_max --value 0", "", 0)
	for _, c := range []struct {
		name string
		more []run.Exchange
		want string
	}{
		{"well", []run.Exchange{retry, says(login+" --portal "+there+" --login", "", 0)}, ""},
		{"another was faster", []run.Exchange{retry, says(login+" --portal "+there+" --login", "", sessionExists)}, ""},
		{
			"wrong password",
			[]run.Exchange{
				retry, {Args: strings.Fields("iscsiadm " + login + " --portal " + there + " --login"), Exit: 24, Stderr: "iscsiadm: Could not log into all portals\n"},
				says(login+" --op delete", "", 0),
			},
			"storage 'san' is not online: log in to target '" + iqn + "': portal '" + there + "': iscsiadm: exit status 24: iscsiadm: Could not log into all portals",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := run.NewFake(append(slices.Clone(start), c.more...)...)
			p := newPool(t, f)
			p.host.forget(t, "1", "2")
			p.portal = there
			got := ""
			if err := p.Activate(t.Context()); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if left := f.Left(); len(left) > 0 {
				t.Errorf("not asked: %v", left)
			}
		})
	}
	t.Run("no such target", func(t *testing.T) {
		p := newPool(t, run.NewFake(append(slices.Clone(start[:1]), says("--mode discovery --type sendtargets --portal "+there+" --op new", there+",1 iqn.other\n", 0))...))
		p.host.forget(t, "1", "2")
		p.portal = there
		if err := p.Activate(t.Context()); err == nil || !strings.Contains(err.Error(), "target '"+iqn+"' is not there at portal '"+there+"'") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no program", func(t *testing.T) {
		p := newPool(t, run.NewFake(run.Exchange{Args: []string{"iscsiadm", "--mode", "node"}, Missing: true}))
		p.host.forget(t, "1", "2")
		if err := p.Activate(t.Context()); err == nil || !strings.Contains(err.Error(), "no iscsi support - please install open-iscsi") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		p := newPool(t, run.NewFake(start[:1]...))
		p.host.forget(t, "1", "2")
		p.portal = "127.0.0.1:1"
		if err := p.Activate(t.Context()); err == nil || err.Error() != "storage 'san' is not online: connect to 127.0.0.1:1: connect: connection refused" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("dry run", func(t *testing.T) {
		f := run.NewFake(start[:1]...)
		p := newPool(t, f)
		p.host.forget(t, "1", "2")
		p.portal = there
		var told strings.Builder
		if err := p.Activate(plan.With(t.Context(), plan.New(&told))); err != nil {
			t.Error(err)
		}
		if !strings.Contains(told.String(), "--login") {
			t.Errorf("told %q", told.String())
		}
	})
}

// hung is a runner whose rescans never end.
type hung struct {
	run.Runner
	begun chan struct{}
}

func (s hung) Run(ctx context.Context, c run.Cmd) error {
	if slices.Contains(c.Args, "--rescan") {
		s.begun <- struct{}{}
		select {} // in the kernel, where nothing reaches it
	}
	return s.Runner.Run(ctx, c)
}

// TestRescanHangs: it is left behind.
func TestRescanHangs(t *testing.T) {
	s := hung{run.NewFake(
		run.Exchange{Args: []string{"iscsiadm", "--mode", "node"}, Exit: nothingFound, Repeat: true},
	), make(chan struct{}, 1)}
	p := newPool(t, s)
	if err := p.Activate(t.Context()); err != nil {
		t.Error(err)
	}
	<-s.begun
	if err := p.Activate(t.Context()); err != nil {
		t.Error(err)
	}
	if len(s.begun) > 0 {
		t.Error("a second one was begun")
	}
}

// TestOneHangs: sessions that do not hang are looked at again.
func TestOneHangs(t *testing.T) {
	f := run.NewFake(says("--mode session --sid 2 --rescan", "", 0), says("--mode session --sid 2 --rescan", "", 0))
	p := newPool(t, oneHangs{f})
	sessions := []session{{"1", "192.0.2.1:3260", true}, {"2", "192.0.2.2:3260", true}}
	for range 2 {
		if !p.rescan(t.Context(), sessions, 0, 100*time.Millisecond) {
			t.Error("no look")
		}
	}
	for late := time.Now().Add(time.Minute); len(f.Left()) > 0 && time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
	}
	if left := f.Left(); len(left) > 0 {
		t.Errorf("not asked: %v", left)
	}
	if p.rescan(t.Context(), sessions[:1], 0, time.Millisecond) {
		t.Error("the one that hangs was looked at again")
	}
}

// oneHangs is a runner of whose rescans that of session 1 never ends.
type oneHangs struct{ run.Runner }

func (s oneHangs) Run(ctx context.Context, c run.Cmd) error {
	if slices.Contains(c.Args, "1") {
		select {} // in the kernel, where nothing reaches it
	}
	return s.Runner.Run(ctx, c)
}

func TestParse(t *testing.T) {
	records := parseRecords("192.0.2.5:3260,1 a\n192.0.2.6:3260,2 a\n192.0.2.5:3260,1 a\n\nnothing\n[::1]:3260,1 b\n")
	if diff := cmp.Diff(map[string][]string{"a": {"192.0.2.5:3260", "192.0.2.6:3260"}, "b": {"[::1]:3260"}}, records); diff != "" {
		t.Error(diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("192.0.2.5:3260,1 a\n")
	f.Add("0.0.1.scsi-360001")
	f.Fuzz(func(t *testing.T, text string) {
		for target, portals := range parseRecords(text) {
			if target == "" || len(portals) == 0 {
				t.Errorf("%q: %q", target, portals)
			}
		}
		p := &pool{host: host{dev: "/dev"}}
		if path, err := p.Path(text, ""); err == nil && filepath.Dir(path) != "/dev/disk/by-id" {
			t.Errorf("%q lies at %q", text, path)
		}
	})
}
