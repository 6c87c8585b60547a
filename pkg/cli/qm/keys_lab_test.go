package qm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// A keyLab is an empty world in which a VM is made by qm create.
type keyLab struct {
	*lab
	guest string // folder of the test guest
}

func newKeyLab(t *testing.T) *keyLab {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no qemu-system-x86_64 on this machine")
	}
	if testing.Short() {
		t.Skip("starts VMs")
	}
	guest := testguest.Dir(t)
	root := testroot.New(t)
	l := &keyLab{lab: &lab{root: root, qm: program(t), dir: process.Below(root)}, guest: guest}
	t.Cleanup(func() {
		for _, vm := range []id.VM{100, 101} {
			l.end(t, vm)
		}
		l.leavesNoProcess(t)
	})
	return l
}

// end kills a QEMU and waits until it is cleared up after.
func (l *keyLab) end(t *testing.T, vm id.VM) {
	t.Helper()
	pid, err := l.dir.Running(vm)
	if err != nil || pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		left, err := l.dir.Leftovers(vm)
		if err == nil && len(left) == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Errorf("VM %d has left %v, %v", vm, left, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// leavesNoProcess waits until no process names the world's folder.
func (l *keyLab) leavesNoProcess(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		found, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, path := range found {
			if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(l.root+"/")) {
				left = append(left, string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still there: %q", left)
			return
		}
	}
}

// make makes the VM and brings it to its state.
func (l *keyLab) make(t *testing.T, vm keyVM) {
	t.Helper()
	if vm.storage != "" {
		l.write(t, "etc/pve/storage.cfg", strings.ReplaceAll(vm.storage, "ROOT", l.root))
	}
	if vm.prepare != nil {
		vm.prepare(t, l)
	}
	words := append([]string{"create", "100"}, vm.create...)
	if vm.options != nil {
		for _, word := range vm.options(t, l) {
			words = append(words, fmt.Sprint(word))
		}
	}
	switch vm.state {
	case frozen:
		words = append(words, "--freeze", "1")
	case booted:
		words = append(words, "--agent", "1", "--scsi0", l.bootDisk(), "--boot", "order=scsi0")
	}
	l.do(t, words...)
	switch vm.state {
	case frozen:
		l.do(t, "start", "100")
	case booted:
		l.boot(t)
	}
}

// bootDisk is a new disk with the system of the guest.
func (l *keyLab) bootDisk() string {
	return "local:0,import-from=" + l.guest + "/guest.raw,format=qcow2"
}

func (l *keyLab) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(l.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (l *keyLab) pid(t *testing.T) int {
	t.Helper()
	pid, err := l.dir.Running(100)
	if err != nil || pid == 0 {
		t.Fatalf("QEMU: process %d, %v", pid, err)
	}
	return pid
}

// argv is QEMU's command line, as the kernel has it.
func (l *keyLab) argv(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", l.pid(t)))
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '}))
}

// call runs a command of the monitor.
func (l *keyLab) call(t *testing.T, name string, args, result any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := l.dir.Dial(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Call(ctx, name, args, result); err != nil {
		t.Fatal(err)
	}
}

// human runs a command of the monitor for people.
func (l *keyLab) human(t *testing.T, line string) (text string) {
	t.Helper()
	l.call(t, "human-monitor-command", map[string]any{"command-line": line}, &text)
	return text
}

// guestOf runs a line of shell in the guest of a VM.
func (l *keyLab) guestOf(t *testing.T, vm id.VM, line string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := qmp.DialAgent(ctx, l.dir.Agent(vm))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	exit, err := a.Exec(ctx, []string{"/bin/sh", "-c", line}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(exit.Out) + string(exit.Err)), exit.Code != nil && *exit.Code == 0
}

// await waits for something to become true.
func (l *keyLab) await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func fits(t *testing.T, what, pattern, text string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("%s: no %s in: %s", what, pattern, text)
	}
}

// What follows makes the show of a proof.

// prop says what a property of an object in QEMU is. A want that is a map may have less
// than there is.
func prop(path, name string, want any) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		var got any
		l.call(t, "qom-get", map[string]any{"path": path, "property": name}, &got)
		if whole, ok := got.(map[string]any); ok {
			if part, ok := want.(map[string]any); ok {
				for key := range whole {
					if _, asked := part[key]; !asked {
						delete(whole, key)
					}
				}
			}
		}
		if diff := cmp.Diff(plainJSON(t, want), got); diff != "" {
			t.Errorf("%s of %s: %s", name, path, diff)
		}
	}
}

func plainJSON(t *testing.T, v any) (plain any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

// device says what a property of a device is.
func device(id, name string, want any) func(*testing.T, *keyLab) {
	return prop("/machine/peripheral/"+id, name, want)
}

// object is device for an object.
func object(id, name string, want any) func(*testing.T, *keyLab) {
	return prop("/objects/"+id, name, want)
}

// arg says what QEMU was told on its command line.
func arg(patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		for _, pattern := range patterns {
			fits(t, "command line", pattern, l.argv(t))
		}
	}
}

// noArg says what QEMU was not told.
func noArg(pattern string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		if text := l.argv(t); regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("%s in the command line: %s", pattern, text)
		}
	}
}

