package iscsi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

const portal = "127.0.0.1"

// disks makes files of the given sizes.
func disks(t *testing.T, sizes ...int64) (paths []string) {
	t.Helper()
	for i, size := range sizes {
		path := filepath.Join(t.TempDir(), fmt.Sprint("disk", i))
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// forget logs out of the target and removes its records at the end of the test.
func forget(t *testing.T, target string) {
	t.Helper()
	t.Cleanup(func() {
		_ = exec.Command("timeout", "60", "iscsiadm", "-m", "node", "-T", target, "--logout").Run()
		_ = exec.Command("iscsiadm", "-m", "node", "-T", target, "-o", "delete").Run()
	})
}

// conf replaces the configuration of open-iscsi for the time of the test.
func conf(t *testing.T, text string) {
	t.Helper()
	const path = "/etc/iscsi/iscsid.conf"
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(path, old, 0o600) })
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	testnode.Need(t, "iscsi")
	files := disks(t, 5<<20+512, 9<<20)
	testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: files}, testnode.Target{IQN: "iqn.other", LUNs: disks(t, 1<<20)})
	testnode.Initiator(t)
	forget(t, iqn) // a login for each test would take long
	storagetest.Run(t, storagetest.Options{
		Type: Type(),
		Section: func(*testing.T) []string {
			return []string{"portal " + portal, "target " + iqn}
		},
		Volumes: []int64{5<<20 + 512, 9 << 20},
		Missing: "0.0.77.scsi-nobody",
	})
}

func TestContractLIO(t *testing.T) {
	testnode.Need(t, "iscsi", "lio")
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("the contract with a second kind of target: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
	}
	testnode.LIO(t, testnode.Target{IQN: iqn, LUNs: disks(t, 4<<20, 8<<20)})
	testnode.Initiator(t)
	forget(t, iqn) // a login for each test would take long
	storagetest.Run(t, storagetest.Options{
		Type: Type(),
		Section: func(*testing.T) []string {
			return []string{"portal " + portal + ":3260", "target " + iqn}
		},
		Volumes: []int64{4 << 20, 8 << 20},
		Missing: "0.0.77.scsi-nobody",
	})
}

// timed tells what each program took.
type timed struct {
	run.Host
	t *testing.T
}

func (r timed) Run(ctx context.Context, c run.Cmd) error {
	begun := time.Now()
	err := r.Host.Run(ctx, c)
	r.t.Logf("%s after %s: %v", c, time.Since(begun).Round(time.Millisecond), err)
	return err
}

func serve(t *testing.T, target string) *storage.Service {
	t.Helper()
	forget(t, target)
	return storage.New(storage.Options{
		Root: t.TempDir(), Types: []storage.Type{Type()}, Runner: timed{t: t}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) {
			return "iscsi: san\n\tportal " + portal + "\n\ttarget " + target + "\n\tcontent images\n", nil
		},
	})
}

func list(t *testing.T, s *storage.Service) ([]storage.Volume, error) {
	t.Helper()
	return s.List(t.Context(), "san", storage.Filter{Content: []storage.Content{storage.Images}})
}

// TestCHAP: passwords are those of open-iscsi. With a wrong one nothing is kept, so that
// it can be corrected; a record that somebody has made stays as it is.
func TestCHAP(t *testing.T) {
	testnode.Need(t, "iscsi")
	for _, kind := range []string{"tgt", "lio"} {
		t.Run(kind, func(t *testing.T) {
			if kind == "lio" && os.Getenv("VIRTSMITH_TEST_ALL") == "" {
				t.Skip("a second kind of target: set VIRTSMITH_TEST_ALL=1, as make test-storage does")
			}
			target := testnode.Target{IQN: iqn, LUNs: disks(t, 4<<20), User: "anna", Password: "secretsecret"}
			if kind == "tgt" {
				testnode.TGT(t, target)
			} else {
				testnode.LIO(t, target)
			}
			testnode.Initiator(t)
			s := serve(t, iqn)
			auth := "node.session.auth.authmethod = CHAP\nnode.session.auth.username = anna\nnode.session.auth.password = "
			for _, text := range []string{"", auth + "wrongwrongwrong\n"} {
				conf(t, text)
				if _, err := list(t, s); err == nil || !strings.Contains(err.Error(), "log in to target '"+iqn+"'") {
					t.Errorf("with %q: %v", text, err)
				} else if strings.Contains(err.Error(), "wrongwrong") {
					t.Errorf("the error tells the password: %v", err)
				}
			}
			conf(t, auth+"secretsecret\n")
			if found, err := list(t, s); err != nil || len(found) != 1 {
				t.Fatalf("with the right password: %+v, %v", found, err)
			}
			p, err := s.Pool(t.Context(), "san")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Deactivate(t.Context()); err != nil {
				t.Fatal(err)
			}
			conf(t, "")
			if found, err := list(t, s); err != nil || len(found) != 1 {
				t.Errorf("with the password of the record: %+v, %v", found, err)
			}
		})
	}
}

