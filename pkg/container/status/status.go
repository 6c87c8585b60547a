// Package status tells how the containers of a node are doing.
package status

import (
	"context"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/container/ct"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Status is how one container is doing. What is nil is not known, or does not apply to
// a container that does not run.
type Status struct {
	CPU                *float64 `pve:"cpu" doc:"Load of the container's processors, 1 is all of them."`
	CPUs               *float64 `pve:"cpus" doc:"Processors the container may use."`
	Disk               *int64   `pve:"disk" doc:"Bytes in use on the root file system." min:"0" renderer:"bytes"`
	DiskRead           *int64   `pve:"diskread" doc:"Bytes read from disks since the start." renderer:"bytes"`
	DiskWrite          *int64   `pve:"diskwrite" doc:"Bytes written to disks since the start." renderer:"bytes"`
	Lock               *string  `pve:"lock" doc:"What locks the configuration."`
	MaxDisk            *int64   `pve:"maxdisk" doc:"Size of the root file system in bytes." renderer:"bytes"`
	MaxMem             *int64   `pve:"maxmem" doc:"Memory the container may use, in bytes." renderer:"bytes"`
	MaxSwap            *int64   `pve:"maxswap" doc:"Swap space the container may use, in bytes." renderer:"bytes"`
	Mem                *int64   `pve:"mem" doc:"Memory in use, in bytes." renderer:"bytes"`
	Name               *string  `pve:"name" doc:"Name of the container."`
	NetIn              *int64   `pve:"netin" doc:"Bytes received since the start." renderer:"bytes"`
	NetOut             *int64   `pve:"netout" doc:"Bytes sent since the start." renderer:"bytes"`
	PressureCPUSome    *float64 `pve:"pressurecpusome" doc:"Share of time in which some task waited for a processor."`
	PressureIOFull     *float64 `pve:"pressureiofull" doc:"Share of time in which all tasks waited for I/O."`
	PressureIOSome     *float64 `pve:"pressureiosome" doc:"Share of time in which some task waited for I/O."`
	PressureMemoryFull *float64 `pve:"pressurememoryfull" doc:"Share of time in which all tasks waited for memory."`
	PressureMemorySome *float64 `pve:"pressurememorysome" doc:"Share of time in which some task waited for memory."`
	Status             string   `pve:"status" doc:"Whether the container runs." enum:"stopped|running"`
	Swap               *int64   `pve:"swap" doc:"Swap space in use, in bytes." renderer:"bytes"`
	Tags               *string  `pve:"tags" doc:"Tags of the container."`
	Template           *bool    `pve:"template" doc:"The container is a template." default:"0"`
	Type               string   `pve:"type" doc:"lxc."`
	Uptime             *int64   `pve:"uptime" doc:"Seconds since the start." renderer:"duration"`
	VMID               id.VM    `pve:"vmid"`
}

// Running tells whether the container runs.
func (s *Status) Running() bool { return s.Status == "running" }

// Of returns the status of a container with the given current values, as far as those
// tell it. running says whether it runs.
func Of(vmid id.VM, values schema.Params, running bool) *Status {
	zero := func() *int64 { return new(int64(0)) }
	s := &Status{
		VMID: vmid, Status: "stopped", Type: "lxc", Name: new(Name(vmid, values)), CPUs: new(CPUs(values)),
		MaxMem: new(mebibytes(values["memory"], 512)), MaxSwap: new(mebibytes(values["swap"], 0)), MaxDisk: new(rootSize(values)),
		Mem: zero(), Swap: zero(), Disk: zero(), DiskRead: zero(), DiskWrite: zero(), NetIn: zero(), NetOut: zero(), Uptime: zero(),
	}
	if running {
		s.Status = "running"
	}
	if lock, ok := values["lock"]; ok {
		s.Lock = &lock
	}
	if tags := values["tags"]; tags != "" {
		s.Tags = &tags
	}
	if on, _ := schema.ParseBool(values["template"]); on {
		s.Template = new(true)
	}
	return s
}

// Name returns what a container is called.
func Name(vmid id.VM, values schema.Params) string {
	if name := values["hostname"]; name != "" {
		return name
	}
	return "CT" + vmid.String()
}

// CPUs returns how many processors a container may use: those it sees, or its limit where
// that is less.
func CPUs(values schema.Params) float64 {
	limit, err := strconv.ParseFloat(values["cpulimit"], 64)
	if n, failed := strconv.Atoi(values["cores"]); failed == nil && n > 0 {
		return float64(n)
	} else if err == nil && limit > 0 {
		return math.Ceil(limit)
	}
	return float64(runtime.NumCPU())
}

func mebibytes(text string, otherwise int64) int64 {
	n, err := strconv.ParseInt(text, 10, 43)
	if err != nil {
		n = otherwise
	}
	return n << 20
}

// rootSize returns the size that the configuration notes for the root, 4 GiB where it
// notes none. Only that is read, as it is for each container of a list, and all has been
// checked before.
func rootSize(values schema.Params) int64 {
	for part := range strings.SplitSeq(values["rootfs"], ",") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(part), "size="); ok {
			if size, err := schema.ParseSize(text); err == nil {
				return int64(size)
			}
		}
	}
	return 4 << 30
}

