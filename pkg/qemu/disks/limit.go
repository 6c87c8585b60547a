package disks

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cluster"
	"github.com/virtsmith/virtsmith/pkg/id"
)

// Limit returns how fast data may be copied for an operation (clone, move, restore), in
// KiB/s, 0 for as fast as can be. A wish of the user's counts first; else the lowest of
// what the storages say, else what the datacenter does.
func (s *Service) Limit(ctx context.Context, operation string, wish *int, storeids ...id.Storage) (int, error) {
	if wish != nil {
		return *wish, nil
	}
	var limits []float64
	for _, storeid := range slices.Compact(slices.Sorted(slices.Values(storeids))) {
		if storeid == "" {
			continue
		}
		d, err := s.Storage.Lookup(ctx, storeid)
		if err != nil {
			return 0, err
		}
		if limit, ok := limitIn(d.Options["bwlimit"], operation); ok {
			limits = append(limits, limit)
		}
	}
	if limits == nil {
		dc, err := s.Cluster.Datacenter(ctx, nil)
		if err != nil {
			return 0, err
		}
		limits = append(limits, limitOf(dc.BWLimit, operation))
	}
	limits = slices.DeleteFunc(limits, func(n float64) bool { return n <= 0 })
	if len(limits) == 0 {
		return 0, nil
	}
	return max(1, int(slices.Min(limits))), nil
}

// limitIn reads the limit of an operation, or the general one.
func limitIn(text, operation string) (limit float64, ok bool) {
	parts := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if key, value, named := strings.Cut(part, "="); named {
			parts[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	value, ok := parts[operation]
	if !ok {
		value, ok = parts["default"]
	}
	limit, err := strconv.ParseFloat(value, 64)
	return limit, ok && err == nil
}

func limitOf(l *cluster.BWLimit, operation string) float64 {
	if l == nil {
		return 0
	}
	limit := map[string]*float64{"clone": l.Clone, "move": l.Move, "restore": l.Restore, "migration": l.Migration}[operation]
	if limit == nil {
		limit = l.Default
	}
	if limit == nil {
		return 0
	}
	return *limit
}
