package zfs

import (
	"context"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// PoolOf returns the pool that a dataset lies in.
func PoolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// Health returns the state of a pool: ONLINE, DEGRADED, SUSPENDED, … A pool that is
// not imported is [ErrNotExist].
func (t Tool) Health(ctx context.Context, pool string) (string, error) {
	text, err := t.look(ctx, "zpool", "list", "-H", "-o", "health", pool)
	return strings.TrimSpace(text), err
}

// Import makes a pool known to the kernel, by what its disks say. The next boot does
// not do so by itself.
func (t Tool) Import(ctx context.Context, pool, folder string) error {
	_, err := t.run(ctx, max(importTime, t.Look), run.Cmd{Path: "zpool", Args: []string{"import", "-d", folder, "-o", "cachefile=none", pool}})
	return err
}

// A Filesystem is a pool or a file system in one, and the space it has.
type Filesystem struct {
	Name            string
	Available, Used int64
}

// Filesystems lists all file systems of all pools.
func (t Tool) Filesystems(ctx context.Context) ([]Filesystem, error) {
	text, err := t.look(ctx, "zfs", "list", "-t", "filesystem", "-Hp", "-o", "name,avail,used")
	if err != nil {
		return nil, err
	}
	var all []Filesystem
	for _, row := range rows(text, 3) {
		free, _ := strconv.ParseInt(row[1], 10, 64)
		used, _ := strconv.ParseInt(row[2], 10, 64)
		all = append(all, Filesystem{Name: row[0], Available: free, Used: used})
	}
	return all, nil
}
