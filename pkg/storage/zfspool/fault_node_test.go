package zfspool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testnode"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

// tank is a section of a storage on a pool.
func tank(pool string) string { return "zfspool: tank\n\tpool " + pool + "\n" }

func volume(name string) id.Volume { return id.Volume{Storage: "tank", Name: name} }

// TestImport: a pool that is not imported is, by the links to its disks; one that is
// nowhere is said so.
func TestImport(t *testing.T) {
	pool := newPool(t, "vsimport", 2)
	command(t, "zfs", "create", "-o", "mountpoint=none", pool+"/vm")
	command(t, "zpool", "export", pool)
	s := serve(t, run.Host{}, tank(pool+"/vm"))
	if _, err := s.Status(t.Context(), "tank"); err != nil {
		t.Fatal(err)
	}
	if cache := command(t, "zpool", "get", "-H", "-o", "value", "cachefile", pool); cache != "none" {
		t.Errorf("the next boot imports the pool by itself: cachefile %s", cache)
	}
	err := serve(t, run.Host{}, tank("vsnowhere/vm")).Activate(t.Context(), "tank")
	if err == nil || !strings.Contains(err.Error(), "could not activate storage 'tank', zfs error: cannot import 'vsnowhere': no such pool available") {
		t.Errorf("a pool that is nowhere: %v", err)
	}
	err = serve(t, run.Host{}, tank(pool+"/gone")).Activate(t.Context(), "tank")
	if err == nil || !strings.Contains(err.Error(), "cannot open 'vsimport/gone': dataset does not exist") {
		t.Errorf("a dataset that is nowhere: %v", err)
	}
}

// TestBusy: a disk that is in use stays; one that is let go soon is removed.
func TestBusy(t *testing.T) {
	pool := newPool(t, "vsbusy", 2)
	s := serve(t, run.Host{}, tank(pool))
	v, err := s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "raw", Size: 1024})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/dev/zvol/" + pool + "/" + v.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Free(t.Context(), v); err == nil || !strings.Contains(err.Error(), "dataset is busy") {
		t.Errorf("a disk in use: %v", err)
	}
	if _, err := s.Info(t.Context(), v); err != nil {
		t.Errorf("the disk is gone: %v", err)
	}
	time.AfterFunc(time.Second, func() { f.Close() })
	if err := s.Free(t.Context(), v); err != nil {
		t.Errorf("a disk that was let go: %v", err)
	}
}

// TestTwoAtOnce: of two that want a name, one gets it.
func TestTwoAtOnce(t *testing.T) {
	pool := newPool(t, "vstwo", 2)
	s := serve(t, run.Host{}, tank(pool))
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "raw", File: "vm-100-mine", Size: 1024})
		})
	}
	wg.Wait()
	got := 0
	for _, err := range errs {
		if err == nil {
			got++
		} else if !errors.Is(err, storage.ErrExists) {
			t.Error(err)
		}
	}
	if got != 1 {
		t.Errorf("%d got the name", got)
	}
}

// asWorker makes the test a worker that makes volumes and clones until it is killed.
const asWorker = "VIRTSMITH_TEST_WORKER"

