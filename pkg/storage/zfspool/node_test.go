package zfspool_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

// command runs a program of the test itself.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", run.Quote(append([]string{name}, args...)...), err, out)
	}
	return strings.TrimSpace(string(out))
}

// patiently runs a program until it succeeds: udev looks into disks for a moment.
func patiently(t testing.TB, name string, args ...string) {
	t.Helper()
	var out []byte
	var err error
	for range 100 {
		if out, err = exec.Command(name, args...).CombinedOutput(); err == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%s: %v: %s", run.Quote(append([]string{name}, args...)...), err, out)
}

// newPool makes a pool on a disk of the node.
func newPool(t testing.TB, name string, disk int, args ...string) string {
	t.Helper()
	testnode.Need(t, "zfs")
	device := testnode.Disk(t, disk)
	command(t, "zpool", append(append([]string{"create", "-f"}, args...), name, device)...)
	t.Cleanup(func() { patiently(t, "zpool", "destroy", "-f", name) })
	return name
}

func TestContract(t *testing.T) {
	pool := newPool(t, "vstest", 0)
	n := 0
	storagetest.Run(t, storagetest.Options{
		Type: zfspool.Type(),
		Section: func(t *testing.T) []string {
			n++
			dataset := fmt.Sprintf("%s/t%d", pool, n)
			command(t, "zfs", "create", dataset)
			t.Cleanup(func() { patiently(t, "zfs", "destroy", "-R", dataset) })
			return []string{"pool " + dataset}
		},
		Small: func(t *testing.T) []string {
			path := filepath.Join(t.TempDir(), "small")
			command(t, "truncate", "-s", "64M", path)
			command(t, "zpool", "create", "-f", "vssmall", path)
			t.Cleanup(func() { patiently(t, "zpool", "destroy", "-f", "vssmall") })
			return []string{"pool vssmall"}
		},
	})
}

// serve returns a service with storages on the node's own ZFS.
func serve(t testing.TB, r run.Runner, cfg string) *storage.Service {
	t.Helper()
	return storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: r, Types: []storage.Type{zfspool.Type()}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) { return cfg, nil },
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
