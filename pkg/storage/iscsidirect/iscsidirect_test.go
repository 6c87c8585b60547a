package iscsidirect

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testiscsi"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// needs skips the test where a program is missing, or QEMU's driver, which is a package
// of its own.
func needs(t testing.TB) {
	t.Helper()
	for _, program := range []string{"iscsi-ls", "iscsi-readcapacity16", "qemu-img"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	out, _ := exec.Command("qemu-img", "info", "iscsi://127.0.0.1:1/none/1").CombinedOutput()
	if strings.Contains(string(out), "Unknown protocol") || strings.Contains(string(out), "Unknown driver") {
		t.Skip("QEMU has no driver for iSCSI: it is in the package qemu-block-extra")
	}
}

func TestContract(t *testing.T) {
	needs(t)
	s := testiscsi.New(t)
	s.Target() // another, whose LUNs are not ours
	storagetest.Run(t, storagetest.Options{
		Type: Type(),
		Section: func(t *testing.T) []string {
			target := s.Target()
			target.LUN(5<<20 + 512)
			target.LUN(9 << 20)
			return []string{"portal " + s.Portal, "target " + target.Name}
		},
		Volumes: []int64{5<<20 + 512, 9 << 20},
		Missing: "lun77",
	})
}

// serve is a service with the storage san, which is patient for a moment only.
func serve(portal, target string) *storage.Service {
	return storage.New(storage.Options{
		Types: []storage.Type{typeOf(time.Second)}, Runner: run.Host{}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) {
			return "iscsidirect: san\n\tportal " + portal + "\n\ttarget " + target + "\n", nil
		},
	})
}

func images() storage.Filter {
	return storage.Filter{Content: []storage.Content{storage.Images}}
}

// TestFaults: what a target can do wrong is told in time and by name.
func TestFaults(t *testing.T) {
	needs(t)
	s := testiscsi.New(t)
	target := s.Target()
	target.LUN(4 << 20)
	v := id.Volume{Storage: "san", Name: "lun1"}
	ask := func(t *testing.T, target string) (listed, looked error) {
		t.Helper()
		p := serve(s.Portal, target)
		_, listed = p.List(t.Context(), "san", images())
		looked = p.ActivateVolumes(t.Context(), "", v)
		return listed, looked
	}
	told := func(t *testing.T, words string, errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("does not tell of %q: %v", words, err)
			}
		}
	}
	t.Run("fine", func(t *testing.T) {
		if listed, looked := ask(t, target.Name); listed != nil || looked != nil {
			t.Error(listed, looked)
		}
	})
	t.Run("wrong target", func(t *testing.T) {
		listed, looked := ask(t, "iqn.2003-01.org.example:nobody")
		told(t, "target 'iqn.2003-01.org.example:nobody' is not there at portal '"+s.Portal+"'", listed, looked)
		if errors.Is(looked, storage.ErrNotExist) {
			t.Error("the volume is said to be missing, not the target")
		}
	})
	t.Run("not for us", func(t *testing.T) {
		listed, looked := ask(t, s.Target("iqn.2003-01.org.example:another").Name)
		told(t, "not for initiator", listed)
		if looked == nil {
			t.Error("a LUN for others")
		}
	})
	t.Run("by our name", func(t *testing.T) {
		name := storage.InitiatorName()
		if name == "" {
			t.Skip("the host has no name as an initiator")
		}
		ours := s.Target(name)
		ours.LUN(4 << 20)
		if listed, looked := ask(t, ours.Name); listed != nil || looked != nil {
			t.Error(listed, looked)
		}
	})
	t.Run("hung", func(t *testing.T) {
		s.Hang()
		defer s.Resume()
		listed, looked := ask(t, target.Name)
		told(t, "portal '"+s.Portal+"' does not answer", listed, looked)
		if _, err := serve(s.Portal, target.Name).Status(t.Context(), "san"); err != nil {
			t.Errorf("the status waits for a target that hangs: %v", err)
		}
	})
	t.Run("a password", func(t *testing.T) {
		locked := s.Target()
		locked.LUN(4 << 20)
		locked.Password("anna", "secretsecret")
		if listed, looked := ask(t, locked.Name); listed == nil || looked == nil {
			t.Errorf("let in without a password: %v, %v", listed, looked)
		}
		// The list ends at such a target, whether ours comes before or after it; what is
		// on ours can be used still.
		if _, looked := ask(t, target.Name); looked != nil {
			t.Error(looked)
		}
	})
	t.Run("gone", func(t *testing.T) {
		s.Kill()
		listed, looked := ask(t, target.Name)
		told(t, "storage 'san' is not online: connect to "+s.Portal+": ", listed, looked)
	})
	if left := children(t); left != "" {
		t.Errorf("processes are left:\n%s", left)
	}
}

