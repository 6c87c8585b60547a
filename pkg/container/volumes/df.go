package volumes

import (
	"context"
	"fmt"
	"strconv"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/config"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/mount"
	"github.com/virtsmith/virtsmith/pkg/guest"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Usage is how full the file system of a mount point is, in bytes.
type Usage struct {
	Point                  container.Point
	Total, Used, Available uint64
}

// Usage returns how full the mount points of a container are, whether it runs or not. One
// that cannot be looked at is told and left out.
func (s *Service) Usage(ctx context.Context, vmid id.VM) ([]Usage, error) {
	var all []Usage
	err := s.Locked(ctx, vmid, "df", func(ctx context.Context) error {
		doc, err := s.Load(ctx, vmid)
		if err != nil {
			return err
		}
		running, err := s.Running(ctx, vmid)
		if err != nil {
			return err
		}
		if err := lookable(doc, running); err != nil {
			return err
		}
		for _, p := range container.Typed(doc.Values).Points() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			u, err := s.usage(ctx, p, running)
			if err != nil {
				api.Warnf(ctx, "%s: %v", p.Key, err)
				continue
			}
			all = append(all, u)
		}
		return nil
	})
	return all, err
}

// lookable refuses a container that another command works on. Of one that runs, or that is
// mounted, what is in use is looked at.
func lookable(doc *config.Doc, running bool) error {
	if running || doc.Values["lock"] == mountLock {
		return nil
	}
	return guest.CheckLock(cluster.Container, doc)
}

func (s *Service) usage(ctx context.Context, p container.Point, running bool) (Usage, error) {
	view, err := s.lookAt(ctx, p, running)
	if err != nil {
		return Usage{}, err
	}
	defer view.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(view.Root.Fd()), &fs); err != nil {
		return Usage{}, err
	}
	size := uint64(fs.Bsize)
	return Usage{Point: p, Total: fs.Blocks * size, Used: (fs.Blocks - fs.Bfree) * size, Available: fs.Bavail * size}, nil
}

// lookAt mounts what a mount point mounts for us alone.
func (s *Service) lookAt(ctx context.Context, p container.Point, running bool) (*mount.View, error) {
	if p.Kind() == container.VolumeSource {
		v, err := id.ParseVolume(p.Volume)
		if err != nil {
			return nil, err
		}
		return s.look(ctx, v, running, true)
	}
	m, err := s.MountPoint(ctx, p, "")
	if err != nil {
		return nil, err
	}
	return s.mounter(ctx).Open(ctx, m, nil)
}

// PrintUsage shows how full the mount points of a container are.
func PrintUsage(ctx context.Context, all []Usage) {
	table := [][]string{{"MP", "Volume", "Size", "Used", "Avail", "Use%", "Path"}}
	for _, u := range all {
		// Upstream shows the share here, not a percentage, and people have learned to
		// read it.
		share := 0.0
		if u.Total > 0 {
			share = float64(u.Used) / float64(u.Total)
		}
		table = append(table, []string{
			u.Point.Key, u.Point.Volume, short(u.Total), short(u.Used), short(u.Available), strconv.FormatFloat(share, 'f', 1, 64), u.Point.MP,
		})
	}
	width := make([]int, 6)
	for _, row := range table {
		for i := range width {
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, r := range table {
		api.Printf(ctx, "%-*s %-*s %*s %*s %*s %*s %s\n", width[0], r[0], width[1], r[1], width[2], r[2], width[3], r[3], width[4], r[4], width[5], r[5], r[6])
	}
}

// short writes a size in few characters: 442.5M.
func short(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < 3 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.1f%c", size, "KMGT"[unit])
}
