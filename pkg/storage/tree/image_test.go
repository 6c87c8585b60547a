package tree

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/storage"
)

// TestImmutableBase: a base in a tree that stays cannot be removed by mistake, not even by
// root, but by Free.
func TestImmutableBase(t *testing.T) {
	needs(t, "qemu-img")
	tr := aTree(t.TempDir())
	tr.Disposable = false
	name, err := tr.Alloc(t.Context(), storage.Alloc{Guest: 9000, Format: "qcow2", Size: 64})
	check(t, err)
	base, err := tr.CreateBase(t.Context(), name)
	check(t, err)
	path, err := tr.Path(base, "")
	check(t, err)
	t.Cleanup(func() { _ = immutable(path, false) })
	f, err := os.Open(path)
	check(t, err)
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	check(t, errors.Join(f.Close()))
	if err != nil || flags&0x10 == 0 {
		t.Skipf("the file system or the user cannot: flags %#x, %v", flags, err)
	}
	if err := os.Remove(path); !errors.Is(err, os.ErrPermission) {
		t.Errorf("remove: %v", err)
	}
	clone, err := tr.Clone(t.Context(), base, 100, "")
	check(t, err)
	check(t, tr.Free(t.Context(), clone))
	check(t, tr.Free(t.Context(), base))
	if left, _ := filepath.Glob(filepath.Join(tr.Root, "images/*/*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestCloneHoldsBase: a base is not removed under a clone that is being made.
func TestCloneHoldsBase(t *testing.T) {
	tr := aTree(t.TempDir())
	const name = "9000/base-9000-disk-0.raw"
	path := filepath.Join(tr.Root, "images", name)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, make([]byte, 512), 0o444))
	hold, err := keep(t.Context(), path)
	check(t, err)
	another, err := keep(t.Context(), path)
	check(t, err)
	if err := tr.Free(t.Context(), name); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("free: %v", err)
	}
	check(t, errors.Join(hold.Close(), another.Close()))
	check(t, tr.Free(t.Context(), name))
}

func TestSubvolume(t *testing.T) {
	tr := aTree(t.TempDir())
	name, err := tr.Alloc(t.Context(), storage.Alloc{Guest: 200, Format: "subvol"})
	check(t, err)
	if name != "200/subvol-200-disk-0.subvol" {
		t.Errorf("got %s", name)
	}
	check(t, os.WriteFile(filepath.Join(tr.Root, "images", name, "x"), nil, 0o644))
	list, err := tr.List(t.Context(), storage.Filter{Content: []storage.Content{storage.Images}})
	check(t, err)
	if len(list) != 1 || list[0].Name != name || list[0].Format != "subvol" {
		t.Errorf("%+v", list)
	}
	if _, err := tr.Alloc(t.Context(), storage.Alloc{Guest: 200, Format: "subvol", Size: 1024}); err == nil {
		t.Error("a quota was taken")
	}
	check(t, tr.Free(t.Context(), name))
	if left, _ := os.ReadDir(filepath.Join(tr.Root, "images")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestAnswersInTime: what hangs is left behind.
func TestAnswersInTime(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	tr := aTree("/srv/it")
	err := tr.Bounded(t.Context(), func() error { <-hang; return nil })
	if want := "storage 'local' is unreachable: no answer in 2s"; errorText(err) != want {
		t.Errorf("got %v", err)
	}
}

// TestFreeBaseOfUnknownClones: a base stays as long as it is not known who needs it.
func TestFreeBaseOfUnknownClones(t *testing.T) {
	needs(t, "qemu-img")
	const name = "9000/base-9000-disk-0.raw"
	for _, c := range []struct {
		name, clone, text string
		free              bool
	}{
		{"damaged", "100/vm-100-disk-0.qcow2", "no image", false},
		{"being made", "100/vm-100-disk-0.qcow2", "", true},
		{"of another format", "100/vm-100-disk-0.raw", "no image", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := aTree(t.TempDir())
			path, clone := filepath.Join(tr.Root, "images", name), filepath.Join(tr.Root, "images", c.clone)
			check(t, os.MkdirAll(filepath.Dir(path), 0o755))
			check(t, os.MkdirAll(filepath.Dir(clone), 0o755))
			check(t, os.WriteFile(path, make([]byte, 512), 0o444))
			check(t, os.WriteFile(clone, []byte(c.text), 0o644))
			err := tr.Free(t.Context(), name)
			if _, gone := os.Stat(path); (gone != nil) != c.free || (err == nil) != c.free {
				t.Errorf("free: %v, file: %v", err, gone)
			}
		})
	}
}

// TestFreeBaseOfAbsoluteClone: a clone may name its base in another way than we do.
func TestFreeBaseOfAbsoluteClone(t *testing.T) {
	needs(t, "qemu-img")
	tr := aTree(t.TempDir())
	const name = "9000/base-9000-disk-0.raw"
	path, clone := filepath.Join(tr.Root, "images", name), filepath.Join(tr.Root, "images/100/vm-100-disk-0.qcow2")
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.MkdirAll(filepath.Dir(clone), 0o755))
	check(t, os.WriteFile(path, make([]byte, 512), 0o444))
	check(t, exec.Command("qemu-img", "create", "-q", "-b", path, "-F", "raw", "-f", "qcow2", clone).Run())
	if err := tr.Free(t.Context(), name); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("free: %v", err)
	}
}

// TestFreeUnreachable: what cannot be looked at is not taken for gone.
func TestFreeUnreachable(t *testing.T) {
	tr := aTree(t.TempDir())
	check(t, os.MkdirAll(filepath.Join(tr.Root, "images"), 0o755))
	check(t, os.Symlink("100", filepath.Join(tr.Root, "images/100"))) // a loop
	if err := tr.Free(t.Context(), "100/vm-100-disk-0.raw"); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("free: %v", err)
	}
}

// TestFailedAllocHarmsNoOther: one that fails takes the folder of the guest away only
// where it does not keep another from using it.
func TestFailedAllocHarmsNoOther(t *testing.T) {
	tr := aTree(t.TempDir())
	dir := filepath.Join(tr.Root, "images/100")
	done := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				tr.drop(filepath.Join(dir, "vm-100-disk-1.raw"))
			}
		}
	})
	path := filepath.Join(dir, "vm-100-disk-0.raw")
	for range 5000 {
		check(t, tr.place(path, "raw"))
		check(t, os.Remove(path))
	}
	close(done)
	others.Wait()
}
