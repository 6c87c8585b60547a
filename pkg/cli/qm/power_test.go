package qm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
)

// A powerNode is a world of its own, in which qm is called as a program.
type powerNode struct {
	t       *testing.T
	root    string
	program string
	dir     process.Dir
}

// newPowerNode makes a node with VM 100 of the given configuration.
func newPowerNode(t *testing.T, conf string) *powerNode {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no qemu-system-x86_64 on this machine")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root: control groups")
	}
	root := testroot.New(t)
	n := &powerNode{t: t, root: root, program: program(t), dir: process.Below(root)}
	t.Cleanup(func() {
		n.qm(nil, "stop", "100")
		n.clean()
	})
	n.write("etc/pve/nodes/pve1/qemu-server/100.conf", conf, 0o640)
	return n
}

func (n *powerNode) write(name, text string, mode os.FileMode) {
	n.t.Helper()
	path := filepath.Join(n.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *powerNode) command(args ...string) *exec.Cmd {
	cmd := exec.Command(n.program, args...)
	cmd.Env = append(os.Environ(), "VIRTSMITH_ROOT="+n.root, "VIRTSMITH_NODE=pve1", "LC_PVE_TICKET=secret")
	return cmd
}

// qm calls qm and returns what it wrote, standard error after standard output, and its
// exit code.
func (n *powerNode) qm(in io.Reader, args ...string) (string, int) {
	n.t.Helper()
	var out, faults bytes.Buffer
	cmd := n.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &faults
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		n.t.Fatal(exit, err)
	}
	return out.String() + faults.String(), cmd.ProcessState.ExitCode()
}

// ok calls qm, which must succeed, and returns what it wrote.
func (n *powerNode) ok(args ...string) string {
	n.t.Helper()
	said, code := n.qm(nil, args...)
	if code != 0 {
		n.t.Fatalf("qm %s: exit code %d: %s", strings.Join(args, " "), code, said)
	}
	return said
}

// clean sees that nothing is left of the VM.
func (n *powerNode) clean() {
	n.t.Helper()
	left, err := n.dir.Leftovers(100)
	if err != nil || len(left) > 0 {
		n.t.Errorf("left: %v, %v", left, err)
	}
	if pid, err := n.dir.Running(100); pid != 0 || err != nil {
		n.t.Errorf("runs: %d, %v", pid, err)
	}
}

