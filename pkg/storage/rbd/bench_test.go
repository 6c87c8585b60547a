package rbd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testceph"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
)

// fill makes many images, ten for each guest, faster than rbd could.
const fill = `
import sys, rados, rbd
with rados.Rados(conffile=sys.argv[1]) as cluster, cluster.open_ioctx(sys.argv[2]) as io:
    for n in range(int(sys.argv[3])):
        rbd.RBD().create(io, 'vm-%d-disk-%d' % (1000 + n // 10, n % 10), 1 << 30, features=61)
`

// BenchmarkList lists a pool, and one guest in it, beside rbd alone.
func BenchmarkList(b *testing.B) {
	c := testceph.Start(b)
	w := serve(b, b.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, c.Section()...)
	many := 1000
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		many = 10000
	}
	if out, err := exec.CommandContext(b.Context(), "/usr/bin/python3", "-c", fill, c.Conf, testceph.Pool, fmt.Sprint(many)).CombinedOutput(); err != nil {
		b.Skipf("needs python3-rbd: %v: %s", err, out)
	}
	images := []storage.Content{storage.Images}
	for _, guest := range []id.VM{0, 1050} {
		b.Run(fmt.Sprintf("%d images, guest %d", many, guest), func(b *testing.B) {
			for b.Loop() {
				if _, err := w.List(b.Context(), "it", storage.Filter{Content: images, Guest: guest}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run(fmt.Sprintf("%d images, rbd ls -l", many), func(b *testing.B) {
		for b.Loop() {
			c.RBD("ls", "-l", "--format", "json")
		}
	})
}

// BenchmarkAlloc makes and removes an image, beside rbd alone.
func BenchmarkAlloc(b *testing.B) {
	c := testceph.Start(b)
	w := serve(b, b.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, c.Section()...)
	b.Run("service", func(b *testing.B) {
		for b.Loop() {
			w.ok(w.Free(b.Context(), w.alloc(100)))
		}
	})
	b.Run("rbd", func(b *testing.B) {
		for b.Loop() {
			c.RBD("create", "--size", "4", "x")
			c.RBD("rm", "x", "--no-progress")
		}
	})
}

// BenchmarkClones makes 100 linked clones at once.
func BenchmarkClones(b *testing.B) {
	c := testceph.Start(b)
	w := serve(b, b.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, c.Section()...)
	base, err := w.CreateBase(b.Context(), w.alloc(9000))
	w.ok(err)
	const many = 100
	for b.Loop() {
		var wg sync.WaitGroup
		made, errs := make([]id.Volume, many), make([]error, many)
		for i := range many {
			wg.Go(func() { made[i], errs[i] = w.Clone(b.Context(), base, id.VM(100+i), "") })
		}
		wg.Wait()
		w.ok(errors.Join(errs...))
		b.StopTimer()
		for _, v := range made {
			w.ok(w.Free(b.Context(), v))
		}
		b.StartTimer()
	}
}

// BenchmarkCopy copies 256 MiB of data, beside a bare qemu-img.
func BenchmarkCopy(b *testing.B) {
	c := testceph.Start(b)
	w := serve(b, b.TempDir(), run.Host{}, map[string]string{"keyring": c.Secret()}, c.Section()...)
	const size = 256 << 20
	source := filepath.Join(b.TempDir(), "source.raw")
	block := make([]byte, size)
	for i := range block {
		block[i] = byte(i>>20 + i*7)
	}
	w.ok(os.WriteFile(source, block, 0o600))
	b.Run("service", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			v, err := w.Copy(b.Context(), storage.Copy{Source: source, Storage: "it", Guest: 100})
			w.ok(err)
			w.ok(w.Free(b.Context(), v))
		}
	})
	b.Run("qemu-img", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			_, err := run.Output(b.Context(), run.Host{}, "qemu-img", "convert", "-f", "raw", "-O", "raw", source, "rbd:rbd/x:conf="+c.Conf)
			w.ok(err)
			c.RBD("rm", "x", "--no-progress")
		}
	})
}
