package nodeboot

import (
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/lvmtest"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
)

// snapshots lists those of VM 100 as qm prints them, the present state last.
func snapshots(w *World) (names []string) {
	w.Helper()
	for line := range strings.Lines(w.QM("listsnapshot", "100")) {
		if words := strings.Fields(line); len(words) > 1 && strings.HasSuffix(words[0], "->") {
			names = append(names, words[1])
		}
	}
	return names
}

// chained checks that VM 100 has these snapshots, and that the group has their logical
// volumes and no others.
func chained(w *World, what string, names []string, more ...string) {
	w.Helper()
	if got := snapshots(w); !slices.Equal(got, append(slices.Clone(names), "current")) {
		w.Errorf("%s: snapshots %q, want %q", what, got, names)
	}
	want := append([]string{"vm-100-disk-0.qcow2"}, more...)
	for _, name := range names {
		want = append(want, "snap_vm-100-disk-0_"+name+".qcow2")
	}
	slices.Sort(want)
	got := strings.Fields(lvmtest.Names(w))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.Errorf("%s: logical volumes %q, want %q", what, got, want)
	}
}

// TestChain: a running VM whose disk is a chain of logical volumes gets snapshots, loses the
// one in the middle, the first and the last, and is put back; with its memory too.
func TestChain(t *testing.T) {
	long(t)
	testnode.Need(t, "device-mapper")
	lvmtest.Group(t, "")
	w := New(t)
	w.PVESM("add", "lvm", "mine", "--vgname", lvmtest.VG, "--content", "images", "--snapshot-as-volume-chain", "1")
	w.Create(imported(Sector(t)) + ",format=qcow2")
	c := up(w, "100", "-")
	c.Type("a")
	w.QM("snapshot", "100", "one")
	c.Type("b")
	w.QM("snapshot", "100", "two", "--vmstate", "1")
	c.Type("c")
	w.QM("snapshot", "100", "three")
	c.Type("d")
	chained(w, "three", []string{"one", "two", "three"}, "vm-100-state-two")

	w.QM("delsnapshot", "100", "two")
	chained(w, "without the middle", []string{"one", "three"})
	c.Type("e")

	// Put back, a running VM is stopped; what it had written since is gone.
	if out, err := w.Try("qm", "rollback", "100", "one"); err == nil || !strings.Contains(out, "is not most recent snapshot") {
		t.Errorf("put back to the first: %v, %s", err, out)
	}
	c.Await(Ready+"e\r\n", time.Minute) // as if nothing had been asked
	w.QM("rollback", "100", "three")
	chained(w, "put back", []string{"one", "three"})
	c.close()
	if status := w.QM("status", "100"); strings.TrimSpace(status) != "status: stopped" {
		t.Errorf("put back, it is %s", status)
	}
	c = up(w, "100", "c")
	c.Type("f")

	w.QM("delsnapshot", "100", "one")
	chained(w, "without the first", []string{"three"})
	c.Type("g")
	w.QM("delsnapshot", "100", "three")
	chained(w, "without any", nil)
	c.Type("h")
	down(w, c, "100")
	c = up(w, "100", "h") // what a cold start finds is whole

	// With its memory it goes on where it was.
	w.QM("snapshot", "100", "memory", "--vmstate", "1")
	c.Type("i")
	w.QM("rollback", "100", "memory")
	c.close()
	chained(w, "with memory", []string{"memory"}, "vm-100-state-memory")
	c = w.Console("100")
	c.Await(Ready+"h\r\n", 5*time.Minute)
	c.Type("k")
	down(w, c, "100")
	w.QM("delsnapshot", "100", "memory")
	chained(w, "stopped", nil)
	c = up(w, "100", "k")
	down(w, c, "100")
	w.QM("destroy", "100")
	if left := lvmtest.Names(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

// TestAllocs: volumes that several programs make at once get a name each, and those that are
// ended in the middle leave nothing in the way of others.
func TestAllocs(t *testing.T) {
	long(t)
	testnode.Need(t, "device-mapper")
	lvmtest.Group(t, "")
	w := New(t)
	w.PVESM("add", "lvm", "mine", "--vgname", lvmtest.VG, "--content", "images", "--snapshot-as-volume-chain", "1", "--saferemove", "1")
	alloc := func(i int) *exec.Cmd {
		return w.Command("pvesm", "alloc", "mine", "100", "", "8M", "--format", []string{"raw", "qcow2"}[i%2])
	}
	const count = 6
	var wg sync.WaitGroup
	said, errs := make([][]byte, count), make([]error, count)
	for i := range count {
		wg.Go(func() { said[i], errs[i] = alloc(i).CombinedOutput() })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%v: %s", err, said[i])
		}
	}
	if got := strings.Fields(lvmtest.Names(t)); len(got) != count {
		t.Errorf("there are %q", got)
	}
	for i := range 8 {
		c := alloc(i)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 300 * time.Millisecond)
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
	}
	for deadline := time.Now().Add(2 * time.Minute); len(processes(w)) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("these do not end: %q", processes(w))
		}
	}
	w.PVESM("alloc", "mine", "100", "", "8M")
	for _, line := range strings.Split(strings.TrimSpace(w.PVESM("list", "mine")), "\n")[1:] {
		w.PVESM("free", strings.Fields(line)[0])
	}
	if left := lvmtest.Names(t); left != "" {
		t.Errorf("left: %s", left)
	}
}

// close ends the console of a VM that is gone.
func (c *Console) close() {
	c.w.Helper()
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.done
	}
}