func (n *powerNode) await(patience time.Duration, what string, there func() bool) {
	n.t.Helper()
	for end := time.Now().Add(patience); !there(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// nothing boots in it.
const bootless = "memory: 32\nscsihw: virtio-scsi-pci\nserial0: socket\n"

func TestPowerConsoles(t *testing.T) {
	n := newPowerNode(t, bootless)
	if said := n.ok("start", "100", "--dry-run"); !strings.Contains(said, "run: /usr/bin/qemu-system-x86_64") {
		t.Errorf("dry run: %s", said)
	}
	if left, _ := filepath.Glob(filepath.Join(n.root, "run/*")); len(left) > 0 {
		t.Errorf("a dry run has made %v", left)
	}
	n.ok("start", "100")
	if said := n.ok("status", "100"); said != "status: running\n" {
		t.Errorf("status: %s", said)
	}
	said, code := n.qm(strings.NewReader("info status\n\nquit\n"), "monitor", "100")
	const want = "Entering QEMU Monitor for VM 100 - type 'help' for help\nVM status: running\nqm> qm> qm> "
	if said != want || code != 0 {
		t.Errorf("monitor: %d, %q", code, said)
	}
	if said, code := n.qm(nil, "sendkey", "100", "nokey"); code == 0 || !strings.Contains(said, "invalid parameter: nokey") {
		t.Errorf("sendkey: %d, %q", code, said)
	}
	n.ok("sendkey", "100", "ctrl-alt-delete")
	if said, code := n.qm(strings.NewReader("\x0f"), "terminal", "100"); code != 0 || !strings.HasPrefix(said, "starting serial terminal on interface serial0 (press Ctrl+O to exit)\n") {
		t.Errorf("terminal: %d, %q", code, said)
	}
	if said, code := n.qm(nil, "terminal", "100", "--iface", "serial1"); code == 0 || !strings.Contains(said, "serial interface 'serial1' is not configured") {
		t.Errorf("terminal: %d, %q", code, said)
	}
	n.vnc()
	if said, code := n.qm(nil, "guest", "cmd", "100", "ping"); code == 0 || said != "No QEMU guest agent configured\n" {
		t.Errorf("agent: %d, %q", code, said)
	}
	n.ok("suspend", "100")
	if said, code := n.qm(nil, "shutdown", "100"); code == 0 || said != "VM is paused - cannot shutdown\n" {
		t.Errorf("shutdown of a paused VM: %d, %q", code, said)
	}
	n.ok("resume", "100")
	if said, code := n.qm(nil, "shutdown", "100", "--timeout", "0"); code == 0 || said != "VM quit/powerdown failed - got timeout\n" {
		t.Errorf("shutdown without a guest: %d, %q", code, said)
	}
	if said, code := n.qm(nil, "shutdown", "100", "--timeout", "1", "--forceStop"); code != 0 || !strings.Contains(said, "VM still running - terminating now with SIGTERM") {
		t.Errorf("shutdown by force: %d, %q", code, said)
	}
	n.clean()
}

// vnc sees that the proxy leads to a VNC server.
func (n *powerNode) vnc() {
	n.t.Helper()
	cmd := n.command("vncproxy", "100")
	in, err := cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	greeting := make([]byte, len("RFB 003.008\n"))
	if _, err := io.ReadFull(out, greeting); err != nil || !bytes.HasPrefix(greeting, []byte("RFB 003.")) {
		n.t.Errorf("VNC: %q, %v", greeting, err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		n.t.Errorf("VNC: %v", err)
	}
}

func TestPowerGuest(t *testing.T) {
	n := newPowerNode(t, `agent: 1
boot: order=scsi0
cpu: qemu64
memory: 256
net0: virtio=BC:24:11:00:00:01
scsi0: local:100/vm-100-disk-0.raw
scsihw: virtio-scsi-pci
serial0: socket
vga: serial0
`)
	disk := filepath.Join(n.root, "var/lib/vz/images/100/vm-100-disk-0.raw")
	if err := os.MkdirAll(filepath.Dir(disk), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "--sparse=always", filepath.Join(testguest.Dir(t), "guest.raw"), disk).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	n.ok("start", "100")
	n.await(90*time.Second, "the guest answers", func() bool {
		_, code := n.qm(nil, "guest", "cmd", "100", "ping")
		return code == 0
	})
	for _, c := range []struct {
		in   string
		args []string
		want string
	}{
		{"", []string{"guest", "exec", "100", "--", "sh", "-c", "echo out; echo err >&2; exit 3"}, "{\n   \"err-data\" : \"err\\n\",\n   \"exitcode\" : 3,\n   \"exited\" : 1,\n   \"out-data\" : \"out\\n\"\n}\n"},
		{"typed", []string{"guest", "exec", "100", "--pass-stdin", "1", "cat"}, "{\n   \"exitcode\" : 0,\n   \"exited\" : 1,\n   \"out-data\" : \"typed\"\n}\n"},
		{"", []string{"agent", "100", "fsfreeze-status"}, "thawed\n"},
		{"", []string{"guest", "exec-status", "100", "99999"}, "guest-exec-status"},
	} {
		if said, _ := n.qm(strings.NewReader(c.in), c.args...); !strings.Contains(said, c.want) {
			t.Errorf("qm %s: %s", strings.Join(c.args, " "), said)
		}
	}
	if said, code := n.qm(strings.NewReader("secret12\n"), "guest", "passwd", "100", "nobody-there"); code == 0 || !strings.Contains(said, "guest-set-user-password") {
		t.Errorf("password of a user that does not exist: %d, %s", code, said)
	}
	n.ok("shutdown", "100", "--timeout", "60")
	n.clean()
}

// hooked gives VM 100 a hook script.
func hooked(t *testing.T, script string) *powerNode {
	n := newPowerNode(t, bootless+"hookscript: local:snippets/hook\n")
	n.write("var/lib/vz/snippets/hook", "#!/bin/sh\n"+script, 0o755)
	return n
}

// ^C and SIGTERM end the work, and undo it.
func TestPowerInterrupted(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			n := hooked(t, "echo $$ > $0.pid; exec sleep 60\n")
			cmd := n.command("start", "100")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			note := filepath.Join(n.root, "var/lib/vz/snippets/hook.pid")
			n.await(20*time.Second, "the hook runs", func() bool { text, _ := os.ReadFile(note); return len(text) > 0 })
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("it succeeded")
			}
			n.clean()
			text, _ := os.ReadFile(note)
			if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || syscall.Kill(pid, 0) == nil {
				t.Errorf("the hook script, process %s, runs on", text)
			}
		})
	}
}

// A worker that is killed leaves nothing that the next command does not clear.
func TestPowerWorkerKilled(t *testing.T) {
	for _, phase := range []string{"pre-start", "post-start"} {
		t.Run(phase, func(t *testing.T) {
			n := hooked(t, fmt.Sprintf("[ $2 = %s ] && [ ! -e $0.done ] && { touch $0.done; kill -9 $PPID; sleep 0.1; }; exit 0\n", phase))
			if said, code := n.qm(nil, "start", "100"); code == 0 {
				t.Errorf("it succeeded: %s", said)
			}
			want := map[string]string{"pre-start": "status: stopped\n", "post-start": "status: running\n"}[phase]
			if said := n.ok("status", "100"); said != want {
				t.Errorf("status: %s", said)
			}
			if said, code := n.qm(nil, "start", "100"); code != 0 && said != "VM 100 already running\n" {
				t.Errorf("second start: %d, %s", code, said)
			}
			if said := n.ok("status", "100"); said != "status: running\n" {
				t.Errorf("status: %s", said)
			}
		})
	}
}
