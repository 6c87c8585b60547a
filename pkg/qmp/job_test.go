package qmp_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/qmp"
)

const mib = 1 << 20

func blocks(t *testing.T) *qmp.Monitor {
	return none(t,
		"-blockdev", "null-co,node-name=src,size=67108864,read-zeroes=on",
		"-blockdev", "null-co,node-name=dst,size=67108864",
		"-blockdev", "null-co,node-name=bad0,size=67108864",
		"-blockdev", `{"driver":"blkdebug","node-name":"bad","image":"bad0","inject-error":[{"event":"none","iotype":"write-zeroes","errno":5},{"event":"none","iotype":"write","errno":5}]}`)
}

func TestJobs(t *testing.T) {
	backup := func(target string, speed int, more map[string]any) map[string]any {
		args := map[string]any{"job-id": "j0", "device": "src", "target": target, "sync": "full", "speed": speed}
		for k, v := range more {
			args[k] = v
		}
		return args
	}
	t.Run("ends well", func(t *testing.T) {
		if err := blocks(t).RunJob(t.Context(), "j0", "blockdev-backup", backup("dst", 0, nil), nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("kept for its result", func(t *testing.T) {
		m := blocks(t)
		if err := m.RunJob(t.Context(), "j0", "blockdev-backup", backup("dst", 0, map[string]any{"auto-dismiss": false}), nil); err != nil {
			t.Error(err)
		}
		if jobs, err := m.Jobs(t.Context()); err != nil || len(jobs) != 0 {
			t.Errorf("left: %v, %v", jobs, err)
		}
	})
	for name, keep := range map[string]bool{"fails": true, "fails and is kept": false} {
		t.Run(name, func(t *testing.T) {
			err := blocks(t).RunJob(t.Context(), "j0", "blockdev-backup", backup("bad", 0, map[string]any{"auto-dismiss": keep}), nil)
			if !qmp.HasClass(err, qmp.GenericError) || err.Error() != "qmp command 'blockdev-backup' failed - Input/output error" {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		m := blocks(t)
		w := m.WatchJob("j0")
		defer w.Close()
		if err := m.Call(t.Context(), "blockdev-backup", backup("dst", mib, nil), nil); err != nil {
			t.Fatal(err)
		}
		if err := m.Call(t.Context(), "job-cancel", map[string]string{"id": "j0"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.Wait(t.Context(), nil); !errors.Is(err, qmp.ErrCancelled) {
			t.Errorf("%v", err)
		}
	})
	t.Run("progress", func(t *testing.T) {
		m := blocks(t)
		var seen []qmp.Job
		err := m.RunJob(t.Context(), "j0", "blockdev-backup", backup("dst", 30*mib, nil), func(j qmp.Job) { seen = append(seen, j) })
		if err != nil || len(seen) == 0 || seen[0].Total != 64*mib || seen[0].Current == 0 {
			t.Errorf("%v, %v", seen, err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		w := blocks(t).WatchJob("none")
		defer w.Close()
		if err := w.Wait(t.Context(), nil); !errors.Is(err, qmp.ErrNoJob) {
			t.Errorf("%v", err)
		}
	})
	t.Run("not started", func(t *testing.T) {
		if err := blocks(t).RunJob(t.Context(), "j0", "blockdev-backup", backup("none", 0, nil), nil); err == nil {
			t.Error("no error")
		}
	})
}

func TestMirrorReady(t *testing.T) {
	m := blocks(t)
	w := m.WatchJob("j0")
	defer w.Close()
	args := map[string]any{"job-id": "j0", "device": "src", "target": "dst", "sync": "full"}
	if err := m.Call(t.Context(), "blockdev-mirror", args, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Ready(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Call(t.Context(), "job-complete", map[string]string{"id": "j0"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestSnapshotJob(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", disk, "64M").CombinedOutput(); err != nil {
		t.Skipf("qemu-img: %v %s", err, out)
	}
	_, socket := start(t, "-S", "-machine", "pc", "-cpu", "qemu64", "-m", "32", "-blockdev", "qcow2,node-name=d0,file.driver=file,file.filename="+disk,
		"-device", "virtio-blk-pci,drive=d0,id=v0")
	m := dial(t, socket)
	args := map[string]any{"job-id": "s0", "tag": "one", "vmstate": "d0", "devices": []string{"d0"}}
	if err := m.RunJob(t.Context(), "s0", "snapshot-save", args, nil); err != nil {
		t.Fatal(err)
	}
	args["tag"] = "two"
	if err := m.RunJob(t.Context(), "s0", "snapshot-load", args, nil); err == nil {
		t.Error("a snapshot that is not there was loaded")
	} else {
		t.Log(err)
	}
	if jobs, err := m.Jobs(t.Context()); err != nil || len(jobs) != 0 {
		t.Errorf("left: %v, %v", jobs, err)
	}
	// without a running guest nobody lets go of the device
	if err := m.UnplugDevice(t.Context(), "v0", 50*time.Millisecond); !errors.Is(err, qmp.ErrTimeout) {
		t.Errorf("unplug: %v", err)
	}
}
