package main_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkCommand times whole processes, from the call to the exit, in worlds of 1, 1,000
// and 10,000 guests. Each run of a command follows one of a Go program that does nothing, which is
// what a process costs here and now; the metrics are medians. Memory is the most that the process
// had at once.
func BenchmarkCommand(b *testing.B) {
	dir := b.TempDir()
	qm, nothing := build(b, dir, "."), empty(b, dir)
	for _, guests := range []int{1, 1000, 10000} {
		root := filepath.Join(dir, strconv.Itoa(guests))
		generate(b, root, guests)
		last := strconv.Itoa(99 + guests)
		for _, c := range []struct {
			name string
			args []string
			line string // to complete
		}{
			{name: "status", args: []string{"status", last}},
			{name: "config", args: []string{"config", last}},
			{name: "list", args: []string{"list"}},
			{name: "showcmd", args: []string{"showcmd", last}},
			{name: "completion", line: "qm start 1"},
		} {
			b.Run(fmt.Sprintf("%s/guests=%d", c.name, guests), func(b *testing.B) {
				p := process{path: qm, args: c.args, env: append(os.Environ(), "VIRTSMITH_ROOT="+root, "VIRTSMITH_NODE=pve1")}
				if c.line != "" {
					p.args = []string{"qm", "1", "start"}
					p.env = append(p.env, "COMP_LINE="+c.line, "COMP_POINT="+strconv.Itoa(len(c.line)))
					p.path = link(b, qm)
				}
				p.bench(b, process{path: nothing})
			})
		}
	}
}

// A process is a program to be timed.
type process struct {
	path string
	args []string
	env  []string
}

func (p process) command() *exec.Cmd {
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = p.env
	return cmd
}

func (p process) bench(b *testing.B, other process) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil && slices.Contains(p.args, "showcmd") {
		b.Skip("no qemu-system-x86_64 on this machine")
	}
	if out, err := p.command().CombinedOutput(); err != nil || len(out) == 0 { // warms up
		b.Fatalf("%v: %v: %s", p.args, err, out)
	}
	var ours, theirs, busy []time.Duration
	for b.Loop() {
		took, _ := other.time(b)
		theirs = append(theirs, took)
		took, cpu := p.time(b)
		ours, busy = append(ours, took), append(busy, cpu)
	}
	b.ReportMetric(0, "ns/op") // of both: means nothing
	b.ReportMetric(median(busy).Seconds()*1000, "ms-cpu")
	b.ReportMetric(median(ours).Seconds()*1000, "ms")
	b.ReportMetric(median(theirs).Seconds()*1000, "ms-empty")
	b.ReportMetric(float64(median(ours))/float64(median(theirs)), "x-empty")
	peak, err := p.peak()
	if err != nil {
		b.Logf("peak memory: %v", err)
		return
	}
	b.ReportMetric(float64(peak)/1024, "MiB")
}

// time returns how long a run takes, and for how long it had a processor.
func (p process) time(b *testing.B) (took, cpu time.Duration) {
	b.Helper()
	cmd := p.command()
	begun := time.Now()
	err := cmd.Run()
	took = time.Since(begun)
	if err != nil {
		b.Fatal(err)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// peak returns the KiB that a run has at most. What wait4(2) tells of a child counts the memory it
// shared with us before it was another program, so it is held at its exit and looked at.
func (p process) peak() (kib int, err error) {
	runtime.LockOSThread() // the kernel knows a thread as the tracer
	defer runtime.UnlockOSThread()
	cmd := p.command()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Process.Release() }()
	pid := cmd.Process.Pid
	const exits = 0x40 // PTRACE_O_TRACEEXIT
	for first := true; ; first = false {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, syscall.WALL, nil); err != nil {
			return 0, err
		}
		switch {
		case status.Exited(), status.Signaled():
			return kib, nil
		case first:
			if err := syscall.PtraceSetOptions(pid, exits); err != nil {
				return 0, err
			}
		case status.TrapCause() == 6: // PTRACE_EVENT_EXIT
			if kib, err = highWater(pid); err != nil {
				return 0, err
			}
		}
		pass := 0
		if s := status.StopSignal(); s != syscall.SIGTRAP {
			pass = int(s)
		}
		if err := syscall.PtraceCont(pid, pass); err != nil {
			return 0, err
		}
	}
}

func highWater(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		}
	}
	return 0, errors.New("the kernel does not tell")
}

// build makes a program as `make build` does.
func build(b *testing.B, dir, source string) string {
	b.Helper()
	path := filepath.Join(dir, filepath.Base(source)+".bin")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build: %v: %s", err, out)
	}
	return path
}

// empty makes a program that does nothing.
func empty(b *testing.B, dir string) string {
	b.Helper()
	source := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	return build(b, dir, source)
}

// link gives the program its name, by which it knows that the shell calls it to complete.
func link(b *testing.B, path string) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "qm")
	if err := os.Symlink(path, name); err != nil {
		b.Fatal(err)
	}
	return name
}

// guestConfig is the configuration of guest n.
const guestConfig = `#Guest %[1]d%%0Aof a bench
agent: 1
boot: order=scsi0;ide2;net0
cores: 2
cpu: x86-64-v2-AES
ide2: none,media=cdrom
memory: %[2]d
meta: creation-qemu=10.1.2,ctime=1749000000
name: guest-%[1]d
net0: virtio=BC:24:11:%02[3]X:%02[4]X:01
numa: 0
onboot: 1
ostype: l26
parent: before
scsi0: local:%[1]d/vm-%[1]d-disk-0.qcow2,discard=on,iothread=1,size=32G
scsi1: local:%[1]d/vm-%[1]d-disk-1.qcow2,iothread=1,size=100G
scsihw: virtio-scsi-single
serial0: socket
smbios1: uuid=11111111-2222-4333-8444-%012[1]d
sockets: 1
tags: bench;web
vmgenid: aaaaaaaa-bbbb-4ccc-8ddd-%012[1]d

[before]
boot: order=scsi0;ide2;net0
cores: 1
memory: %[2]d
name: guest-%[1]d
ostype: l26
scsi0: local:%[1]d/vm-%[1]d-disk-0.qcow2,discard=on,iothread=1,size=32G
scsihw: virtio-scsi-single
snaptime: 1749000000
sockets: 1
`

// generate makes a world with so many guests from 100 on.
func generate(b *testing.B, root string, guests int) {
	b.Helper()
	dir := filepath.Join(root, "etc/pve/nodes/pve1/qemu-server")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for n := 100; n < 100+guests; n++ {
		text := fmt.Sprintf(guestConfig, n, 512<<(n%4), n>>8&0xff, n&0xff)
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)+".conf"), []byte(text), 0o640); err != nil {
			b.Fatal(err)
		}
	}
}
