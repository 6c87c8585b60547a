package cmdline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/virtsmith/virtsmith/pkg/qemu"
)

// What memory hotplug starts from, in MiB, and its limits.
const (
	staticMemory = 1024
	maxMemory    = 4 * 1024 * 1024
	numaNodes    = 8
)

// HugePages are pages of the kernel that a VM needs on a NUMA node of the host.
type HugePages struct {
	Size  int // MiB of a page
	Node  int // of the host, -1 for any
	Count int
}

// memory sets the memory, its NUMA nodes and its hot-pluggable modules.
func (c *composer) memory() error {
	total := 512
	if c.conf.Memory != nil {
		total = c.conf.Memory.Current
	}
	numa := flag(c.conf.NUMA, false)
	shared := len(c.conf.VirtioFS) > 0
	huge := str(c.conf.HugePages, "")
	static := total
	sockets := max(1, num(c.conf.Sockets, num(c.conf.SMP, 1)))
	if c.hotplug["memory"] {
		if shared {
			return errors.New("Memory hotplug does not work in combination with virtio-fs.")
		}
		static = staticMemory
		if huge == "1024" {
			static *= sockets
		}
		if err := c.hotplugMemory(total, static); err != nil {
			return err
		}
	} else {
		c.arg("-m", itoa(static))
	}
	if huge != "" && !numa {
		return errors.New("numa needs to be enabled to use hugepages")
	}
	switch {
	case numa:
		if err := c.numa(static, sockets); err != nil {
			return err
		}
	case shared:
		c.arg("-object", option("memory-backend-memfd", "id", "virtiofs-mem", "size", itoa(total)+"M", "share", "on"))
		c.flags = append(c.flags, "memory-backend=virtiofs-mem")
	}
	if !flag(c.conf.AllowKSM, true) {
		c.flags = append(c.flags, "mem-merge=off")
	}
	if c.hotplug["memory"] {
		return c.modules(total, static)
	}
	return nil
}

// hotplugMemory checks what memory hotplug asks for, and reserves room for it.
func (c *composer) hotplugMemory(total, static int) error {
	if !flag(c.conf.NUMA, false) {
		return errors.New("NUMA needs to be enabled for memory hotplug")
	}
	most := c.maxMemory()
	if total > most {
		return fmt.Errorf("Total memory is bigger than %dMB", most)
	}
	if len(c.conf.NUMANode) > 0 {
		return errors.New("cannot enable memory hotplugging with custom NUMA topology")
	}
	if total < static {
		return fmt.Errorf("minimum memory must be %dMB", static)
	}
	c.arg("-m", fmt.Sprintf("size=%d,slots=255,maxmem=%dM", static, most))
	return nil
}

// maxMemory is the most memory, in MiB, that fits the addresses of the guest's
// CPU: half of them, as QEMU needs some itself.
func (c *composer) maxMemory() int {
	bits, cpu := min(40, c.host.physBits()), c.conf.CPU
	if cpu == nil {
		cpu = &qemu.CPU{}
	}
	switch width := str(cpu.PhysBits, ""); {
	case width == "host":
		bits = c.host.physBits()
	case width != "":
		bits = number(width)
	case str(cpu.Type, "") == "host" || str(cpu.Type, "") == "max":
		bits = c.host.physBits()
	}
	bits &^= 1
	if bits < 22 {
		return 1
	}
	return min(maxMemory, 1<<(min(bits, 60)-21))
}

// numa spreads memory and CPUs over NUMA nodes: as configured, or a node a socket.
func (c *composer) numa(static, sockets int) error {
	total := 0.0
	for n := range numaNodes {
		node, ok := c.conf.NUMANode[n]
		if !ok {
			continue
		}
		if node.Memory == nil || *node.Memory == 0 {
			return fmt.Errorf("missing NUMA node%d memory value", n)
		}
		total += *node.Memory
		if err := c.numaNode(n, node); err != nil {
			return err
		}
	}
	if total != 0 && total != float64(static) {
		return errors.New("total memory for NUMA nodes must be equal to vm static memory")
	}
	if total != 0 {
		return nil
	}
	cores := max(1, num(c.conf.Cores, 1))
	for n := range sockets {
		if c.conf.HugePages != nil && c.host.NUMANode != nil && !c.host.NUMANode(n) {
			return fmt.Errorf("host NUMA node%d doesn't exist", n)
		}
		size := static / sockets
		if n < static%sockets {
			size++ // what does not divide goes to the first ones
		}
		cpus := itoa(n * cores)
		if cores > 1 {
			cpus += fmt.Sprintf("-%d", n*cores+cores-1)
		}
		if err := c.memoryNode(n, size, n, []string{"cpus", cpus}, ""); err != nil {
			return err
		}
	}
	return nil
}

