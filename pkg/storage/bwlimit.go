package storage

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/id"
)

// Rates asks how fast data may be copied.
type Rates struct {
	Operation string       // clone, migration, move, restore
	Storages  []id.Storage // those involved; empty names are passed over
	// Override is what the user wants, in KiB/s: 0 for no limit, nil for whatever is
	// set. Only who could change a limit can go beyond it.
	Override *int
	// Datacenter is bwlimit of datacenter.cfg, which holds where a storage says nothing.
	Datacenter string
	// May tells whether the user has a privilege on a path.
	May func(path, privilege string) bool
}

// BandwidthLimit returns the rate in KiB/s, 0 for no limit: the smallest of those that
// hold for the user.
func (s *Service) BandwidthLimit(ctx context.Context, r Rates) (int, error) {
	storages := slices.DeleteFunc(slices.Clone(r.Storages), func(s id.Storage) bool { return s == "" })
	limit, none := 0, len(storages) == 0
	if r.Override != nil {
		limit = *r.Override
	}
	// Without a wish of his own the user has nothing to be allowed.
	may := func(path, privilege string) bool { return r.Override != nil && r.May(path, privilege) }
	apply := func(text string) {
		switch rate, ok := rateOf(text, r.Operation); {
		case !ok:
			none = true
		case limit == 0 || rate < limit:
			limit = rate
		}
	}
	if len(storages) > 0 && may("/storage", "Datastore.Allocate") {
		return limit, nil
	}
	for i, storeid := range storages {
		if slices.Contains(storages[:i], storeid) || may("/storage/"+string(storeid), "Datastore.Allocate") {
			continue
		}
		d, err := s.Lookup(ctx, storeid)
		if err != nil {
			return 0, err
		}
		apply(d.Options["bwlimit"])
	}
	if none && !may("/", "Sys.Modify") {
		apply(r.Datacenter)
	}
	return limit, nil
}

// rateOf reads the limit of an operation from a list like "default=100,move=80".
func rateOf(text, operation string) (rate int, ok bool) {
	rates := map[string]int{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			rates[key] = int(n)
		}
	}
	if rate, ok = rates[operation]; !ok {
		rate, ok = rates["default"]
	}
	return rate, ok
}
