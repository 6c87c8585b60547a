package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/virtsmith/virtsmith/pkg/plan"
)

// Limits are what a guest may use of the machine.
type Limits struct {
	CPUs  float64 // processors' worth of time, 0 for as many as there are
	Units *int    // share beside others; nil for the default
}

// period is the length of the slices in which processor time is handed out, in
// microseconds.
const period = 100_000

// Defaults and bounds of shares, which version 1 counts otherwise than version 2.
const (
	defaultShares = 1024
	minShares     = 2
	maxShares     = 262144
	defaultWeight = 100
	maxWeight     = 10000
)

// Units returns the share that is set for the wanted one, brought into the bounds of
// the version in use: a configuration may come from a machine with the other one.
func Units(wanted *int, unified bool) int {
	switch {
	case wanted == nil && unified:
		return defaultWeight
	case wanted == nil:
		return defaultShares
	case unified:
		return min(max(*wanted, 1), maxWeight)
	}
	return min(max(*wanted, minShares), maxShares)
}

// ErrNoController is the error of a limit that the kernel does not offer for a group.
var ErrNoController = errors.New("the processor controller is not available there")

// Limit sets the limits of the group, which must exist.
func (g *Group) Limit(ctx context.Context, l Limits) error {
	if p := plan.From(ctx); p != nil {
		p.Stepf("limit control group %s: %s", g.name, l.describe(g.tree.unified))
		return nil
	}
	dir, ok := g.dir("cpu")
	if !ok {
		return fmt.Errorf("limit control group %s: %w", g.name, ErrNoController)
	}
	for _, w := range l.writes(g.tree.unified) {
		err := write(filepath.Join(dir, w[0]), w[1])
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNoController, err)
		}
		if err != nil {
			return fmt.Errorf("limit control group %s: %w", g.name, err)
		}
	}
	return nil
}

// writes lists the files to write and their contents, in order.
func (l Limits) writes(unified bool) [][2]string {
	quota, units := int(l.CPUs*period), strconv.Itoa(Units(l.Units, unified))
	if unified {
		most := "max"
		if l.CPUs > 0 {
			most = strconv.Itoa(quota)
		}
		return [][2]string{{"cpu.max", fmt.Sprintf("%s %d", most, period)}, {"cpu.weight", units}}
	}
	if l.CPUs <= 0 {
		quota = -1
	}
	return [][2]string{
		{"cpu.cfs_period_us", strconv.Itoa(period)},
		{"cpu.cfs_quota_us", strconv.Itoa(quota)},
		{"cpu.shares", units},
	}
}

func (l Limits) describe(unified bool) string {
	cpus := "no limit"
	if l.CPUs > 0 {
		cpus = strconv.FormatFloat(l.CPUs, 'g', -1, 64) + " cpus"
	}
	return fmt.Sprintf("%s, %d units", cpus, Units(l.Units, unified))
}