// children lists what this process has started and not ended.
func children(t *testing.T) string {
	t.Helper()
	out, _ := exec.Command("pgrep", "-l", "-P", strconv.Itoa(os.Getpid()), "iscsi|qemu").Output()
	return string(out)
}

func TestNames(t *testing.T) {
	s := serve("192.0.2.5:3261", "iqn.2003-01.org.example:disks")
	for name, want := range map[string]string{
		"lun0": "iscsi://192.0.2.5:3261/iqn.2003-01.org.example:disks/0", "lun16684": "iscsi://192.0.2.5:3261/iqn.2003-01.org.example:disks/16684",
		"lun": "", "lun01": "", "lun-1": "", "lun1 ": "", "LUN1": "", "lun9999999999": "", "1": "",
	} {
		got, err := s.Path(t.Context(), id.Volume{Storage: "san", Name: name}, "")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}

func TestBlockdev(t *testing.T) {
	got, err := serve("[2001:db8::5]", "iqn.2003-01.org.example:disks").Blockdev(t.Context(), id.Volume{Storage: "san", Name: "lun3"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"driver": "iscsi", "transport": "tcp", "portal": "[2001:db8::5]", "target": "iqn.2003-01.org.example:disks", "lun": 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const two = `Target:iqn.a:one Portal:127.0.0.1:3260,1
Lun:0    Type:STORAGE_ARRAY_CONTROLLER
Lun:1    Type:DIRECT_ACCESS (Size:19M)
Lun:4    Type:CD/DVD_DEVICE
Target:iqn.a:two Portal:127.0.0.1:3260,1
Lun:2    Type:DIRECT_ACCESS (Size:1.5G)
Lun:3    Type:DIRECT_ACCESS (Size:0 )
Lun:16684 Type:DIRECT_ACCESS (Size:1T)
Target:iqn.a:two Portal:[::1]:3260,2
Lun:2    Type:DIRECT_ACCESS (Size:1.5G)
`

func TestParseList(t *testing.T) {
	for _, c := range []struct {
		name, target string
		want         listing
	}{
		{"first", "iqn.a:one", listing{[]lun{{1, 19 << 20}}, true, true}},
		{"last", "iqn.a:two", listing{[]lun{{2, 3 << 29}, {3, 0}, {16684, 1 << 40}}, true, false}},
		{"none", "iqn.a:three", listing{}},
		{"a part of the name", "iqn.a", listing{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, parseList(two, c.target), cmp.AllowUnexported(listing{}, lun{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseList(f *testing.F) {
	f.Add(two, "iqn.a:two")
	f.Add("Lun:1 Type:DIRECT_ACCESS", "")
	f.Fuzz(func(t *testing.T, text, target string) {
		l := parseList(text, target)
		if len(l.luns) > 0 && !l.found {
			t.Error("LUNs of a target that was not told of")
		}
		for _, one := range l.luns {
			if one.number < 0 || one.about < 0 {
				t.Errorf("%+v", one)
			}
		}
	})
}

// TestGarbage: an answer that is none.
func TestGarbage(t *testing.T) {
	fake := run.NewFake(run.Exchange{Args: []string{"iscsi-readcapacity16", "-s", "iscsi://h/t/1"}, Stdout: "\xff oops"})
	p := &pool{Env: storage.Env{Runner: fake}, portal: "h", target: "t", patience: time.Second}
	if _, err := p.Info(t.Context(), "lun1"); err == nil || !strings.Contains(err.Error(), "size that cannot be read") {
		t.Errorf("got %v", err)
	}
}
