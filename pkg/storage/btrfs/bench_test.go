package btrfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// BenchmarkStorage times a folder on btrfs beside bare tools.
func BenchmarkStorage(b *testing.B) {
	disk := storagetest.Loop(b, 2048, "mkfs.btrfs", "-q")
	top := filepath.Join(disk, "volumes")
	beside := filepath.Join(disk, "beside")
	sub := func(verb string, args ...string) []string {
		return append([]string{"btrfs", "-q", "subvolume", verb}, args...)
	}
	storagetest.Bench{
		Types:  []storage.Type{btrfs.Type()},
		Config: "btrfs: it\n\tpath " + top + "\n",
		Format: "raw",
		Alloc:  []storagetest.Beside{storagetest.Tool("btrfs_subvolume_create", sub("create", beside), sub("delete", beside)...)},
		Clone: func(base id.Volume) []storagetest.Beside {
			of := filepath.Join(top, "images", strings.TrimSuffix(base.Name, ".raw"))
			return []storagetest.Beside{storagetest.Tool("btrfs_subvolume_snapshot", sub("snapshot", of, beside), sub("delete", beside)...)}
		},
		Unlinked: true,
		Copies:   []string{"raw"},
		Copy:     storagetest.FolderCopies(disk),
		CopySize: 64 << 20,
		Fill:     func(b *testing.B, from, to int) { fill(b, top, from, to) },
		Lists:    []int{1000, 10000},
		List: []storagetest.Beside{
			storagetest.Tool("btrfs_subvolume_list", []string{"btrfs", "subvolume", "list", disk}),
			storagetest.Tool("ls_-lR", []string{"ls", "-lR", filepath.Join(top, "images")}),
		},
	}.Run(b)
}

// fill makes disks of as many guests. A process for each of them would take minutes.
func fill(b *testing.B, top string, from, to int) {
	b.Helper()
	for i := from; i < to; i++ {
		dir := filepath.Join(top, fmt.Sprintf("images/%d", 1000+i))
		name := fmt.Sprintf("vm-%d-disk-0", 1000+i)
		disk := filepath.Join(dir, name, "disk.raw")
		if err := errors.Join(os.Mkdir(dir, 0o755), subvolume(dir, name), os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 1<<20)); err != nil {
			b.Fatal(err)
		}
	}
}

// subvolume makes a subvolume, with BTRFS_IOC_SUBVOL_CREATE.
func subvolume(dir, name string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only asked
	var args struct {
		fd   int64
		name [4088]byte
	}
	copy(args.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x5000940e, uintptr(unsafe.Pointer(&args))); errno != 0 {
		return fmt.Errorf("subvolume %s: %w", name, errno)
	}
	return nil
}
