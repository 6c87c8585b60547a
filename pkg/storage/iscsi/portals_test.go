package iscsi

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// The portals of the targets of these tests: of one address and port each, so that one can
// be cut off.
const (
	first, firstPort   = "127.0.0.1:3260", 3260
	second, secondPort = "127.0.0.2:3261", 3261
)

// A san is a target with two portals, as it is used.
type san struct {
	*testing.T
	*storage.Service
	ctx  context.Context //nolint:containedctx // that of the test
	said *strings.Builder
	host host
}

// command runs a program, which has to succeed.
func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command("timeout", append([]string{"60"}, argv...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return string(out)
}

// newSAN serves a target by two portals. LIO tells who asks of both, TGT of the one asked.
func newSAN(t *testing.T, kind string, target testnode.Target) *san {
	t.Helper()
	testnode.Need(t, "iscsi")
	if kind == "tgt" {
		testnode.TGT(t, target)
		command(t, "tgtadm", "--lld", "iscsi", "--mode", "portal", "--op", "new", "--param", "portal="+second)
	} else {
		testnode.LIO(t, target)
		portals := "/sys/kernel/config/target/iscsi/" + target.IQN + "/tpgt_1/np/"
		command(t, "rmdir", portals+"0.0.0.0:3260")
		command(t, "mkdir", portals+first, portals+second)
	}
	testnode.Initiator(t)
	s := &san{T: t, Service: serve(t, target.IQN), said: &strings.Builder{}, host: host{sys: "/sys", dev: "/dev"}}
	s.ctx = api.WithStreams(t.Context(), api.Streams{Out: s.said, Err: s.said})
	return s
}

// volumes lists the LUNs.
func (s *san) volumes() ([]storage.Volume, error) {
	return s.List(s.ctx, "san", storage.Filter{Content: []storage.Content{storage.Images}})
}

// sessions lists the portals there are sessions by that work.
func (s *san) sessions() (portals []string) {
	for _, session := range s.host.sessions(iqn) {
		if session.alive {
			portals = append(portals, session.portal)
		}
	}
	slices.Sort(portals)
	return portals
}

// works checks that the storage can be used, that it answers in time, and that the volumes
// are there once each.
func (s *san) works(what string, volumes []storage.Volume) {
	s.Helper()
	const most = 20 * time.Second // the machine may be slow
	for range 3 {
		begun := time.Now()
		statuses, err := s.Status(s.ctx, "san")
		if err != nil {
			s.Errorf("%s: status: %v", what, err)
		}
		list, err := s.volumes()
		if err != nil || !slices.EqualFunc(list, volumes, func(a, b storage.Volume) bool { return a.Name == b.Name && a.Size == b.Size }) {
			s.Errorf("%s: %+v, want %+v, %v, %+v", what, list, volumes, err, statuses)
		}
		if path, err := s.Path(s.ctx, s.volume(volumes[0].Name), ""); err != nil || filepath.Dir(path) != "/dev/disk/by-id" {
			s.Errorf("%s: path %s, %v", what, path, err)
		}
		if err := s.ActivateVolumes(s.ctx, "", s.volume(volumes[0].Name)); err != nil {
			s.Errorf("%s: %v", what, err)
		}
		took := time.Since(begun)
		s.Logf("%s: all answers after %s, sessions %q", what, took.Round(time.Millisecond), s.sessions())
		if took > most {
			s.Errorf("%s: the answers took %s", what, took)
		}
	}
	// One may hang in the kernel, where a portal does not answer.
	if out, _ := exec.Command("pgrep", "-a", "-x", "iscsiadm").Output(); strings.Count(string(out), "\n") > 2 {
		s.Errorf("%s: these wait:\n%s", what, out)
	}
}

func (s *san) volume(name string) id.Volume { return id.Volume{Storage: "san", Name: name} }

// refuse ends the connections to a port of this machine and refuses new ones, until the
// function it returns is called or the test ends.
func refuse(t *testing.T, port string) func() {
	t.Helper()
	table := "refuse" + port
	command(t, "nft", "add table inet "+table+"; add chain inet "+table+" input { type filter hook input priority 0; }; "+
		"add rule inet "+table+" input tcp dport "+port+" reject with tcp reset")
	refused := true
	restore := func() {
		if refused {
			refused = false
			command(t, "nft", "delete", "table", "inet", table)
		}
	}
	t.Cleanup(restore)
	return restore
}

// TestPortals: a target is used by all its portals, its LUNs are there once, and it can be
// used as long as one portal is there.
func TestPortals(t *testing.T) {
	testnode.Need(t, "iscsi", "lio")
	files := disks(t, 4<<20, 6<<20, 8<<20)
	s := newSAN(t, "lio", testnode.Target{IQN: iqn, LUNs: files[:2]})
	if found, err := Scan(t.Context(), run.Host{}, portal); err != nil || !slices.Equal(found, []Found{{iqn, first + "," + second}}) {
		t.Errorf("scan: %+v, %v", found, err)
	}
	volumes, err := s.volumes()
	if err != nil || len(volumes) != 2 {
		t.Fatalf("%+v, %v\n%s", volumes, err, s.said)
	}
	if got := s.sessions(); !slices.Equal(got, []string{first, second}) {
		t.Fatalf("sessions by %q", got)
	}
	if n := len(s.host.devices(iqn)); n != 4 {
		t.Errorf("%d devices", n)
	}
	if said := s.said.String(); strings.Contains(said, "without a name") {
		t.Errorf("it was said: %s", said)
	}
	s.works("both portals", volumes)
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		return // what follows takes minutes
	}
	lose := func(what, portal, other string, cut func() func()) (restore func()) {
		t.Helper()
		restore = cut()
		s.works(what+", not noticed yet", volumes)
		await(t, what+": the loss is seen", func() bool { return slices.Equal(s.sessions(), []string{other}) })
		s.works(what, volumes)
		return restore
	}
	both := func(what string) {
		t.Helper()
		await(t, what+": the portal is used again", func() bool {
			if err := s.Activate(s.ctx, "san"); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			return slices.Equal(s.sessions(), []string{first, second})
		})
		s.works(what, volumes)
	}

	restore := lose("second dropped", second, first, func() func() { return testnode.Drop(t, secondPort) })
	// What is new on the target is found by the portal that is there.
	add := exec.Command("timeout", "60", "targetcli")
	add.Stdin = strings.NewReader("/backstores/fileio create name=new file_or_dev=" + files[2] + "\n/iscsi/" + iqn + "/tpg1/luns create /backstores/fileio/new\nexit\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("targetcli: %v: %s", err, out)
	}
	await(t, "the new LUN is seen", func() bool {
		list, err := s.volumes()
		if err != nil {
			t.Errorf("looking for the new LUN: %v", err)
		}
		if len(list) == 3 && list[2].Size == 8<<20 {
			volumes = list
		}
		return len(volumes) == 3
	})
	s.works("with a new LUN", volumes)
	restore()
	both("second back")

	restore = lose("second refused", second, first, func() func() { return refuse(t, "3261") })
	restore()
	both("second back")

	// The portal of the configuration is gone: the records know the other.
	restore = lose("first dropped", first, second, func() func() { return testnode.Drop(t, firstPort) })
	p, err := s.Pool(s.ctx, "san")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := p.Deactivate(s.ctx); err != nil {
		t.Errorf("deactivated with one portal: %v", err)
	}
	t.Logf("deactivated after %s", time.Since(begun).Round(time.Millisecond))
	if left := s.host.sessions(iqn); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	s.works("logged in by the second", volumes)
	if got := s.sessions(); !slices.Equal(got, []string{second}) {
		t.Errorf("sessions by %q", got)
	}

	// Now the only session is lost, and the other portal is there.
	restore()
	restore = refuse(t, "3261")
	await(t, "the other portal is used", func() bool {
		_ = s.Activate(s.ctx, "san") // not before the loss is seen
		return slices.Equal(s.sessions(), []string{first})
	})
	s.works("logged in by the first", volumes)
	restore()
	both("second back")
	t.Logf("said: %s", s.said)
}

