// Package sidecar runs the programs that a VM needs beside QEMU: swtpm, which is its
// TPM, and virtiofsd, which serves it a folder of the host.
//
// QEMU is connected to each by a socket. Both kinds end by themselves when that
// connection does, so a QEMU that dies takes them along; [Host.Stop] is for those that
// QEMU never came to, and makes sure.
package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/cgroup"
	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/plan"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/run"
)

// Host is where the programs run.
type Host struct {
	Dir    process.Dir // where their sockets, process ids and logs are
	Run    run.Runner
	CGroup []string // folders of the control groups that they join; may be nil
}

// ErrDied is the error of a program that ended before QEMU came.
var ErrDied = errors.New("ended while starting")

// The names of a program's files come from that of its socket.
func pidFile(socket string) string { return socket + ".pid" }
func logFile(socket string) string { return socket + ".log" }

// maxLog bounds how much of a log an error quotes.
const maxLog = 4 << 10

// died tells what a program said before it ended.
func died(what, socket string) error {
	text, err := os.ReadFile(logFile(socket))
	said := strings.TrimSpace(string(text[max(0, len(text)-maxLog):]))
	if err != nil || said == "" {
		return fmt.Errorf("%s %w", what, ErrDied)
	}
	return fmt.Errorf("%s %w: %s", what, ErrDied, said)
}

// join moves a program into the control groups of its VM.
func (h Host) join(ctx context.Context, pid int) error {
	return cgroup.Join(ctx, h.CGroup, pid)
}

// Stop ends the programs of a VM whose QEMU is gone and removes their files.
func (h Host) Stop(ctx context.Context, vm id.VM) error {
	left, err := h.Dir.Leftovers(vm)
	if err != nil {
		return err
	}
	sockets := map[string]bool{}
	for _, path := range left {
		socket := strings.TrimSuffix(strings.TrimSuffix(path, ".pid"), ".log")
		if h.isOurs(vm, socket) {
			sockets[socket] = true
		}
	}
	var faults []error
	for _, socket := range slices.Sorted(maps.Keys(sockets)) {
		if p := plan.From(ctx); p != nil {
			p.Stepf("stop %s", filepath.Base(socket))
			continue
		}
		if err := h.stop(ctx, socket); err != nil {
			faults = append(faults, fmt.Errorf("stop %s: %w", filepath.Base(socket), err))
		}
	}
	return errors.Join(faults...)
}

// isOurs tells whether a socket is that of a program of this package.
func (h Host) isOurs(vm id.VM, socket string) bool {
	return socket == h.Dir.TPM(vm) || strings.HasPrefix(socket, h.folder(vm))
}

// Patience with a program that is to end: by itself, then by SIGTERM.
const (
	selfPatience = 100 * time.Millisecond
	termPatience = 2 * time.Second
)

// stop ends one program, if it runs still, and removes its files.
func (h Host) stop(ctx context.Context, socket string) error {
	pid := running(socket)
	for _, step := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{0, selfPatience}, {syscall.SIGTERM, termPatience}, {syscall.SIGKILL, termPatience}} {
		if pid == 0 {
			break
		}
		if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		await(ctx, step.patience, func() bool { return running(socket) == 0 })
		pid = running(socket)
	}
	if pid != 0 {
		return fmt.Errorf("process %d does not end", pid)
	}
	var faults []error
	for _, path := range []string{socket, pidFile(socket), logFile(socket)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// pollPause is how often is looked whether a program has come or gone.
const pollPause = 5 * time.Millisecond

// await waits until there is what is waited for, or patience or ctx end. It tells whether
// it came.
func await(ctx context.Context, patience time.Duration, there func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for !there() {
		select {
		case <-ctx.Done():
			return there()
		case <-tick.C:
		}
	}
	return true
}

// running returns the process of the program with the given socket, 0 where it is gone.
// The number alone proves nothing, as the kernel gives it to others later: the process
// must name the socket in its arguments, or have begun when our note says.
func running(socket string) int {
	text, err := file.Read(pidFile(socket), 100)
	if err != nil {
		return 0
	}
	word, began, noted := strings.Cut(strings.TrimSpace(string(text)), " ")
	pid, err := strconv.Atoi(word)
	if err != nil || pid <= 1 {
		return 0
	}
	stat, ok := startOf(pid)
	switch {
	case !ok:
		return 0
	case noted && stat == began:
		return pid
	case noted:
		return 0
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(cmdline, []byte("path="+socket+",")) {
		return 0
	}
	return pid
}

// startOf returns when a process began, in the kernel's ticks; ok is false for one that
// is gone or only waits to be buried.
func startOf(pid int) (ticks string, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The name, in parentheses, may hold anything; fields 3 and up follow it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const state, start = 0, 22 - 3
	if len(fields) <= start || fields[state] == "Z" || fields[state] == "X" {
		return "", false
	}
	return fields[start], true
}
