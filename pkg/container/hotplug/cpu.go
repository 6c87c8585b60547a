package hotplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/container/lxcconf"
	"github.com/virtsmith/virtsmith/pkg/container/power"
)

// period is that of the handing out of processor time, in microseconds.
const period = 100_000

// setLimit changes how much of the processors' time the container gets; 0 is no limit.
func (m *machine) setLimit(ctx context.Context, cpus float64) error {
	quota := int(cpus * period)
	if m.kernel.Kernel.Unified {
		text := "max"
		if quota > 0 {
			text = strconv.Itoa(quota)
		}
		return m.write(ctx, []string{"cpu.max"}, map[string]string{"cpu.max": fmt.Sprintf("%s %d", text, period)})
	}
	if quota <= 0 {
		quota = -1
	}
	return m.write(ctx, []string{"cpu.cfs_period_us", "cpu.cfs_quota_us"}, map[string]string{
		"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": strconv.Itoa(quota),
	})
}

// setUnits changes the share of the container beside others; nil is the usual one.
func (m *machine) setUnits(ctx context.Context, units *int) error {
	file := "cpu.shares"
	if m.kernel.Kernel.Unified {
		file = "cpu.weight"
	}
	return m.write(ctx, []string{file}, map[string]string{file: strconv.Itoa(cgroup.Units(units, m.kernel.Kernel.Unified))})
}

// setCores brings the number of cores to the container. A set of processors that the
// administrator has fixed stays.
func (m *machine) setCores(ctx context.Context) error {
	fixed := func(l container.RawLine) bool {
		key := container.CurrentKey(l.Key)
		return key == "lxc.cgroup.cpuset.cpus" || key == "lxc.cgroup2.cpuset.cpus"
	}
	if slices.ContainsFunc(container.RawLines(m.doc.Values), fixed) {
		return nil
	}
	cpus, err := m.CPUs(ctx, m.vmid, container.Typed(m.doc.Values))
	if err != nil {
		return err
	}
	if !m.kernel.Kernel.Unified {
		dir, err := m.found.dir("cpuset")
		if err != nil {
			return err
		}
		return bind(dir, cpus)
	}
	if len(cpus) == 0 { // which the kernel does not take from a group with processes
		dir, err := m.found.dir("cpuset")
		if err != nil {
			return err
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), cpusFile+".effective"))
		if err != nil {
			return err
		}
		return m.limits.Write(cpusFile, strings.TrimSpace(string(above)))
	}
	return m.limits.Write(cpusFile, lxcconf.FormatCPUs(cpus))
}

const cpusFile = "cpuset.cpus"

// bind gives a group of version 1, with all below it, a set of processors; nil is all that the
// one above has. A group of version 1 must have all that those below it have, at any moment: so
// first all get what is new besides what they have, from the top, and then lose what is not,
// from the bottom.
func bind(dir string, cpus []int) error {
	if len(cpus) == 0 {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), cpusFile))
		if err != nil {
			return err
		}
		if cpus, err = power.ParseCPUs(string(text)); err != nil {
			return err
		}
	}
	var groups []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the container removes its own as it likes
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, group := range groups {
		err = errors.Join(err, change(group, func(now []int) []int { return slices.Concat(now, cpus) }))
	}
	for _, group := range slices.Backward(groups) {
		err = errors.Join(err, change(group, func([]int) []int { return cpus }))
	}
	return err
}

// change changes the set of processors of one group.
func change(group string, to func([]int) []int) error {
	file := filepath.Join(group, cpusFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := power.ParseCPUs(string(text))
	if err != nil {
		return err
	}
	return writeFile(file, lxcconf.FormatCPUs(to(now)))
}