// numaNode adds a NUMA node as configured.
func (c *composer) numaNode(n int, node qemu.NUMANode) error {
	var cpus []string
	for part := range strings.SplitSeq(node.CPUs, ";") {
		cpus = append(cpus, "cpus", part)
	}
	more, host := "", -1
	if node.HostNodes != nil {
		var nodes []string
		for part := range strings.SplitSeq(*node.HostNodes, ";") {
			nodes = append(nodes, part)
			first, last, _ := strings.Cut(part, "-")
			for id := number(first); c.host.NUMANode != nil && id <= max(number(first), min(number(last), number(first)+64)); id++ {
				if !c.host.NUMANode(id) {
					return fmt.Errorf("host NUMA node%d doesn't exist", id)
				}
			}
		}
		if node.Policy == nil {
			return fmt.Errorf("you need to define a policy for hostnode %s", strings.Join(nodes, ","))
		}
		for _, part := range nodes {
			more += ",host-nodes=" + part
		}
		more += ",policy=" + *node.Policy
		host = number(strings.SplitN(nodes[0], "-", 2)[0])
	} else if c.conf.HugePages != nil {
		return errors.New("numa hostnodes need to be defined to use hugepages")
	}
	size := *node.Memory
	if size != float64(int(size)) || size < 1 || size > maxMemory {
		return fmt.Errorf("numa%d: memory '%s' is not a number of mebibytes", n, strconv.FormatFloat(size, 'f', -1, 64))
	}
	return c.memoryNode(n, int(size), host, cpus, more)
}

// memoryNode adds a NUMA node of the guest with its memory.
func (c *composer) memoryNode(n, size, host int, cpus []string, more string) error {
	id := fmt.Sprintf("ram-node%d", n)
	if len(c.conf.VirtioFS) > 0 {
		id = fmt.Sprintf("virtiofs-mem%d", n)
	}
	backend, err := c.backend(id, size, host)
	if err != nil {
		return err
	}
	c.arg("-object", backend+more)
	c.arg("-numa", option("node", append(append([]string{"nodeid", itoa(n)}, cpus...), "memdev", id)...))
	return nil
}

// backend is memory of a size in MiB, and where it comes from.
func (c *composer) backend(id string, size, host int) (string, error) {
	switch {
	case c.conf.HugePages != nil:
		page, err := c.pageSize(size)
		if err != nil {
			return "", err
		}
		c.reserve(page, host, size/page)
		path := fmt.Sprintf("/run/hugepages/kvm/%dkB", page*1024)
		return option("memory-backend-file", "id", id, "size", itoa(size)+"M", "mem-path", path, "share", "on", "prealloc", "yes"), nil
	case len(c.conf.VirtioFS) > 0:
		return option("memory-backend-memfd", "id", id, "size", itoa(size)+"M", "share", "on"), nil
	}
	return option("memory-backend-ram", "id", id, "size", itoa(size)+"M"), nil
}

// reserve notes huge pages to reserve before QEMU starts.
func (c *composer) reserve(page, host, count int) {
	for i := range c.out.HugePages {
		if h := &c.out.HugePages[i]; h.Size == page && h.Node == host {
			h.Count += count
			return
		}
	}
	c.out.HugePages = append(c.out.HugePages, HugePages{Size: page, Node: host, Count: count})
}

// pageSize returns the size of huge pages, in MiB, for memory of a size.
func (c *composer) pageSize(size int) (int, error) {
	has := func(page int) bool { return c.host.HugePages == nil || c.host.HugePages(page) }
	if !has(2) && !has(1024) {
		return 0, errors.New("your system doesn't support hugepages")
	}
	if *c.conf.HugePages == "any" {
		switch {
		case has(1024) && size%1024 == 0:
			return 1024, nil
		case has(2) && size%2 == 0:
			return 2, nil
		case has(1024) && !has(2):
			return 0, fmt.Errorf("host only supports 1GB hugepages, but VM size '%dMB' can't be mapped in multiple of 1GB", size)
		}
		return 0, fmt.Errorf("VM size '%dMB' can't be mapped in multiple of 2MB", size)
	}
	page := number(*c.conf.HugePages)
	if !has(page) {
		return 0, fmt.Errorf("hugepages: the host has no pages of %dMB", page)
	}
	if size%page != 0 {
		return 0, fmt.Errorf("Memory size (%d) is not a multiple of the requested hugepages size (%d)", size, page)
	}
	return page, nil
}

// A Module is hot-pluggable memory.
type Module struct {
	Name string
	Size int // MiB
	Node int // of the guest
	Sum  int // memory of the guest with this one and those before it
}

// Modules lists the memory modules of a guest with total MiB that starts with
// static: 32 of a size, then 32 of twice that. The last may exceed the total.
func Modules(total, static, first, nodes int) []Module {
	var list []Module
	size, sum := first, static
	for range numaNodes {
		for i := range 32 {
			if sum >= total {
				return list
			}
			sum += size
			list = append(list, Module{Name: fmt.Sprintf("dimm%d", len(list)), Size: size, Node: i % max(1, nodes), Sum: sum})
		}
		size *= 2
	}
	return list
}

// modules adds the memory beyond what the guest starts with.
func (c *composer) modules(total, static int) error {
	first := 512
	if str(c.conf.HugePages, "") == "1024" {
		first = 1024
	}
	for _, m := range Modules(total, static, first, max(1, num(c.conf.Sockets, 1))) {
		backend, err := c.backend("mem-"+m.Name, m.Size, m.Node)
		if err != nil {
			return err
		}
		c.arg("-object", backend)
		c.arg("-device", option("pc-dimm", "id", m.Name, "memdev", "mem-"+m.Name, "node", itoa(m.Node)))
	}
	return nil
}