// TestPortalCHAP: each portal has a record of its own, with its password. One that is wrong
// is told of; the other is used.
func TestPortalCHAP(t *testing.T) {
	testnode.Need(t, "iscsi")
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("passwords of two portals: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	const right, wrong = "secretsecret", "wrongwrongwrong"
	s := newSAN(t, "tgt", testnode.Target{IQN: iqn, LUNs: disks(t, 4<<20), User: "anna", Password: right})
	record := func(portal, password string) {
		t.Helper()
		of := []string{"iscsiadm", "-m", "node", "-T", iqn, "-p", portal, "-o"}
		for _, set := range []string{"authmethod CHAP", "username anna", "password " + password} {
			name, value, _ := strings.Cut(set, " ")
			command(t, append(slices.Clone(of), "update", "-n", "node.session.auth."+name, "-v", value)...)
		}
	}
	for _, portal := range []string{first, second} {
		command(t, "iscsiadm", "-m", "node", "-T", iqn, "-p", portal, "-o", "new")
		record(portal, wrong)
	}
	if _, err := s.volumes(); err == nil || !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), second) || strings.Contains(err.Error(), wrong) {
		t.Errorf("two wrong passwords: %v", err)
	}
	if records := command(t, "iscsiadm", "-m", "node"); strings.Count(records, iqn) != 2 {
		t.Errorf("the records are %s", records)
	}
	record(first, right)
	if list, err := s.volumes(); err != nil || len(list) != 1 {
		t.Fatalf("one right password: %+v, %v", list, err)
	}
	if got := s.sessions(); !slices.Equal(got, []string{first}) {
		t.Errorf("sessions by %q", got)
	}
	if said := s.said.String(); !strings.Contains(said, "log in to target '"+iqn+"': portal '"+second+"'") || strings.Contains(said, wrong) {
		t.Errorf("it was said: %s", said)
	}
	record(second, right)
	await(t, "the second is used", func() bool {
		if err := s.Activate(s.ctx, "san"); err != nil {
			t.Error(err)
		}
		return slices.Equal(s.sessions(), []string{first, second})
	})
}

