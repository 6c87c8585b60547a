// Package status tells how the VMs of a node are doing.
package status

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qemu"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/schema"
)

// Status is how one VM is doing. What is nil is not known, or does not apply to a
// VM that does not run.
type Status struct {
	CPU                *float64 `pve:"cpu" doc:"Load of the VM's processors, 1 is all of them."`
	CPUs               *float64 `pve:"cpus" doc:"Processors the VM may use."`
	Disk               *int64   `pve:"disk" doc:"Bytes in use on the root disk; not known of VMs."`
	DiskRead           *int64   `pve:"diskread" doc:"Bytes read from disks since the start." renderer:"bytes"`
	DiskWrite          *int64   `pve:"diskwrite" doc:"Bytes written to disks since the start." renderer:"bytes"`
	Lock               *string  `pve:"lock" doc:"What locks the configuration."`
	MaxDisk            *int64   `pve:"maxdisk" doc:"Size of the boot disk in bytes." renderer:"bytes"`
	MaxMem             *int64   `pve:"maxmem" doc:"Memory the VM may have, in bytes." renderer:"bytes"`
	Mem                *int64   `pve:"mem" doc:"Memory in use, in bytes." renderer:"bytes"`
	MemHost            *int64   `pve:"memhost" doc:"Memory the VM takes on the node, in bytes." renderer:"bytes"`
	Name               *string  `pve:"name" doc:"Name of the VM."`
	NetIn              *int64   `pve:"netin" doc:"Bytes received since the start." renderer:"bytes"`
	NetOut             *int64   `pve:"netout" doc:"Bytes sent since the start." renderer:"bytes"`
	PID                *int     `pve:"pid" doc:"Process id of QEMU."`
	PressureCPUFull    *float64 `pve:"pressurecpufull" doc:"Share of time in which all tasks waited for a processor."`
	PressureCPUSome    *float64 `pve:"pressurecpusome" doc:"Share of time in which some task waited for a processor."`
	PressureIOFull     *float64 `pve:"pressureiofull" doc:"Share of time in which all tasks waited for I/O."`
	PressureIOSome     *float64 `pve:"pressureiosome" doc:"Share of time in which some task waited for I/O."`
	PressureMemoryFull *float64 `pve:"pressurememoryfull" doc:"Share of time in which all tasks waited for memory."`
	PressureMemorySome *float64 `pve:"pressurememorysome" doc:"Share of time in which some task waited for memory."`
	QMPStatus          *string  `pve:"qmpstatus" doc:"What QEMU says of its state."`
	RunningMachine     *string  `pve:"running-machine" doc:"Machine type of the running VM."`
	RunningQEMU        *string  `pve:"running-qemu" doc:"Version of the running QEMU."`
	Serial             *bool    `pve:"serial" doc:"The VM has a serial port."`
	Status             string   `pve:"status" doc:"Whether QEMU runs." enum:"stopped|running"`
	Tags               *string  `pve:"tags" doc:"Tags of the VM."`
	Template           *bool    `pve:"template" doc:"The VM is a template." default:"0"`
	Uptime             *int64   `pve:"uptime" doc:"Seconds since the start." renderer:"duration"`
	VMID               id.VM    `pve:"vmid"`
}

// Running tells whether QEMU runs.
func (s *Status) Running() bool { return s.Status == "running" }

// Of returns the status of the VM with the given current values, as far as its
// configuration and the processes of the node tell it.
func Of(vm id.VM, values schema.Params, dir process.Dir, now time.Time) (*Status, error) {
	s := &Status{
		VMID: vm, Status: "stopped", QMPStatus: new("stopped"),
		Name: new(Name(vm, values)), CPUs: new(float64(CPUs(values))), MaxMem: new(Memory(values) << 20),
		Mem: new(int64(0)), MemHost: new(int64(0)), NetIn: new(int64(0)), NetOut: new(int64(0)), Uptime: new(int64(0)),
		Disk: new(int64(0)), MaxDisk: new(bootDiskSize(values)),
	}
	if lock, ok := values["lock"]; ok {
		s.Lock = &lock
	}
	if tags := values["tags"]; tags != "" {
		s.Tags = &tags
	}
	if isTrue(values["template"]) {
		s.Template = new(true)
	}
	for n := range 4 {
		if _, ok := values["serial"+strconv.Itoa(n)]; ok {
			s.Serial = new(true)
		}
	}
	pid, err := dir.Running(vm)
	if err != nil || pid == 0 {
		return s, err
	}
	s.Status, s.QMPStatus, s.PID = "running", new("running"), &pid
	s.readProcess(pid, now)
	return s, nil
}

// Name returns what a VM is called.
func Name(vm id.VM, values schema.Params) string {
	if name := values["name"]; name != "" {
		return name
	}
	return "VM " + vm.String()
}

// CPUs returns how many processors a VM has when it starts.
func CPUs(values schema.Params) int {
	if n := number(values["vcpus"], 0); n > 0 {
		return n
	}
	return number(values["sockets"], 1) * number(values["cores"], 1)
}

// Memory returns the memory of a VM in MiB.
func Memory(values schema.Params) int64 {
	var m qemu.Memory
	if text, ok := values["memory"]; ok && schema.Parse(text, &m) == nil {
		return int64(m.Current)
	}
	return 512
}

func number(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func isTrue(text string) bool {
	value, _ := schema.ParseBool(text)
	return value
}

// bootDiskSize returns the size that the configuration notes for the first disk
// of the boot order, 0 where there is none. It reads no more of the values than it
// needs: a list asks it for each VM.
func bootDiskSize(values schema.Params) int64 {
	text := values[bootDisk(values)]
	if strings.Contains(text, "media=cdrom") {
		return 0
	}
	_, rest, _ := strings.Cut(text, ",size=")
	word, _, _ := strings.Cut(rest, ",")
	size, err := schema.ParseSize(word)
	if err != nil {
		return 0
	}
	return int64(size)
}

// bootDisk returns the option of the disk that the VM boots from, empty where it
// has none.
func bootDisk(values schema.Params) string {
	order, ok := strings.CutPrefix(values["boot"], "order=")
	if !ok {
		return values["bootdisk"]
	}
	for device := range strings.SplitSeq(order, ";") {
		if qemu.KindOfDrive(device) == qemu.Disks && !strings.Contains(values[device], "media=cdrom") {
			return device
		}
	}
	return ""
}

// readProcess fills in what the kernel says of the QEMU process.
func (s *Status) readProcess(pid int, now time.Time) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return
	}
	boot := bootTime()
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	if started, err := strconv.ParseInt(fields[19], 10, 64); err == nil && boot > 0 {
		s.Uptime = new(max(0, now.Unix()-boot-started/ticks))
	}
	if pages, err := strconv.ParseInt(fields[21], 10, 64); err == nil {
		resident := pages * int64(os.Getpagesize())
		s.MemHost, s.Mem = new(resident), new(min(resident, *s.MaxMem))
	}
}

// bootTime returns when the machine was started, in seconds since 1970.
func bootTime() int64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(text), "\nbtime ")
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseInt(line, 10, 64)
	return n
}

// patience is how long QEMU may take to say how it is: one that waits for a dead
// storage never does, and its status is what is asked for then.
const patience = 3 * time.Second

// Ask fills in what only QEMU itself can say.
func (s *Status) Ask(ctx context.Context, dir process.Dir) error {
	if !s.Running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := dir.Dial(ctx, s.VMID)
	if err != nil {
		return err
	}
	defer m.Close()
	state, err := m.Status(ctx)
	if err != nil {
		return err
	}
	s.QMPStatus = &state.Status
	return s.askMore(ctx, m)
}
