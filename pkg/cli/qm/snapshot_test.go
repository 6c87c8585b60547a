package qm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
	"github.com/virtsmith/virtsmith/pkg/qemu/process"
	"github.com/virtsmith/virtsmith/pkg/qmp"
)

// A lab is a world with one VM, 100, that boots the test guest from a qcow2 image.
type lab struct {
	root, qm string
	dir      process.Dir
}

const labConfig = `agent: 1
boot: order=virtio0
cores: 1
cpu: qemu64
ide2: local:100/vm-100-cloudinit.qcow2,media=cdrom
kvm: 0
memory: 256
name: lab
ostype: l26
scsihw: virtio-scsi-pci
serial0: socket
vga: none
virtio0: local:100/vm-100-disk-0.qcow2,size=1G
scsi1: local:100/vm-100-disk-1.qcow2,size=64M
`

func newLab(t *testing.T, config string) *lab {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("no qemu-system-x86_64 on this machine")
	}
	if testing.Short() {
		t.Skip("boots a guest")
	}
	disk := filepath.Join(testguest.Dir(t), "guest.raw")
	root := testroot.New(t)
	l := &lab{root: root, qm: program(t), dir: process.Below(root)}
	images := filepath.Join(root, "var/lib/vz/images/100")
	conf := filepath.Join(root, "etc/pve/nodes/pve1/qemu-server")
	for _, dir := range []string{images, conf} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "qemu-img", "convert", "-O", "qcow2", disk, images+"/vm-100-disk-0.qcow2")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", images+"/vm-100-disk-1.qcow2", "64M")
	command(t, "qemu-img", "create", "-q", "-f", "qcow2", images+"/vm-100-cloudinit.qcow2", "4M")
	if err := os.WriteFile(conf+"/100.conf", []byte(config), 0o640); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if pid, err := l.dir.Running(100); err == nil && pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = l.dir.AwaitEnd(ctx, 100)
			time.Sleep(200 * time.Millisecond) // its supervisor clears up
		}
	})
	return l
}

func command(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// cmd is a call of qm.
func (l *lab) cmd(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), l.qm, args...)
	cmd.Env = append(os.Environ(), "VIRTSMITH_ROOT="+l.root, "VIRTSMITH_NODE=pve1", "LC_ALL=C.UTF-8")
	return cmd
}

// try runs qm and returns what it printed.
func (l *lab) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	begun := time.Now()
	out, err := l.cmd(t, args...).CombinedOutput()
	t.Logf("%.1fs qm %s\n%s", time.Since(begun).Seconds(), strings.Join(args, " "), out)
	return string(out), err
}

// do is try for what must succeed.
func (l *lab) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := l.try(t, args...)
	if err != nil {
		t.Fatalf("qm %v: %v: %s", args, err, out)
	}
	return out
}

// fails is try for what must fail, with a text in its output.
func (l *lab) fails(t *testing.T, text string, args ...string) {
	t.Helper()
	out, err := l.try(t, args...)
	if err == nil || !strings.Contains(out, text) {
		t.Fatalf("qm %v: %v, want %q in: %s", args, err, text, out)
	}
}