// TestMultipath: the paths to a LUN are one device, which can be read and written while one
// of them is gone.
func TestMultipath(t *testing.T) {
	testnode.Need(t, "iscsi", "lio", "device-mapper")
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("with multipathd: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	s := newSAN(t, "lio", testnode.Target{IQN: iqn, LUNs: disks(t, 4<<20)})
	command(t, "modprobe", "dm-multipath")
	const path = "/etc/multipath.conf"
	old, missing := os.ReadFile(path)
	if err := os.WriteFile(path, []byte("defaults {\n find_multipaths no\n polling_interval 2\n no_path_retry 5\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if missing != nil {
			_ = os.Remove(path)
		} else {
			_ = os.WriteFile(path, old, 0o600)
		}
	})
	testnode.Start(t, 0, "multipathd", "-d")
	t.Cleanup(func() { _ = exec.Command("timeout", "60", "multipath", "-F").Run() }) // before the logout
	if _, err := s.volumes(); err != nil {
		t.Fatal(err)
	}
	joined := func() bool {
		list := s.host.devices(iqn)
		return len(list) == 2 && list[0].kernel == list[1].kernel && strings.HasPrefix(list[0].kernel, "dm-") && list[0].stable != ""
	}
	await(t, "the paths are joined", joined)
	list, err := s.volumes()
	if err != nil || len(list) != 1 || list[0].Size != 4<<20 {
		t.Fatalf("%+v, %v", list, err)
	}
	device, err := s.Path(s.ctx, s.volume(list[0].Name), "")
	if err != nil {
		t.Fatal(err)
	}
	if kernel, err := filepath.EvalSymlinks(device); err != nil || !strings.HasPrefix(kernel, "/dev/dm-") {
		t.Errorf("%s is %s, %v", device, kernel, err)
	}
	input := filepath.Join(t.TempDir(), "input")
	holds := func(what, text string) {
		t.Helper()
		if err := os.WriteFile(input, []byte(text+strings.Repeat("\n", 4096-len(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		command(t, "dd", "if="+input, "of="+device, "bs=4096", "count=1", "oflag=direct", "status=none")
		if got := command(t, "dd", "if="+device, "bs=4096", "count=1", "iflag=direct", "status=none"); !strings.HasPrefix(got, text+"\n") {
			t.Errorf("%s: it holds %.20q", what, got)
		}
		t.Logf("%s: written and read after %s", what, time.Since(begun).Round(time.Millisecond))
	}
	holds("both", "one")
	for what, cut := range map[string]func() func(){
		"second refused": func() func() { return refuse(t, "3261") },
		"first dropped":  func() func() { return testnode.Drop(t, firstPort) },
	} {
		restore := cut()
		holds(what, what)
		s.works(what, list)
		restore()
		await(t, "both are there", func() bool { return len(s.sessions()) == 2 })
	}
	p, err := s.Pool(s.ctx, "san")
	if err != nil {
		t.Fatal(err)
	}
	// The paths are held by the device that joins them, which nobody has.
	if err := p.Deactivate(s.ctx); err != nil {
		t.Errorf("deactivate: %v", err)
	}
}
