// Package lvmtest makes volume groups for the tests of the storage types that lie on
// them.
package lvmtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// VG is the group that the tests make. No machine has one of that name.
const VG = "virtsmith-test"

// Run runs a program and returns what it prints.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Group makes the group on a spare disk of the test node, of the given size in MiB; of
// the whole disk for 0. It is removed at the end of the test.
func Group(t testing.TB, mib string) {
	t.Helper()
	testnode.Need(t, "device-mapper")
	on(t, testnode.Disk(t, 0), mib)
}

func on(t testing.TB, disk, mib string) {
	t.Helper()
	args := []string{"-q", "-y"}
	if mib != "" {
		args = append(args, "--setphysicalvolumesize", mib+"m")
	}
	Run(t, "pvcreate", append(args, disk)...)
	Run(t, "vgcreate", "-q", VG, disk)
	t.Cleanup(func() {
		Run(t, "vgremove", "-q", "-f", "-y", VG)
		Run(t, "pvremove", "-q", "-f", "-y", disk)
	})
}

// Pool makes the group with a thin pool called data, which says at once when it is full.
func Pool(t testing.TB, mib, size string) {
	t.Helper()
	Group(t, mib)
	Run(t, "lvcreate", "-q", "-y", "--type", "thin-pool", "-L", size, "-n", "data", VG)
	Run(t, "lvchange", "-q", "--errorwhenfull", "y", VG+"/data")
}

// Empty removes all logical volumes of the group at the end of the test, but for a thin
// pool: to make the group anew for each test takes much longer.
func Empty(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		var left []string
		for name := range strings.FieldsSeq(Names(t)) {
			if name != "data" {
				left = append(left, VG+"/"+name)
			}
		}
		if len(left) > 0 {
			Run(t, "lvremove", append([]string{"-q", "-f", "-y"}, left...)...)
		}
	})
}

// Has tells whether the group has a logical volume.
func Has(t testing.TB, lv string) bool {
	t.Helper()
	return strings.Contains("\n"+Names(t)+"\n", "\n"+lv+"\n")
}

// Names lists the logical volumes of the group, one a line.
func Names(t testing.TB) string {
	t.Helper()
	lines := strings.Fields(Run(t, "lvs", "--noheadings", "-o", "lv_name", VG))
	return strings.Join(lines, "\n")
}

// Device returns where a logical volume of the group is found.
func Device(lv string) string { return "/dev/" + VG + "/" + lv }

// A World is a service with storages, and what they have said.
type World struct {
	*storage.Service
	Ctx  context.Context //nolint:containedctx // that of the test
	Said *Words
}

// Words is text that several may write.
type Words struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to the text.
func (w *Words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// String returns the text.
func (w *Words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// New returns a world with the storages that the text of a storage.cfg has.
func New(t testing.TB, r run.Runner, text string, types ...storage.Type) *World {
	t.Helper()
	root := t.TempDir()
	w := &World{Said: &Words{}}
	w.Service = storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: r, Types: types, QEMUImg: "qemu-img", Zone: time.UTC,
		Config: func(context.Context) (string, error) { return text, nil },
		Lock: func(ctx context.Context, name string, fn func(context.Context) error) error {
			return file.WithLock(ctx, filepath.Join(root, name), file.LockOptions{Patience: time.Minute}, fn)
		},
	})
	w.Ctx = api.WithStreams(t.Context(), api.Streams{Out: w.Said, Err: w.Said})
	return w
}

// Alloc makes a volume.
func (w *World) Alloc(t testing.TB, storeid id.Storage, guest id.VM, format string, kib int64) id.Volume {
	t.Helper()
	v, err := w.Service.Alloc(w.Ctx, storeid, storage.Alloc{Guest: guest, Format: format, Size: kib})
	if err != nil {
		t.Fatalf("%v\n%s", err, w.Said)
	}
	return v
}

// Write puts text at an offset of a device, past all caches.
func Write(t testing.TB, device, text string, at int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// Read returns so many bytes of a device.
func Read(t testing.TB, device string, at, length int64) string {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, length)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// OK fails the test at once when there is an error.
func (w *World) OK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, w.Said)
	}
}

// variable says to a test program that it is to work until it is killed.
const variable = "VIRTSMITH_TEST_ENDLESS"

// Endless reports whether the test runs in a program that [Killed] kills.
func Endless() bool { return os.Getenv(variable) == "1" }

// Killed runs the test of the given name in a process of its own, in which [Endless] holds, and
// kills it after some time, so many times. After each it calls check.
func Killed(t *testing.T, name string, times int, check func()) {
	t.Helper()
	for i := range times {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(2000+i*2700)*time.Millisecond)
		c := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+name+"$") // killed with SIGKILL
		c.Env = append(os.Environ(), variable+"=1")
		out, err := c.CombinedOutput()
		cancel()
		if err == nil || ctx.Err() == nil {
			t.Fatalf("ended by itself: %v\n%s", err, out)
		}
		check()
	}
}
