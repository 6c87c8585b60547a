package zfspool_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
	"github.com/virtsmith/virtsmith/pkg/storage/zfspool"
)

// BenchmarkStorage times the file systems of containers with zfs-fuse, beside its zfs. It
// has no block devices, so that there is nothing to copy.
func BenchmarkStorage(b *testing.B) {
	startFuse(b)
	dir := b.TempDir()
	disk, mountpoint := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	command(b, "truncate", "-s", "1G", disk)
	command(b, "zpool", "create", "-m", mountpoint, "vsfuse", disk)
	b.Cleanup(func() { patiently(b, "zpool", "destroy", "-f", "vsfuse") })
	// Theirs are not mounted, and stay: what zfs-fuse has made is busy for seconds at times.
	bare := func(verb string) []string {
		return []string{"sh", "-c", "exec zfs " + verb + " vsfuse/beside-$$"}
	}
	storagetest.Bench{
		Types:  []storage.Type{zfspool.Type()},
		Config: "zfspool: it\n\tpool vsfuse\n\tmountpoint " + mountpoint + "\n",
		Runner: fuse{},
		Format: "subvol",
		Alloc:  []storagetest.Beside{storagetest.Tool("zfs_create,_unmounted", bare("create -o canmount=noauto"))},
		Clone: func(base id.Volume) []storagetest.Beside {
			return []storagetest.Beside{storagetest.Tool("zfs_clone,_unmounted", bare("clone -o canmount=noauto vsfuse/"+base.Name+"@__base__"))}
		},
		Fill: func(b *testing.B, from, to int) {
			if to > 1000 {
				b.Skip("to make so many takes zfs-fuse minutes")
			}
			for i := from; i < to; i++ {
				command(b, "zfs", "create", "-o", "refquota=16M", "-o", "canmount=off", fmt.Sprintf("vsfuse/subvol-%d-disk-0", 1000+i))
			}
		},
		Lists: []int{1000, 10000},
		List:  []storagetest.Beside{storagetest.Tool("zfs_list", []string{"zfs", "list", "-H", "-o", "name,volsize,origin,type,refquota", "-t", "volume,filesystem", "-d1", "vsfuse"})},
	}.Run(b)
}

// BenchmarkList is our own part of a list, less what zfs takes.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, "tank/vm-%d-disk-0\t34359738368\t-\tvolume\t-\n", 100+i)
			}
			s := serve(b, run.NewFake(run.Exchange{
				Args: []string{"zfs", "list", "-o", "name,volsize,origin,type,refquota", "-t", "volume,filesystem", "-d1", "-Hp", "tank"}, Stdout: text.String(), Repeat: true,
			}), tank("tank"))
			pool, err := s.Pool(b.Context(), "tank")
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				list, err := pool.List(b.Context(), storage.Filter{Content: []storage.Content{storage.Images}})
				if err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}
