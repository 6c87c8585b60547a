// Package stopwatch times whole processes, from the call to the exit.
package stopwatch

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

// A Process is a program to be timed.
type Process struct {
	Path string
	Args []string
	Env  []string
}

func (p Process) command() *exec.Cmd {
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = p.Env
	return cmd
}

// Bench times p, each run after one of other: what a process costs here and now. The metrics
// are medians, and the most memory that a run had at once.
func (p Process) Bench(b *testing.B, other Process) {
	b.Helper()
	if out, err := p.command().CombinedOutput(); err != nil || len(out) == 0 { // warms up
		b.Fatalf("%v: %v: %s", p.Args, err, out)
	}
	var ours, theirs, busy []time.Duration
	for b.Loop() {
		took, _ := other.Time(b)
		theirs = append(theirs, took)
		took, cpu := p.Time(b)
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

// Time returns how long a run takes, and for how long it had a processor.
func (p Process) Time(b *testing.B) (took, cpu time.Duration) {
	b.Helper()
	cmd := p.command()
	begun := time.Now()
	err := cmd.Run()
	took = time.Since(begun)
	if err != nil {
		b.Fatalf("%s %v: %v", p.Path, p.Args, err)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// Median returns the one in the middle, in milliseconds.
func Median(all []time.Duration) float64 { return median(slices.Clone(all)).Seconds() * 1000 }

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// peak returns the KiB that a run has at most. What wait4(2) tells of a child counts the memory it
// shared with us before it was another program, so it is held at its exit and looked at.
func (p Process) peak() (kib int, err error) {
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

// Build makes a program as `make build` does.
func Build(b *testing.B, dir, source string) string {
	b.Helper()
	return build(b, dir, source, "0")
}

// BuildLinked makes one that is linked with liblxc where that is installed, as `make build` does.
func BuildLinked(b *testing.B, dir, source string) string {
	b.Helper()
	if err := exec.Command("pkg-config", "--exists", "lxc").Run(); err != nil {
		b.Logf("without liblxc: pkg-config: %v", err)
		return Build(b, dir, source)
	}
	return build(b, dir, source, "1", "-tags=liblxc,netgo,osusergo")
}

func build(b *testing.B, dir, source, cgo string, more ...string) string {
	b.Helper()
	path := filepath.Join(dir, filepath.Base(source)+".bin")
	args := slices.Concat([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", path}, more, []string{source})
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build: %v: %s", err, out)
	}
	return path
}

// Empty makes a program that does nothing.
func Empty(b *testing.B, dir string) string {
	b.Helper()
	source := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	return Build(b, dir, source)
}
