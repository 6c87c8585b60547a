package lvm_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/iscsi"
	"github.com/virtsmith/virtsmith/pkg/storage/lvm"
)

// TestOnISCSI: a volume group on a LUN, also while the server does not answer.
func TestOnISCSI(t *testing.T) {
	testnode.Need(t, "device-mapper", "iscsi")
	const target = "iqn.2026-01.org.virtsmith:lvm"
	lun := filepath.Join(t.TempDir(), "lun")
	if err := errors.Join(os.WriteFile(lun, nil, 0o600), os.Truncate(lun, 128<<20)); err != nil {
		t.Fatal(err)
	}
	server := testnode.TGT(t, testnode.Target{IQN: target, LUNs: []string{lun}})
	testnode.Initiator(t)
	t.Cleanup(func() {
		_ = exec.Command("timeout", "60", "iscsiadm", "-m", "node", "-T", target, "--logout").Run()
		_ = exec.Command("iscsiadm", "-m", "node", "-T", target, "-o", "delete").Run()
	})
	san := "iscsi: san\n\tportal 127.0.0.1\n\ttarget " + target + "\n\tcontent none\n\n"
	w := lvmtest.New(t, run.Host{}, san, iscsi.Type())
	list, err := w.List(w.Ctx, "san", storage.Filter{Content: []storage.Content{storage.Images}})
	w.OK(t, err)
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	w = lvmtest.New(t, run.Host{}, san+"lvm: vg\n\tvgname "+lvmtest.VG+"\n\tbase san:"+list[0].Name+"\n\tshared 1\n\tcontent images\n", iscsi.Type(), lvm.Type())
	p, err := w.Pool(w.Ctx, "vg")
	w.OK(t, err)
	w.OK(t, p.(storage.Configurer).Added(w.Ctx, nil))
	t.Cleanup(func() { lvmtest.Run(t, "vgremove", "-q", "-f", "-y", lvmtest.VG) })
	v := w.Alloc(t, "vg", 100, "raw", 4096)
	lvmtest.Write(t, lvmtest.Device(v.Name), "data", 1<<20)

	// After a logout, as after a start of the host, the LUN is found by the base alone.
	w.OK(t, p.Deactivate(w.Ctx))
	lvmtest.Run(t, "iscsiadm", "-m", "node", "-T", target, "--logout")
	w.OK(t, w.ActivateVolumes(w.Ctx, "", v))
	if got := lvmtest.Read(t, lvmtest.Device(v.Name), 1<<20, 4); got != "data" {
		t.Errorf("it has %q", got)
	}
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		return // what follows takes a minute
	}
	server.Freeze()
	defer server.Thaw()
	begun := time.Now()
	for range 3 {
		if _, err := w.Status(w.Ctx, "vg"); err == nil {
			t.Error("a storage that hangs has a status")
		} else {
			t.Log(time.Since(begun), err)
		}
	}
	if took := time.Since(begun); took > 90*time.Second {
		t.Errorf("three times took %s", took)
	}
	if out, _ := exec.Command("pgrep", "-c", "-x", "vgs|lvs|pvs").Output(); strings.TrimSpace(string(out)) > "1" {
		t.Errorf("%s programs wait", out)
	}
	server.Thaw()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		_, err := w.Status(w.Ctx, "vg")
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the server answers again, the storage does not: %v", err)
		}
	}
	w.OK(t, w.Free(w.Ctx, v))
}