func TestMain(m *testing.M) {
	root := os.Getenv(asWorker)
	if root == "" {
		os.Exit(m.Run())
	}
	s := service(root, tank("vskill"))
	for {
		v, err := s.Alloc(context.Background(), "tank", storage.Alloc{Guest: 100, Format: "raw", Size: 1024})
		if err == nil {
			_, err = s.Clone(context.Background(), volume("base-9000-disk-0"), 200, "")
		}
		if err == nil {
			err = s.Free(context.Background(), v)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func service(root, cfg string) *storage.Service {
	return storage.New(storage.Options{
		Root: root, Node: "pve1", Runner: run.Host{}, Types: []storage.Type{zfspool.Type()},
		Config: func(context.Context) (string, error) { return cfg, nil },
	})
}

// TestKilled: a kill at any moment leaves volumes that can be listed, used and removed,
// and no lock.
func TestKilled(t *testing.T) {
	pool := newPool(t, "vskill", 2)
	root := t.TempDir()
	s := service(root, tank(pool))
	v, err := s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 9000, Format: "raw", Size: 1024})
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.CreateBase(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		worker := exec.Command(os.Args[0])
		worker.Env = append(os.Environ(), asWorker+"="+root)
		if err := worker.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(700+i*900) * time.Millisecond)
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait()
	}
	list, err := s.List(t.Context(), "tank", storage.Filter{Content: []storage.Content{storage.Images}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d volumes are left", len(list))
	for _, item := range list {
		if v := volume(item.Name); v != base {
			if err := errors.Join(s.ActivateVolumes(t.Context(), "", v), s.Free(t.Context(), v)); err != nil {
				t.Errorf("%s: %v", v, err)
			}
		}
	}
	if err := s.Free(t.Context(), base); err != nil {
		t.Error(err)
	}
}

// TestSuspended: a pool whose disk does not answer is told of at once, by no program that
// would hang.
func TestSuspended(t *testing.T) {
	testnode.Need(t, "zfs", "device-mapper")
	device := testnode.Disk(t, 2)
	table := func(target string) {
		command(t, "dmsetup", "suspend", "--noflush", "--nolockfs", "vsdead")
		command(t, "dmsetup", "load", "vsdead", "--table", target)
		command(t, "dmsetup", "resume", "vsdead")
	}
	const sectors = "1048576"
	linear := "0 " + sectors + " linear " + device + " 0"
	command(t, "dmsetup", "create", "vsdead", "--table", linear)
	t.Cleanup(func() { patiently(t, "dmsetup", "remove", "vsdead") })
	command(t, "zpool", "create", "-f", "vsdead", "/dev/mapper/vsdead")
	t.Cleanup(func() { patiently(t, "zpool", "destroy", "-f", "vsdead") })
	s := serve(t, run.Host{}, tank("vsdead"))
	if _, err := s.Status(t.Context(), "tank"); err != nil {
		t.Fatal(err)
	}
	table("0 " + sectors + " error")
	writer := exec.Command("dd", "if=/dev/urandom", "of=/vsdead/file", "bs=1M", "count=4", "conv=fsync")
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	dead := func() bool {
		raw, _ := os.ReadFile("/proc/spl/kstat/zfs/vsdead/state")
		return strings.TrimSpace(string(raw)) == "SUSPENDED"
	}
	for range 600 {
		if dead() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	began := time.Now()
	_, err := s.Status(t.Context(), "tank")
	if want := "could not activate storage 'tank', pool 'vsdead' is suspended"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("after %s: %v, want %s", time.Since(began), err, want)
	}
	t.Logf("told after %s", time.Since(began))
	table(linear)
	patiently(t, "zpool", "clear", "vsdead")
	_ = writer.Wait() // it goes on
	if _, err := s.Status(t.Context(), "tank"); err != nil {
		t.Errorf("after the disk came back: %v", err)
	}
}

// TestSubvolume takes the file system of a container through its life.
func TestSubvolume(t *testing.T) {
	pool := newPool(t, "vssub", 2)
	s := serve(t, run.Host{}, tank(pool))
	subvolume(t, s, "/"+pool, true)
}

// subvolume takes a file system through its life. With streams it is also sent and
// received.
func subvolume(t *testing.T, s *storage.Service, mountpoint string, streams bool) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	quota := func(v id.Volume, want int64) {
		t.Helper()
		info, err := s.Info(t.Context(), v)
		if err != nil || info.Size != want || info.Format != "subvol" {
			t.Errorf("%s: %+v, %v, want %d", v, info, err, want)
		}
	}
	v, err := s.Alloc(t.Context(), "tank", storage.Alloc{Guest: 100, Format: "subvol", Size: 16 << 10})
	ok(err)
	ok(s.ActivateVolumes(t.Context(), "", v))
	path, err := s.Path(t.Context(), v, "")
	ok(err)
	if path != mountpoint+"/subvol-100-disk-0" {
		t.Errorf("%s lies at %s", v, path)
	}
	quota(v, 16<<20)
	file := filepath.Join(path, "file")
	ok(os.WriteFile(file, []byte("before"), 0o600))
	ok(s.Snapshot(t.Context(), v, "one"))
	ok(os.WriteFile(file, []byte("after"), 0o600))
	ok(s.Resize(t.Context(), v, 32<<20, false))
	quota(v, 32<<20)
	ok(s.Rollback(t.Context(), v, "one"))
	ok(s.ActivateVolumes(t.Context(), "", v))
	quota(v, 16<<20) // a state has its limit
	if text, err := os.ReadFile(file); err != nil || string(text) != "before" {
		t.Errorf("went back to %q, %v", text, err)
	}
	if streams {
		sent(t, s, v)
	}
	ok(s.DeleteSnapshot(t.Context(), v, "one", false))
	base, err := s.CreateBase(t.Context(), v)
	ok(err)
	if base != volume("basevol-100-disk-0") {
		t.Errorf("the base is %s", base)
	}
	clone, err := s.Clone(t.Context(), base, 101, "")
	ok(err)
	if clone != volume("basevol-100-disk-0/subvol-101-disk-0") {
		t.Errorf("the clone is %s", clone)
	}
	ok(s.ActivateVolumes(t.Context(), "", clone))
	quota(clone, 16<<20)
	if text, err := os.ReadFile(filepath.Join(mountpoint, "subvol-101-disk-0/file")); err != nil || string(text) != "before" {
		t.Errorf("the clone has %q, %v", text, err)
	}
	if err := s.Free(t.Context(), base); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("removing the base: %v", err)
	}
	ok(s.Free(t.Context(), clone))
	ok(s.Free(t.Context(), base))
	if exists(mountpoint + "/basevol-100-disk-0") {
		t.Error("the mount point is left")
	}
}