// TestInUse: a target stays as long as somebody has one of its LUNs.
func TestInUse(t *testing.T) {
	testnode.Need(t, "iscsi", "device-mapper")
	testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: disks(t, 32<<20, 32<<20)})
	testnode.Initiator(t)
	s := serve(t, iqn)
	found, err := list(t, s)
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	v := id.Volume{Storage: "san", Name: found[0].Name}
	path, err := s.Path(t.Context(), v, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Pool(t.Context(), "san")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(t *testing.T) {
		t.Helper()
		if err := p.Deactivate(t.Context()); !errors.Is(err, storage.ErrInUse) {
			t.Errorf("deactivated: %v", err)
		}
		if found, err := list(t, s); err != nil || len(found) != 2 {
			t.Errorf("after that: %+v, %v", found, err)
		}
	}
	do := func(t *testing.T, argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
	}
	t.Run("mounted", func(t *testing.T) {
		dir := t.TempDir()
		do(t, "mkfs.ext4", "-q", path)
		do(t, "mount", path, dir)
		defer do(t, "umount", dir)
		refused(t)
	})
	t.Run("volume group", func(t *testing.T) {
		do(t, "wipefs", "-qa", path)
		do(t, "vgcreate", "-qq", "san", path)
		do(t, "lvcreate", "-qq", "-L", "4M", "-n", "one", "san")
		defer do(t, "vgremove", "-qq", "-f", "san")
		refused(t)
	})
	t.Run("guest", func(t *testing.T) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 101, Len: 1} // as QEMU does
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
			t.Fatal(err)
		}
		refused(t)
	})
	if err := p.Deactivate(t.Context()); err != nil {
		t.Error(err)
	}
	if out, _ := exec.Command("iscsiadm", "-m", "session").Output(); len(out) > 0 {
		t.Errorf("sessions are left: %s", out)
	}
}

// TestNewLUN: what is added to a target is found when it is asked for.
func TestNewLUN(t *testing.T) {
	testnode.Need(t, "iscsi")
	files := disks(t, 4<<20, 6<<20)
	testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: files[:1]})
	testnode.Initiator(t)
	s := serve(t, iqn)
	before, err := list(t, s)
	if err != nil || len(before) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	if out, err := exec.Command("tgtadm", "--lld", "iscsi", "--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "2", "-b", files[1]).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	// That of the new one differs in the number alone.
	next := id.Volume{Storage: "san", Name: strings.Replace(strings.TrimSuffix(before[0].Name, "1")+"2", "0.0.1.", "0.0.2.", 1)}
	var said strings.Builder
	begun := time.Now()
	if err := s.ActivateVolumes(api.WithStreams(t.Context(), api.Streams{Out: &said, Err: &said}), "", next); err != nil {
		links, _ := filepath.Glob("/dev/disk/by-id/*")
		t.Errorf("%s: after %s: %v\n%s\n%q", next, time.Since(begun), err, said.String(), links)
	}
	if after, err := list(t, s); err != nil || len(after) != 2 || after[1].Size != 6<<20 {
		t.Errorf("%+v, %v", after, err)
	}
}

// TestDead: a target that is gone or hangs is told of in time, and nothing piles up.
func TestDead(t *testing.T) {
	testnode.Need(t, "iscsi")
	server := testnode.TGT(t, testnode.Target{IQN: iqn, LUNs: disks(t, 4<<20)})
	testnode.Initiator(t)
	const most = 15 * time.Second // the machine may be slow
	within := func(what string, fn func() error) error {
		begun := time.Now()
		err := fn()
		if took := time.Since(begun); took > most {
			t.Errorf("%s took %s", what, took)
		}
		t.Logf("%s: %s, %v", what, time.Since(begun).Round(time.Millisecond), err)
		return err
	}
	s := serve(t, iqn)
	server.Freeze()
	if within("hung before login", func() error { return s.Activate(t.Context(), "san") }) == nil {
		t.Error("logged in to a target that hangs")
	}
	server.Thaw()
	if err := within("login", func() error { return s.Activate(t.Context(), "san") }); err != nil {
		t.Fatal(err)
	}
	found, err := list(t, s)
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	server.Freeze()
	for range 3 {
		_ = within("hung", func() error { _, err := list(t, s); return err })
	}
	lost := func() bool {
		err := s.Activate(t.Context(), "san")
		return err != nil && strings.Contains(err.Error(), "is lost, and is not restored yet")
	}
	await(t, "the loss is seen", lost)
	server.Thaw()
	await(t, "the connection is restored", func() bool { return s.Activate(t.Context(), "san") == nil })
	await(t, "a look for LUNs that was left behind is over", func() bool {
		return exec.Command("pgrep", "iscsiadm").Run() != nil
	})
	server.Kill()
	await(t, "the end is seen", lost)
	p, err := s.Pool(t.Context(), "san")
	if err != nil {
		t.Fatal(err)
	}
	if err := within("deactivate", func() error { return p.Deactivate(t.Context()) }); err != nil {
		t.Error(err)
	}
	if err := within("gone", func() error { return s.Activate(t.Context(), "san") }); err == nil || !strings.Contains(err.Error(), "storage 'san' is not online: connect to 127.0.0.1:3260: ") {
		t.Errorf("gone: %v", err)
	}
}

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for begun := time.Now(); !there(); time.Sleep(200 * time.Millisecond) {
		if time.Since(begun) > 90*time.Second {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestScan(t *testing.T) {
	testnode.Need(t, "iscsi")
	testnode.TGT(t, testnode.Target{IQN: iqn}, testnode.Target{IQN: "iqn.another"})
	testnode.Initiator(t)
	found, err := Scan(t.Context(), run.Host{}, portal)
	if err != nil || !slices.Equal(found, []Found{{"iqn.2003-01.org.example:disks", "127.0.0.1:3260"}, {"iqn.another", "127.0.0.1:3260"}}) {
		t.Errorf("%+v, %v", found, err)
	}
	if out, _ := exec.Command("iscsiadm", "-m", "node").Output(); len(out) > 0 {
		t.Errorf("a scan leaves records: %s", out)
	}
	if _, err := Scan(t.Context(), run.Host{}, "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "portal '127.0.0.1:1' is not reachable") {
		t.Errorf("nobody there: %v", err)
	}
}
