// Package process is the QEMU process of a VM: where its sockets lie, whether it
// runs, how it is started and watched until it ends.
//
// A running VM is two processes. QEMU itself, and a supervisor, its parent, which
// listens to QEMU's events, ends a QEMU whose guest has powered off, and clears up
// when QEMU is gone, however it went. There is no daemon for all VMs: what happens
// to one supervisor touches one VM, and when it dies QEMU goes on; the next command
// for the VM then does the clearing up.
//
// The package knows no configuration. What to run comes ready made.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// Dir is the folder with the pid files and sockets of the VMs of a node.
type Dir string

// Below returns the folder of the node whose files begin at root.
func Below(root string) Dir { return Dir(filepath.Join(root, "run", "qemu-server")) }

// PID is the file with QEMU's process id.
func (d Dir) PID(vm id.VM) string { return d.file(vm, "pid") }

// QMP is the socket of the monitor that commands use.
func (d Dir) QMP(vm id.VM) string { return d.file(vm, "qmp") }

// Events is the socket on which the supervisor awaits QEMU's second monitor.
func (d Dir) Events(vm id.VM) string { return d.file(vm, "event") }

// VNC is the socket of the VNC server.
func (d Dir) VNC(vm id.VM) string { return d.file(vm, "vnc") }

// Agent is the socket of the guest agent.
func (d Dir) Agent(vm id.VM) string { return d.file(vm, "qga") }

// Serial is the socket of serial port n.
func (d Dir) Serial(vm id.VM, n int) string { return d.file(vm, "serial"+strconv.Itoa(n)) }

// TPM is the socket of the software TPM.
func (d Dir) TPM(vm id.VM) string { return d.file(vm, "swtpm") }

func (d Dir) file(vm id.VM, kind string) string {
	return filepath.Join(string(d), vm.String()+"."+kind)
}

// maxSocketPath is what sun_path holds without its final NUL: unix(7).
const maxSocketPath = 107

// CheckPaths tells whether the sockets of vm can be made at all.
func (d Dir) CheckPaths(vm id.VM) error {
	if longest := d.Serial(vm, 0); len(longest) > maxSocketPath {
		return fmt.Errorf("socket path %s has more than %d characters: choose a shorter VIRTSMITH_ROOT", longest, maxSocketPath)
	}
	return nil
}

// Running returns the process id of the QEMU of vm, 0 where none runs. A pid file
// whose process is gone, or is another program by now, counts for nothing.
func (d Dir) Running(vm id.VM) (int, error) {
	text, err := os.ReadFile(d.PID(vm))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read process id of VM %d: %w", vm, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, nil // QEMU creates the file before it fills it
	}
	if !d.isQEMU(pid, vm) {
		return 0, nil
	}
	return pid, nil
}

// isQEMU tells whether process pid is the QEMU of vm: it names vm's pid file.
func (d Dir) isQEMU(pid int, vm id.VM) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(cmdline) == 0 { // a zombie has an empty one
		return false
	}
	return bytes.Contains(cmdline, []byte("\x00"+d.PID(vm)+"\x00"))
}

// Leftovers lists the files that the processes of vm have made and left.
func (d Dir) Leftovers(vm id.VM) ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var left []string
	for _, e := range entries {
		// Not by a pattern: the folder may have characters in its name that mean something there.
		if strings.HasPrefix(e.Name(), vm.String()+".") {
			left = append(left, filepath.Join(string(d), e.Name()))
		}
	}
	return left, err
}

// Clear removes the files of vm, whose QEMU must be gone.
func (d Dir) Clear(vm id.VM) error {
	names, err := d.Leftovers(vm)
	for _, name := range names {
		if gone := os.RemoveAll(name); gone != nil {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// ErrNotRunning is the error of what needs a QEMU where none runs.
var ErrNotRunning = errors.New("not running")

// Dial connects to the monitor of a running VM. Where another command talks to it, Dial
// waits its turn until ctx ends.
func (d Dir) Dial(ctx context.Context, vm id.VM) (*qmp.Monitor, error) {
	pid, err := d.Running(vm)
	if err != nil {
		return nil, err
	}
	if pid == 0 {
		return nil, fmt.Errorf("VM %d %w", vm, ErrNotRunning)
	}
	m, err := qmp.Dial(ctx, d.QMP(vm))
	if err != nil {
		return nil, fmt.Errorf("VM %d qmp: %w", vm, err)
	}
	return m, nil
}

// AwaitEnd waits until the QEMU of vm is gone and cleared up after, or ctx ends.
func (d Dir) AwaitEnd(ctx context.Context, vm id.VM) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		pid, err := d.Running(vm)
		if err != nil || pid == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