// sent sends a state, and then what has changed since, and a broken stream.
func sent(t *testing.T, s *storage.Service, v id.Volume) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	from, err := s.Path(t.Context(), v, "")
	ok(err)
	copied, err := s.Transfer(t.Context(), storage.Transfer{From: v, To: volume("subvol-200-disk-0"), Stream: storage.Stream{Format: "zfs", Snapshot: "one", All: true}})
	ok(err)
	ok(s.ActivateVolumes(t.Context(), "", copied))
	to, err := s.Path(t.Context(), copied, "")
	ok(err)
	ok(os.WriteFile(filepath.Join(from, "file"), []byte("changed"), 0o600))
	ok(s.Snapshot(t.Context(), v, "two"))
	_, err = s.Transfer(t.Context(), storage.Transfer{From: v, To: copied, Stream: storage.Stream{Format: "zfs", Snapshot: "two", Base: "one", All: true}})
	ok(err)
	ok(s.ActivateVolumes(t.Context(), "", copied))
	if text, err := os.ReadFile(filepath.Join(to, "file")); err != nil || string(text) != "changed" {
		t.Errorf("brought up to date: %q, %v", text, err)
	}
	_, err = s.Import(t.Context(), strings.NewReader("no stream"), copied, storage.Stream{Format: "zfs", Snapshot: "three", Base: "two"}, false)
	if err == nil {
		t.Error("a broken stream was taken")
	}
	_, err = s.Import(t.Context(), strings.NewReader("no stream"), copied, storage.Stream{Format: "zfs", Snapshot: "three", Base: "nope"}, false)
	if want := "base snapshot 'vssub/subvol-200-disk-0@nope' doesn't exist"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	_, err = s.Import(t.Context(), strings.NewReader("no stream"), volume("subvol-300-disk-0"), storage.Stream{Format: "zfs", Snapshot: "three"}, false)
	if _, gone := s.Info(t.Context(), volume("subvol-300-disk-0")); err == nil || !errors.Is(gone, storage.ErrNotExist) {
		t.Errorf("a broken stream: %v, left: %v", err, gone)
	}
	ok(os.WriteFile(filepath.Join(from, "file"), []byte("before"), 0o600)) // as the caller had it
	ok(s.DeleteSnapshot(t.Context(), v, "two", false))
	ok(s.Free(t.Context(), copied))
}
