package lxcconf

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
)

// What a container has that says nothing of it, in MiB. Upstream's schema promises more swap,
// and its commands write it into each new configuration; a file without means none.
const (
	DefaultMemory = 512
	DefaultSwap   = 0
)

const (
	mebibyte = 1 << 20
	period   = 100_000 // of the handing out of processor time, in microseconds
)

// group adds a line for a file of the container's control group.
func (b *maker) group(file, value string) {
	prefix := "lxc.cgroup."
	if b.Kernel.Unified {
		prefix = "lxc.cgroup2."
	}
	b.add(prefix+file, value)
}

// limits sets what the container may use of the machine.
func (b *maker) limits() {
	c := b.Config
	memory, swap := DefaultMemory, DefaultSwap
	if c.Memory != nil {
		memory = *c.Memory
	}
	if c.Swap != nil {
		swap = *c.Swap
	}
	for _, w := range MemoryLimits(memory, swap, b.Kernel.Unified, b.SwapLimit) {
		b.group(w[0], w[1])
	}
	if c.CPULimit != nil && *c.CPULimit > 0 {
		quota := strconv.Itoa(int(*c.CPULimit * period))
		if b.Kernel.Unified {
			b.group("cpu.max", quota+" "+strconv.Itoa(period))
		} else {
			b.group("cpu.cfs_period_us", strconv.Itoa(period))
			b.group("cpu.cfs_quota_us", quota)
		}
	}
	if c.CPUUnits != nil {
		file := "cpu.shares"
		if b.Kernel.Unified {
			file = "cpu.weight"
		}
		b.group(file, strconv.Itoa(cgroup.Units(c.CPUUnits, b.Kernel.Unified)))
	}
	if len(b.CPUs) > 0 && !b.rawHas("lxc.cgroup.cpuset.cpus", "lxc.cgroup2.cpuset.cpus") {
		b.group("cpuset.cpus", FormatCPUs(b.CPUs))
	}
}

// MemoryLimits lists the files that limit memory and swap, given in MiB, with what to write to
// them. The order is that for a group without limits.
func MemoryLimits(memory, swap int, unified, swapLimit bool) [][2]string {
	number := func(n int) string { return strconv.Itoa(n) }
	bytes := memory * mebibyte
	if unified {
		// A little below the limit the kernel begins to press, before it has to kill: 128 MiB,
		// or less of a limit that is not large.
		return [][2]string{
			{"memory.max", number(bytes)},
			{"memory.high", number(bytes - min(bytes/128, 128*mebibyte))},
			{"memory.swap.max", number(swap * mebibyte)},
		}
	}
	files := [][2]string{{"memory.limit_in_bytes", number(bytes)}}
	if swapLimit {
		files = append(files, [2]string{"memory.memsw.limit_in_bytes", number(bytes + swap*mebibyte)})
	}
	return files
}

// FormatCPUs writes a set of processors as the kernel does: 0-3,6.
func FormatCPUs(cpus []int) string {
	cpus = slices.Compact(slices.Sorted(slices.Values(cpus)))
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		part := strconv.Itoa(cpus[i])
		if j > i {
			part += "-" + strconv.Itoa(cpus[j])
		}
		parts, i = append(parts, part), j+1
	}
	return strings.Join(parts, ",")
}

// allowed are the devices that every container has: null, zero, full, tty, console, ptmx,
// random, urandom and pseudo terminals. Nodes of any may be made, but not opened.
func allowed() []string {
	return []string{
		"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm",
		"c 1:8 rwm", "c 1:9 rwm", "c 136:* rwm", "c 10:229 rwm",
	}
}

// devices says which devices may be opened, and hands nodes through. In a user namespace no nodes
// can be made, so those that are there are those that were given: only what must not be written
// to needs a rule. With control groups of version 2, LXC takes one such rule for leave to nothing
// else, or lets a file be opened to be read and written at once; so all that is allowed is named.
func (b *maker) devices() {
	named := !b.unprivileged()
	for n := range b.Nodes {
		named = named || b.Kernel.Unified && is(b.Config.Device[n].DenyWrite)
	}
	if named {
		b.group("devices.deny", "a")
		for _, rule := range allowed() {
			if !b.locked(rule) {
				b.group("devices.allow", rule)
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(b.Nodes)) {
		node, d := b.Nodes[n], b.Config.Device[n]
		number := node.Type() + " " + node.Number()
		switch {
		case named && is(d.DenyWrite):
			b.group("devices.allow", number+" r")
		case named:
			b.group("devices.allow", number+" rw")
		case is(d.DenyWrite):
			b.group("devices.deny", number+" w")
		}
		// The hook makes the node there, as the container is to have it.
		b.add("lxc.mount.entry", NodeEntry(b.Dir, node.Path))
	}
}

// NodeEntry says, as fstab(5) has it, that LXC mounts the node of a device, made below the
// folder [Passthrough] of a container's, at its own path.
func NodeEntry(dir, path string) string {
	path = strings.TrimPrefix(path, "/")
	return field(dir+"/"+Passthrough+"/"+path) + " " + field(path) + " none bind,create=file 0 0"
}

// locked tells whether a rule would let the container write to a device that it must not.
func (b *maker) locked(rule string) bool {
	for n, node := range b.Nodes {
		if is(b.Config.Device[n].DenyWrite) && rule == node.Type()+" "+node.Number()+" rwm" {
			return true
		}
	}
	return false
}

// field writes a path as fstab(5) has it.
func field(path string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
}
