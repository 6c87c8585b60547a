package power

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/container"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/lxc"
)

// cgroups is where the control groups of a machine are.
const cgroups = "/sys/fs/cgroup"

// CPUSet returns the processors that a running container may use, nil where the kernel does
// not tell.
func CPUSet(vmid id.VM) ([]int, error) {
	group := lxc.PayloadGroup(vmid.String())
	for _, file := range []string{
		filepath.Join(cgroups, "cpuset", group, "cpuset.cpus"),
		filepath.Join(cgroups, group, "cpuset.cpus.effective"),
	} {
		cpus, err := readCPUs(file)
		if err != nil || cpus != nil {
			return cpus, err
		}
	}
	return nil, nil
}

// ParseCPUs reads a set of processors as the kernel writes it: 0-3,6.
func ParseCPUs(text string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 16)
		high, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || high < low {
			return nil, fmt.Errorf("'%s' is no set of processors", text)
		}
		for n := low; n <= high; n++ {
			cpus = append(cpus, int(n))
		}
	}
	return cpus, nil
}

func readCPUs(file string) ([]int, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseCPUs(string(text))
}

// available are the processors that containers may use.
func available() ([]int, error) {
	for _, file := range []string{cgroups + "/cpuset/cpuset.effective_cpus", cgroups + "/cpuset/cpuset.cpus", cgroups + "/cpuset.cpus.effective", "/sys/devices/system/cpu/online"} {
		if cpus, err := readCPUs(file); err != nil || len(cpus) > 0 {
			return cpus, err
		}
	}
	return nil, nil
}

// PickCPUs chooses the processors that a container with the option cores runs on: those that
// the fewest running containers are bound to. nil means all.
func (s *Service) PickCPUs(ctx context.Context, vmid id.VM, conf *container.Config) ([]int, error) {
	if conf.Cores == nil {
		return nil, nil
	}
	all, err := available()
	if err != nil || *conf.Cores >= len(all) {
		return nil, err
	}
	active, err := s.Active(ctx)
	if err != nil {
		return nil, err
	}
	bound := map[int]int{}
	for name := range active {
		other, err := strconv.Atoi(name)
		if err != nil || id.VM(other) == vmid {
			continue
		}
		cpus, err := CPUSet(id.VM(other))
		if err != nil || len(cpus) >= len(all) {
			continue
		}
		for _, cpu := range cpus {
			bound[cpu]++
		}
	}
	return leastBound(all, bound, *conf.Cores, int(vmid)), nil
}

// leastBound returns n processors that have the fewest bound to them. Where that does not
// decide, it begins with another one for each container: many may start at once.
func leastBound(all []int, bound map[int]int, n, vmid int) []int {
	from := vmid % len(all)
	order := slices.Concat(all[from:], all[:from])
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(bound[a], bound[b]) })
	return slices.Sorted(slices.Values(order[:n]))
}
