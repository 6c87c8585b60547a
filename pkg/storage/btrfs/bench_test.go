package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/btrfs"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// bench serves a folder on btrfs and tells where it is.
func bench(b *testing.B) (*storage.Service, string) {
	b.Helper()
	top := filepath.Join(storagetest.Loop(b, 2048, "mkfs.btrfs", "-q"), "volumes")
	s := storage.New(storage.Options{
		Root: b.TempDir(), Runner: run.Host{}, Types: []storage.Type{btrfs.Type()}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) { return "btrfs: it\n\tpath " + top + "\n", nil },
	})
	if err := s.Activate(b.Context(), "it"); err != nil {
		b.Fatal(err)
	}
	return s, top
}

func BenchmarkList(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 1000 && testing.Short() {
				b.Skip("making the volumes takes a minute")
			}
			s, top := bench(b)
			const script = `for i in $(seq 100 $1); do mkdir $i && btrfs -q subvolume create $i/vm-$i-disk-0 && truncate -s 1M $i/vm-$i-disk-0/disk.raw || exit 1; done`
			c := exec.CommandContext(b.Context(), "sh", "-c", script, "sh", fmt.Sprint(99+n))
			c.Dir = filepath.Join(top, "images")
			if out, err := c.CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			for b.Loop() {
				list, err := s.List(b.Context(), "it", storage.Filter{Content: []storage.Content{storage.Images}})
				if err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkAlloc is making and removing a volume beside what the tool takes for it.
func BenchmarkAlloc(b *testing.B) {
	b.Run("service", func(b *testing.B) {
		s, _ := bench(b)
		for b.Loop() {
			v, err := s.Alloc(b.Context(), "it", storage.Alloc{Guest: 100, Format: "raw", Size: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Free(b.Context(), v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("btrfs", func(b *testing.B) {
		_, top := bench(b)
		for b.Loop() {
			for _, verb := range []string{"create", "delete"} {
				if out, err := exec.CommandContext(b.Context(), "btrfs", "-q", "subvolume", verb, top+"/x").CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		}
	})
}

// BenchmarkClones is a hundred linked clones at once.
func BenchmarkClones(b *testing.B) {
	s, _ := bench(b)
	v, err := s.Alloc(b.Context(), "it", storage.Alloc{Guest: 9000, Format: "raw", Size: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	base, err := s.CreateBase(b.Context(), v)
	if err != nil {
		b.Fatal(err)
	}
	const many = 100
	for b.Loop() {
		var wg sync.WaitGroup
		made, errs := make([]id.Volume, many), make([]error, many)
		for i := range many {
			wg.Go(func() { made[i], errs[i] = s.Clone(b.Context(), base, id.VM(100+i), "") })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		for _, v := range made {
			if err := s.Free(b.Context(), v); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
}

// BenchmarkStream is a volume of 64 MiB through a stream, beside cp.
func BenchmarkStream(b *testing.B) {
	const size = 64 << 20
	s, top := bench(b)
	v, err := s.Alloc(b.Context(), "it", storage.Alloc{Guest: 100, Format: "raw", Size: size >> 10})
	if err != nil {
		b.Fatal(err)
	}
	path, err := s.Path(b.Context(), v, "")
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, size)
	if _, err := (noise{}).Read(data); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := s.Snapshot(b.Context(), v, "s"); err != nil {
		b.Fatal(err)
	}
	for _, st := range []storage.Stream{{Format: "raw+size"}, {Format: "btrfs", Snapshot: "s"}} {
		b.Run(st.Format, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				made, err := s.Transfer(b.Context(), storage.Transfer{From: v, To: id.Volume{Storage: "it", Name: "200/vm-200-disk-0.raw"}, Stream: st})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Free(b.Context(), made); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("cp", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if out, err := exec.CommandContext(b.Context(), "cp", "--reflink=never", path, top+"/copy").CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			if err := os.Remove(top + "/copy"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