// query says what a command of QEMU's monitor returns, as text.
func query(name string, patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		var got json.RawMessage
		l.call(t, name, nil, &got)
		for _, pattern := range patterns {
			fits(t, name, pattern, string(got))
		}
	}
}

// human says what a command of the monitor for people prints.
func human(line string, patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		text := l.human(t, line)
		for _, pattern := range patterns {
			fits(t, line, pattern, text)
		}
	}
}

// inGuest says what a line of shell prints in the guest.
func inGuest(line, want string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		if got, ok := l.guestOf(t, 100, line); !ok || got != want {
			t.Errorf("in the guest, %s: %q, %v; want %q", line, got, ok, want)
		}
	}
}

// guestLike is inGuest with a pattern.
func guestLike(line, pattern string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		got, ok := l.guestOf(t, 100, line)
		if !ok {
			t.Errorf("in the guest, %s: %s", line, got)
		}
		fits(t, line, pattern, got)
	}
}

// stored says which lines the configuration has, in its file and in qm config.
func stored(patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		printed := l.do(t, "config", "100")
		for _, pattern := range patterns {
			fits(t, "file", "(?m)^"+pattern, l.config(t))
			fits(t, "qm config", "(?m)^"+pattern, printed)
		}
	}
}

// line says what the command line of the VM would be with other options, of which the
// VM is rid again afterwards.
func line(options []string, patterns ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		l.with(t, options, func() {
			text := l.do(t, "showcmd", "100")
			for _, pattern := range patterns {
				fits(t, strings.Join(options, " "), pattern, text)
			}
		})
	}
}

// refused says what a start with other options fails of. Nothing is left of it.
func refused(text string, options ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		l.with(t, options, func() {
			l.fails(t, text, "start", "100")
			left, err := l.dir.Leftovers(100)
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// notTaken says what qm set with options fails of.
func notTaken(text string, options ...string) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		before := l.config(t)
		l.fails(t, text, append([]string{"set", "100"}, options...)...)
		if diff := cmp.Diff(before, l.config(t)); diff != "" {
			t.Error(diff)
		}
	}
}

// with does something while the VM has other options, given as words --key value.
func (l *keyLab) with(t *testing.T, options []string, do func()) {
	t.Helper()
	path := filepath.Join(l.root, "etc/pve/nodes/pve1/qemu-server/100.conf")
	before := l.config(t)
	defer func() {
		if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
			t.Error(err)
		}
	}()
	// Nothing is plugged into the VM, should it run: the changes wait for its next start.
	still := regexp.MustCompile(`(?m)^hotplug: .*\n`).ReplaceAllString(before, "") + "hotplug: 0\n"
	if err := os.WriteFile(path, []byte(still), 0o640); err != nil {
		t.Fatal(err)
	}
	if len(options) > 0 {
		l.do(t, append([]string{"set", "100"}, options...)...)
	}
	do()
}

// all are several shows in a row.
func all(shows ...func(*testing.T, *keyLab)) func(*testing.T, *keyLab) {
	return func(t *testing.T, l *keyLab) {
		t.Helper()
		for _, show := range shows {
			show(t, l)
		}
	}
}