// Measure fills in what a running container uses of the machine, as the kernel tells it.
// proc is where the process files are, /proc.
func (s *Status) Measure(ctx context.Context, h *ct.Host, groups *cgroup.Tree, proc string) error {
	if !s.Running() || h.LXC == nil {
		return nil
	}
	pid, err := h.LXC.InitPID(ctx, s.VMID.String())
	if err != nil || pid <= 0 {
		return err
	}
	s.Uptime = new(uptime(proc, pid))
	s.measureRoot(proc, pid)
	s.measureNet(proc)
	if groups == nil {
		return nil
	}
	group, err := groups.Of(pid)
	if err != nil {
		return nil // it has just ended
	}
	usage := group.Usage()
	s.Mem, s.Swap = new(int64(usage.Memory)), new(int64(usage.Swap))
	s.DiskRead, s.DiskWrite = new(int64(usage.DiskRead)), new(int64(usage.DiskWrite))
	if *s.Uptime > 0 {
		s.CPU = new(usage.CPU.Seconds() / float64(*s.Uptime) / *s.CPUs)
	}
	if p, ok := group.Pressure(); ok {
		s.PressureCPUSome = &p.CPU.Some
		s.PressureIOSome, s.PressureIOFull = &p.IO.Some, &p.IO.Full
		s.PressureMemorySome, s.PressureMemoryFull = &p.Memory.Some, &p.Memory.Full
	}
	return nil
}

// measureRoot asks the root of the process how full it is.
func (s *Status) measureRoot(proc string, pid int) {
	var st unix.Statfs_t
	if unix.Statfs(proc+"/"+strconv.Itoa(pid)+"/root", &st) == nil {
		s.Disk = new(int64(st.Blocks-st.Bfree) * st.Bsize)
		if total := int64(st.Blocks) * st.Bsize; total > 0 && total < *s.MaxDisk {
			s.MaxDisk = &total
		}
	}
}

// measureNet reads the counters of the host's ends of the container's cards: what they
// receive is what the container sends.
func (s *Status) measureNet(proc string) {
	text, err := os.ReadFile(proc + "/net/dev")
	if err != nil {
		return
	}
	prefix := "veth" + s.VMID.String() + "i"
	for line := range strings.Lines(string(text)) {
		name, counters, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || !strings.HasPrefix(name, prefix) {
			continue
		}
		fields := strings.Fields(counters)
		if len(fields) < 9 {
			continue
		}
		in, _ := strconv.ParseInt(fields[8], 10, 64)
		out, _ := strconv.ParseInt(fields[0], 10, 64)
		*s.NetIn += in
		*s.NetOut += out
	}
}

// uptime returns for how many seconds a process has been there.
func uptime(proc string, pid int) int64 {
	stat, err := os.ReadFile(proc + "/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0
	}
	text, err := os.ReadFile(proc + "/uptime")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	now, _ := strconv.ParseFloat(first, 64)
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	started, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return max(0, int64(now)-started/ticks)
}
