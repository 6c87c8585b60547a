package dir_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/dir"
)

// bench serves a folder, in which n disks of as many guests are.
func bench(b *testing.B, n int) *storage.Service {
	b.Helper()
	root := b.TempDir()
	s := storage.New(storage.Options{
		Root: root, Runner: run.Host{}, Types: []storage.Type{dir.Type()}, QEMUImg: "qemu-img",
		Config: func(context.Context) (string, error) { return "", nil },
	})
	if n == 0 {
		return s
	}
	v, err := s.Alloc(b.Context(), "local", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1 << 20})
	if err != nil {
		b.Skip(err)
	}
	path, _ := s.Path(b.Context(), v, "")
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	header := make([]byte, 512)
	if _, err := f.Read(header); err != nil {
		b.Fatal(err)
	}
	for i := 101; i < 100+n; i++ {
		path := filepath.Join(root, fmt.Sprintf("var/lib/vz/images/%d/vm-%d-disk-0.qcow2", i, i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, header, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkList(b *testing.B) {
	for _, n := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := bench(b, n)
			for b.Loop() {
				list, err := s.List(b.Context(), "local", storage.Filter{Content: []storage.Content{storage.Images}})
				if err != nil || len(list) != n {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkAlloc is our own part of making a volume beside what qemu-img takes.
func BenchmarkAlloc(b *testing.B) {
	b.Run("service", func(b *testing.B) {
		s := bench(b, 0)
		for b.Loop() {
			v, err := s.Alloc(b.Context(), "local", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1 << 20})
			if err != nil {
				b.Skip(err)
			}
			if err := s.Free(b.Context(), v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("qemu-img", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "x.qcow2")
		for b.Loop() {
			if _, err := run.Output(b.Context(), run.Host{}, "qemu-img", "create", "-o", "preallocation=metadata", "-f", "qcow2", path, "1048576K"); err != nil {
				b.Skip(err)
			}
			_ = os.Remove(path)
		}
	})
}

// BenchmarkClones makes 100 linked clones at once, beside 100 bare qemu-img.
func BenchmarkClones(b *testing.B) {
	each := func(b *testing.B, do func(i int) error) {
		b.Helper()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if err := do(i); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.Run("service", func(b *testing.B) {
		for b.Loop() {
			s := bench(b, 1)
			base, err := s.CreateBase(b.Context(), id.Volume{Storage: "local", Name: "100/vm-100-disk-0.qcow2"})
			if err != nil {
				b.Fatal(err)
			}
			each(b, func(i int) error {
				_, err := s.Clone(b.Context(), base, id.VM(200+i), "")
				return err
			})
		}
	})
	b.Run("qemu-img", func(b *testing.B) {
		for b.Loop() {
			dir := b.TempDir()
			base := filepath.Join(dir, "base.qcow2")
			if _, err := run.Output(b.Context(), run.Host{}, "qemu-img", "create", "-f", "qcow2", base, "1G"); err != nil {
				b.Skip(err)
			}
			each(b, func(i int) error {
				_, err := run.Output(b.Context(), run.Host{}, "qemu-img", "create", "-b", base, "-F", "qcow2", "-f", "qcow2", filepath.Join(dir, fmt.Sprint(i)))
				return err
			})
		}
	})
}

// BenchmarkCopy copies 256 MiB of data beside a bare qemu-img.
func BenchmarkCopy(b *testing.B) {
	source := filepath.Join(b.TempDir(), "source.raw")
	block := make([]byte, 1<<20)
	f, err := os.Create(source)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 256 {
		for j := range block {
			block[j] = byte(i + j*7)
		}
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	_ = f.Close()
	b.Run("service", func(b *testing.B) {
		s := bench(b, 0)
		b.SetBytes(256 << 20)
		for b.Loop() {
			v, err := s.Copy(b.Context(), storage.Copy{Source: source, Storage: "local", Guest: 100, Format: "qcow2"})
			if err != nil {
				b.Skip(err)
			}
			if err := s.Free(b.Context(), v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("qemu-img", func(b *testing.B) {
		to := filepath.Join(b.TempDir(), "x.qcow2")
		b.SetBytes(256 << 20)
		for b.Loop() {
			if _, err := run.Output(b.Context(), run.Host{}, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", source, to); err != nil {
				b.Skip(err)
			}
			_ = os.Remove(to)
		}
	})
}
