package qm

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCloneEqualsSource(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.must("clone", "100", "101")
	y.must("clone", "100", "102", "--storage", "fast", "--format", "qcow2", "--name", "two")
	y.must("clone", "100", "103", "--storage", "local", "--format", "raw")
	for _, vmid := range []string{"101", "102", "103"} {
		y.same(y.file(vmid, "scsi0"))
		y.same(y.file(vmid, "virtio1"))
	}
	if y.option("101", "net0") == y.option("100", "net0") {
		t.Error("the clone has the hardware address of its source")
	}
	y.must("template", "100")
	y.must("clone", "100", "104")
	y.same(y.file("104", "virtio1"))
	y.refuses("is still in use by linked clone", "destroy", "100")
	y.must("destroy", "104")
	y.must("destroy", "100")
}

func TestCloneSnapshot(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.must("disk", "move", "100", "scsi0", "local", "--format", "qcow2", "--delete", "1")
	y.must("snapshot", "100", "before")
	command(t, "qemu-io", "-f", "qcow2", "-c", "write -P 0xee 0 1M", y.file("100", "scsi0"))
	y.must("clone", "100", "101", "--snapname", "before")
	y.same(y.file("101", "scsi0"))
	if parent := y.option("101", "parent"); parent != "" {
		t.Errorf("parent: %s", parent)
	}
}

func TestCloneRunning(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	y.start()
	y.must("clone", "100", "101", "--storage", "local")
	y.must("create", "102", "--scsi0", "local:0,import-from=fast:100/vm-100-disk-0.qcow2")
	y.same(y.file("101", "scsi0"))
	y.same(y.file("101", "virtio1"))
	y.same(y.file("102", "scsi0"))
	y.refuses("if VM is running", "template", "100")
	y.refuses("is running - destroy failed", "destroy", "100")
	y.must("stop", "100")
	y.same(y.file("100", "scsi0"))
}

// TestCloneMany makes many clones of one VM at once.
func TestCloneMany(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many programs")
	}
	t.Parallel()
	y := newYard(t)
	y.vm()
	const many = 100
	var all sync.WaitGroup
	failures := make([]string, many)
	for i := range many {
		all.Go(func() {
			if out, ok := y.try("clone", "100", strconv.Itoa(200+i), "--storage", "fast"); !ok {
				failures[i] = out
			}
		})
	}
	all.Wait()
	for i, failure := range failures {
		if failure != "" {
			t.Fatalf("clone %d: %s", 200+i, failure)
		}
		y.same(y.path(fmt.Sprintf("srv/fast/images/%d/vm-%d-disk-1.qcow2", 200+i, 200+i)))
	}
}

// TestCloneSameNumber makes two clones of one number at once: one of them is made.
func TestCloneSameNumber(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	y.vm()
	var all sync.WaitGroup
	made := make([]bool, 4)
	for i := range made {
		all.Go(func() { _, made[i] = y.try("clone", "100", "101") })
	}
	all.Wait()
	n := 0
	for _, ok := range made {
		if ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d clones were made", n)
	}
	y.same(y.file("101", "scsi0"))
}

// TestInterrupted ends copies in the middle.
func TestCloneInterrupted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		line string
	}{
		{"clone", []string{"clone", "100", "101", "--bwlimit", "100"}, "allocated target volume"},
		{"move", []string{"disk", "move", "100", "scsi0", "fast", "--bwlimit", "100"}, "allocated target volume"},
	} {
		for _, running := range []bool{false, true} {
			for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
				t.Run(fmt.Sprintf("%s %v running=%v", c.name, signal, running), func(t *testing.T) {
					t.Parallel()
					y := newYard(t)
					y.vm()
					if running {
						y.start()
					}
					before := y.files()
					cmd, out := y.begin(c.args...)
					lineOf(t, out, c.line)
					_ = cmd.Process.Signal(signal)
					if err := cmd.Wait(); err == nil {
						t.Errorf("it succeeded: %s", out)
					}
					if diff := cmp.Diff(before, y.files()); diff != "" {
						t.Errorf("left behind (-before +after):\n%s%s", diff, out)
					}
					if running {
						y.must("stop", "100")
					}
					y.same(y.file("100", "scsi0"))
				})
			}
		}
	}
}

func (y *yard) begin(args ...string) (*exec.Cmd, *output) {
	y.t.Helper()
	cmd, out := y.command(y.t.Context(), args...), newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		y.t.Fatal(err)
	}
	return cmd, out
}

// TestCloneKilled kills the worker of a clone: what is left can be destroyed as a VM.
func TestCloneKilled(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			y.vm()
			if running {
				y.start()
			}
			before := y.files()
			cmd, out := y.begin("clone", "100", "101", "--bwlimit", "100")
			lineOf(t, out, "allocated target volume")
			// Before that, the volume has no name yet: it could be found and removed only.
			waitFor(t, func() bool { return y.option("101", "scsi0") != "" })
			kill(t, cmd.Process.Pid)
			if err := cmd.Wait(); err == nil {
				t.Errorf("it succeeded: %s", out)
			}
			if got := y.option("101", "lock"); got != "clone" {
				t.Errorf("lock: %q", got)
			}
			if text, ok := y.try("destroy", "101"); ok || !strings.Contains(text, "locked (clone)") {
				t.Errorf("destroy: %v %s", ok, text)
			}
			y.must("destroy", "101", "--skiplock")
			if diff := cmp.Diff(before, y.files()); diff != "" {
				t.Errorf("left behind (-before +after):\n%s", diff)
			}
			y.must("clone", "100", "101") // the job that the dead clone has left is no hindrance
			y.same(y.file("101", "scsi0"))
			if running {
				y.must("stop", "100")
			}
		})
	}
}

// TestDiskMoveKilled kills the worker of a move: what it has made is an unused disk.
func TestDiskMoveKilled(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			y.vm()
			if running {
				y.start()
			}
			before := y.files()
			cmd, out := y.begin("disk", "move", "100", "scsi0", "fast", "--bwlimit", "100")
			lineOf(t, out, "allocated target volume")
			for y.option("100", "unused0") == "" {
			}
			kill(t, cmd.Process.Pid)
			if err := cmd.Wait(); err == nil {
				t.Errorf("it succeeded: %s", out)
			}
			if running { // the next move clears QEMU's part away
				y.must("disk", "move", "100", "scsi0", "local", "--format", "qcow2", "--delete", "1")
				y.must("disk", "move", "100", "scsi0", "local", "--format", "raw", "--delete", "1")
				y.must("stop", "100")
				y.same(y.file("100", "scsi0"))
				return
			}
			y.must("disk", "unlink", "100", "--idlist", "unused0")
			if diff := cmp.Diff(before, y.files()); diff != "" {
				t.Errorf("left behind (-before +after):\n%s", diff)
			}
		})
	}
}

// kill kills the workers that a process has started, and what those have started.
func kill(t *testing.T, parent int) {
	t.Helper()
	for _, worker := range children(parent) {
		below := children(worker)
		_ = syscall.Kill(worker, syscall.SIGKILL)
		for _, pid := range below {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// children lists the processes that another one has started.
func children(parent int) []int {
	var found []int
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			found = append(found, pid)
		}
	}
	return found
}
