package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/virtsmith/virtsmith/cmd/internal/stopwatch"
)

// BenchmarkCommand times whole processes in worlds with few and many storages: half of them
// disabled, half of them folders.
func BenchmarkCommand(b *testing.B) {
	dir := b.TempDir()
	pvesm, nothing := stopwatch.Build(b, dir, "."), stopwatch.Empty(b, dir)
	for _, storages := range []int{2, 1000} {
		root := filepath.Join(dir, strconv.Itoa(storages))
		define(b, root, storages)
		for _, args := range [][]string{{"status"}, {"path", "d0:100/vm-100-disk-0.raw"}, {"list", "d0"}} {
			b.Run(fmt.Sprintf("%s/storages=%d", args[0], storages), func(b *testing.B) {
				p := stopwatch.Process{Path: pvesm, Args: args, Env: append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE=pve1")}
				p.Bench(b, stopwatch.Process{Path: nothing})
			})
		}
	}
}

// define makes a world with so many storages.
func define(b *testing.B, root string, storages int) {
	b.Helper()
	var text strings.Builder
	for i := range storages / 2 {
		fmt.Fprintf(&text, "dir: d%d\n\tpath %s/d%d\n\tcontent images\n\n", i, root, i)
		fmt.Fprintf(&text, "nfs: n%d\n\tdisable\n\texport /export\n\tpath %s/mnt/pve/n%d\n\tserver 192.0.2.1\n\n", i, root, i)
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/pve"), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/pve/storage.cfg"), []byte(text.String()), 0o640); err != nil {
		b.Fatal(err)
	}
}