// sh runs a line of shell in the guest.
func (l *lab) sh(t *testing.T, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := qmp.DialAgent(ctx, l.dir.Agent(100))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	exit, err := a.Exec(ctx, []string{"/bin/sh", "-c", line}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if exit.Code == nil || *exit.Code != 0 {
		t.Fatalf("%s: %s: %v", line, exit.Err, exit)
	}
	return strings.TrimSpace(string(exit.Out))
}

// boot starts the VM and waits for its agent.
func (l *lab) boot(t *testing.T) {
	t.Helper()
	l.do(t, "start", "100")
	deadline := time.Now().Add(4 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		a, err := qmp.DialAgent(ctx, l.dir.Agent(100))
		cancel()
		if err == nil {
			a.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the guest does not answer: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// ask runs a command of the monitor.
func (l *lab) ask(t *testing.T, name string, result any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := l.dir.Dial(ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Call(ctx, name, nil, result); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) runState(t *testing.T) string {
	t.Helper()
	var s qmp.Status
	l.ask(t, "query-status", &s)
	return s.Status
}

func (l *lab) config(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.root, "etc/pve/nodes/pve1/qemu-server/100.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// images lists the files of the VM.
func (l *lab) images(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(l.root, "var/lib/vz/images/100/*"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Base(found[i])
	}
	return found
}

// left tells of what a snapshot would leave behind: the names of inner snapshots, a lock, a
// volume with memory, a guest that stands still.
func (l *lab) left(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, disk := range []string{"0", "1"} {
		out := command(t, "qemu-img", "info", "-U", l.root+"/var/lib/vz/images/100/vm-100-disk-"+disk+".qcow2")
		if strings.Contains(out, "Snapshot list") {
			left = append(left, "snapshots in disk "+disk)
		}
	}
	if strings.Contains(l.config(t), "lock:") {
		left = append(left, "a lock")
	}
	if strings.Contains(l.config(t), "\n[") {
		left = append(left, "a section")
	}
	if len(l.images(t)) != 3 {
		left = append(left, l.images(t)...)
	}
	if _, err := os.Stat(string(l.dir) + "/100.hold"); err == nil {
		left = append(left, "a note")
	}
	if pid, _ := l.dir.Running(100); pid != 0 {
		if s := l.runState(t); s != "running" {
			left = append(left, s)
		}
		var caps []struct {
			Capability string
			State      bool
		}
		l.ask(t, "query-migrate-capabilities", &caps)
		for _, c := range caps {
			if c.State && c.Capability == "pause-before-switchover" {
				left = append(left, c.Capability)
			}
		}
	}
	return left
}

func (l *lab) leavesNothing(t *testing.T) {
	t.Helper()
	if left := l.left(t); left != nil {
		t.Errorf("left: %v\n%s", left, l.config(t))
	}
}

// count is the number that a program in the guest counts up, in memory alone.
func (l *lab) count(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(l.sh(t, "cat /run/count"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSnapshotWithMemory(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	l.sh(t, `echo old >/data/file; echo old >/run/file; sync; mkdir -p /run/c
(i=0; while :; do i=$((i+1)); echo $i >/run/c/n && mv /run/c/n /run/count; usleep 50000; done) >/dev/null 2>&1 </dev/null &`)
	time.Sleep(500 * time.Millisecond)
	before := l.count(t)
	out := l.do(t, "snapshot", "100", "s1", "--vmstate", "1", "--description", "with memory")
	for _, line := range []string{
		"saving VM state and RAM using storage 'local'\n", "completed saving the VM state in ",
		"snapshotting 'drive-virtio0' (local:100/vm-100-disk-0.qcow2)\n", "snapshotting 'drive-scsi1' (local:100/vm-100-disk-1.qcow2)\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in:\n%s", line, out)
		}
	}
	if s := l.runState(t); s != "running" {
		t.Errorf("after the snapshot the VM is %s", s)
	}
	conf := l.config(t)
	for _, line := range []string{"\nparent: s1\n", "\n[s1]\n#with memory\n", "\nrunningcpu: qemu64", "\nrunningmachine: pc-i440fx-", "\nvmstate: local:100/vm-100-state-s1.raw\n"} {
		if !strings.Contains(conf, line) {
			t.Errorf("no %q in:\n%s", line, conf)
		}
	}
	l.sh(t, "echo new >/data/file; echo new >/run/file; sync")
	time.Sleep(2 * time.Second)
	far := l.count(t)

	l.do(t, "rollback", "100", "s1")
	if s := l.runState(t); s != "running" {
		t.Errorf("after the rollback the VM is %s", s)
	}
	if got := l.sh(t, "cat /data/file /run/file"); got != "old\nold" {
		t.Errorf("files after the rollback: %q", got)
	}
	if again := l.count(t); again < before || again >= far {
		t.Errorf("the program counted to %d, %d, and %d after the rollback", before, far, again)
	}
	at := l.count(t)
	time.Sleep(time.Second)
	if l.count(t) <= at {
		t.Errorf("the program does not go on")
	}
	if conf := l.config(t); strings.Contains(strings.Split(conf, "\n[")[0], "running") || !strings.Contains(conf, "\nparent: s1\n") {
		t.Errorf("configuration after the rollback:\n%s", conf)
	}
	l.do(t, "delsnapshot", "100", "s1")
	l.leavesNothing(t)
	if got := l.sh(t, "echo more >/data/file && cat /data/file"); got != "more" {
		t.Errorf("the guest writes %q", got)
	}
	// An ordinary migration afterwards must not wait for anybody.
	l.do(t, "snapshot", "100", "s2", "--vmstate", "1")
	l.do(t, "stop", "100")
	l.do(t, "rollback", "100", "s2")
	if got := l.sh(t, "cat /data/file"); got != "more" {
		t.Errorf("the guest has %q", got)
	}
	l.do(t, "delsnapshot", "100", "s2")
	l.leavesNothing(t)
}

func TestSnapshotOfRunning(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	l.sh(t, "echo old >/data/file") // not synced: freezing does that
	l.do(t, "snapshot", "100", "s1")
	if got := l.sh(t, "echo new >/data/file; sync; cat /data/file"); got != "new" {
		t.Errorf("the guest writes %q", got)
	}
	l.do(t, "snapshot", "100", "s2")
	l.fails(t, "snapshot name 's1' already used", "snapshot", "100", "s1")
	l.do(t, "rollback", "100", "s1", "--start")
	l.boot2(t)
	if got := l.sh(t, "cat /data/file"); got != "old" {
		t.Errorf("after the rollback the file is %q", got)
	}
	l.do(t, "delsnapshot", "100", "s1")
	l.do(t, "delsnapshot", "100", "s2")
	l.leavesNothing(t)
}

// boot2 waits for the agent of a VM that was started already.
func (l *lab) boot2(t *testing.T) {
	t.Helper()
	for range 1200 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		a, err := qmp.DialAgent(ctx, l.dir.Agent(100))
		cancel()
		if err == nil {
			a.Close()
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatal("the guest does not answer")
}

// Two at once: one waits for the lock or is told of the other, and nothing is torn.
func TestSnapshotTwoAtOnce(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	var outs [2]bytes.Buffer
	var cmds [2]*exec.Cmd
	for i := range cmds {
		cmds[i] = l.cmd(t, "snapshot", "100", "s"+strconv.Itoa(i), "--vmstate", "1")
		cmds[i].Stdout, cmds[i].Stderr = &outs[i], &outs[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	done := 0
	for i := range cmds {
		err := cmds[i].Wait()
		switch {
		case err == nil:
			done++
		case !strings.Contains(outs[i].String(), "VM is locked (snapshot)"):
			t.Errorf("%v: %s", err, outs[i].String())
		}
	}
	if done == 0 {
		t.Error("both were refused")
	}
	if conf := l.config(t); strings.Contains(conf, "lock:") || strings.Contains(conf, "snapstate") {
		t.Errorf("configuration:\n%s", conf)
	}
	for i := range cmds {
		if cmds[i].ProcessState.Success() {
			l.do(t, "delsnapshot", "100", "s"+strconv.Itoa(i))
		}
	}
	l.leavesNothing(t)
}

// A command that is interrupted undoes what it has begun.
func TestSnapshotInterrupted(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd, out := l.interrupted(t, "saving VM state", func(cmd *exec.Cmd) {
				if err := cmd.Process.Signal(signal); err != nil {
					t.Error(err)
				}
			})
			if cmd.ProcessState.Success() {
				t.Logf("was faster: %s", out)
				l.do(t, "delsnapshot", "100", "s1")
			}
			l.leavesNothing(t)
			l.sh(t, "echo works >/data/file; sync")
		})
	}
}

// interrupted runs a snapshot with memory and calls do once it has printed a text.
func (l *lab) interrupted(t *testing.T, text string, do func(*exec.Cmd)) (*exec.Cmd, string) {
	t.Helper()
	return l.interruptedAt(t, text, do, "snapshot", "100", "s1", "--vmstate", "1")
}

// interruptedAt is that for any command.
func (l *lab) interruptedAt(t *testing.T, text string, do func(*exec.Cmd), args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := l.cmd(t, args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var out strings.Builder
	buffer, done := make([]byte, 4096), false
	for {
		n, err := r.Read(buffer)
		out.Write(buffer[:n])
		if !done && strings.Contains(out.String(), text) {
			done = true
			do(cmd)
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	t.Logf("%v: %s", err, out.String())
	return cmd, out.String()
}

// A worker that is killed leaves a lock that says so, and what heals it.
func TestSnapshotKilled(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	for _, text := range []string{"saving VM state", "snapshotting 'drive-virtio0'", "snapshotting 'drive-scsi1'", "completed saving"} {
		t.Run(text, func(t *testing.T) {
			cmd, out := l.interrupted(t, text, func(*exec.Cmd) { l.killWorker(t) })
			if cmd.ProcessState.Success() && !strings.Contains(l.config(t), "lock:") {
				t.Logf("was faster: %s", out)
				l.do(t, "delsnapshot", "100", "s1")
				return
			}
			if conf := l.config(t); !strings.Contains(conf, "\nlock: snapshot\n") || !strings.Contains(conf, "\nsnapstate: prepare\n") {
				t.Errorf("configuration:\n%s", conf)
			}
			l.fails(t, "VM is locked (snapshot)", "delsnapshot", "100", "s1", "--force")
			l.fails(t, "VM is locked (snapshot)", "snapshot", "100", "s2")
			l.do(t, "unlock", "100")
			l.do(t, "delsnapshot", "100", "s1", "--force")
			l.leavesNothing(t)
			l.sh(t, "echo works >/data/file; sync")
		})
	}
}

// killWorker kills the process of the task that is under way.
func (l *lab) killWorker(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		env, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(env), "\x00"), "VIRTSMITH_ROOT="+l.root) {
			continue
		}
		argv, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err != nil || !bytes.Contains(argv, []byte("--task-worker")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
}

// What a dead command has left standing goes on with the next one that is about snapshots.
func TestSnapshotHeals(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	var count int
	l.sh(t, "echo works >/data/file")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	a, err := qmp.DialAgent(ctx, l.dir.Agent(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Call(ctx, "guest-fsfreeze-freeze", nil, &count); err != nil || count == 0 {
		t.Fatalf("freeze: %d, %v", count, err)
	}
	a.Close()
	l.ask(t, "stop", nil)
	if err := os.WriteFile(string(l.dir)+"/100.hold", []byte(`{"frozen":true,"runs":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	l.fails(t, "snapshot 's1' does not exist", "delsnapshot", "100", "s1")
	l.leavesNothing(t)
	l.sh(t, "echo still >/data/file; sync")
}

// A VM that is paused stays so, with its memory saved too.
func TestSnapshotOfPaused(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	l.ask(t, "stop", nil)
	for i, ram := range []string{"0", "1"} {
		name := "s" + strconv.Itoa(i)
		l.do(t, "snapshot", "100", name, "--vmstate", ram)
		if s := l.runState(t); s != "paused" {
			t.Errorf("after the snapshot with vmstate=%s the VM is %s", ram, s)
		}
		l.do(t, "delsnapshot", "100", name)
	}
	l.ask(t, "cont", nil)
	l.leavesNothing(t)
	l.sh(t, "echo works >/data/file; sync")
}

// A dry run tells what would be, and does none of it.
func TestSnapshotDry(t *testing.T) {
	l := newLab(t, labConfig)
	l.boot(t)
	before := l.config(t)
	for _, ram := range []string{"0", "1"} {
		out := l.do(t, "snapshot", "100", "s1", "--vmstate", ram, "--dry-run")
		for _, text := range []string{"+[s1]", "blockdev-snapshot-internal-sync"} {
			if !strings.Contains(out, text) {
				t.Errorf("vmstate=%s: no %q in:\n%s", ram, text, out)
			}
		}
	}
	if l.config(t) != before {
		t.Errorf("a dry run has changed the configuration to:\n%s", l.config(t))
	}
	l.leavesNothing(t)
	l.do(t, "snapshot", "100", "s1", "--vmstate", "1")
	before = l.config(t)
	l.do(t, "rollback", "100", "s1", "--dry-run")
	l.do(t, "delsnapshot", "100", "s1", "--dry-run")
	if l.config(t) != before || l.runState(t) != "running" || len(l.images(t)) != 4 {
		t.Errorf("a dry run has changed something: %v\n%s", l.images(t), l.config(t))
	}
}

// A storage that is full while memory is saved: an error that says so, and nothing left.
func TestSnapshotDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	l := newLab(t, labConfig+"vmstatestorage: small\n")
	small := filepath.Join(l.root, "small")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	storages := "dir: local\n\tpath " + l.root + "/var/lib/vz\n\tcontent images,iso\n\ndir: small\n\tpath " + small + "\n\tcontent images\n"
	if err := os.WriteFile(filepath.Join(l.root, "etc/pve/storage.cfg"), []byte(storages), 0o640); err != nil {
		t.Fatal(err)
	}
	l.boot(t)
	l.fails(t, "unable to save VM state and RAM - ", "snapshot", "100", "s1", "--vmstate", "1")
	if found, _ := filepath.Glob(small + "/images/100/*"); found != nil {
		t.Errorf("left %v", found)
	}
	l.leavesNothing(t)
	l.sh(t, "echo works >/data/file; sync")
}
