package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// desk is a set of reservations with a clock and running VMs to play with.
type desk struct {
	Reservations
	now     time.Time
	running map[id.VM]int
}

func newDesk(t *testing.T) *desk {
	d := &desk{now: time.Unix(1000, 0), running: map[id.VM]int{}}
	d.Reservations = Reservations{
		Dir:     filepath.Join(t.TempDir(), "run/qemu-server"),
		Now:     func() time.Time { return d.now },
		Running: func(vm id.VM) (int, error) { return d.running[vm], nil },
	}
	return d
}

func (d *desk) file(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(d.path())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReservations(t *testing.T) {
	d := newDesk(t)
	gpu, nic := "0000:01:00.0", "0000:02:00.0"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	must(d.Reserve(t.Context(), 100, []string{nic, gpu}, 10*time.Second))
	if diff := cmp.Diff("0000:01:00.0 100 time:1015\n0000:02:00.0 100 time:1015\n", d.file(t)); diff != "" {
		t.Error(diff)
	}
	refused(d.Reserve(t.Context(), 101, []string{gpu}, time.Second), "PCI device '0000:01:00.0' is currently reserved for use by VMID '100'")
	must(d.Reserve(t.Context(), 100, []string{gpu}, time.Second)) // keeps the longer time
	d.running[100] = 42
	must(d.Bind(t.Context(), 100, []string{gpu}, 42))
	if diff := cmp.Diff("0000:01:00.0 100 pid:42\n0000:02:00.0 100 time:1015\n", d.file(t)); diff != "" {
		t.Error(diff)
	}
	d.now = time.Unix(2000, 0)
	must(d.Reserve(t.Context(), 101, []string{nic}, 10*time.Second)) // of 100 it has run out
	refused(d.Reserve(t.Context(), 101, []string{nic, gpu}, 10*time.Second), "PCI device '0000:01:00.0' already in use by VMID '100'")
	must(d.Reserve(t.Context(), 100, []string{gpu}, time.Second)) // runs: nothing changes
	if list, err := d.Of(100); err != nil || !cmp.Equal(list, []string{gpu}) {
		t.Error(list, err)
	}
	delete(d.running, 100) // died
	must(d.Bind(t.Context(), 101, []string{gpu}, 43))
	must(d.Release(t.Context(), 101, nic))
	must(d.Release(t.Context(), 100))
	if diff := cmp.Diff("0000:01:00.0 101 pid:43\n", d.file(t)); diff != "" {
		t.Error(diff)
	}
}

func FuzzReservations(f *testing.F) {
	f.Add("0000:01:00.0 100 pid:42\nrubbish\n01:00 7 time:99999999999999999999\n")
	f.Fuzz(func(t *testing.T, text string) {
		held := parseReservations(text)
		for address, one := range held {
			if one.pid == 0 && one.time == 0 {
				delete(held, address) // says nothing
			}
		}
		if diff := cmp.Diff(held, parseReservations(string(printReservations(held))), cmp.AllowUnexported(reservation{})); diff != "" {
			t.Error(diff)
		}
	})
}
