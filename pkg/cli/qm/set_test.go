package qm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
)

// A sandbox is a throw-away node with the real qm.
type sandbox struct {
	*testing.T
	root, program string
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img on this machine")
	}
	return &sandbox{t, testroot.New(t), program(t)}
}

func (l *sandbox) command(args ...string) *exec.Cmd {
	cmd := exec.Command(l.program, args...)
	cmd.Env = append(os.Environ(), "VIRTSMITH_ROOT="+l.root, "VIRTSMITH_NODE=pve1")
	return cmd
}

// run runs qm and returns what it printed on both streams.
func (l *sandbox) run(args ...string) (string, error) {
	out, err := l.command(args...).CombinedOutput()
	return string(out), err
}

// must is run for what has to succeed.
func (l *sandbox) must(args ...string) string {
	l.Helper()
	out, err := l.run(args...)
	if err != nil {
		l.Fatalf("qm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused is run for what has to fail, saying why.
func (l *sandbox) refused(why string, args ...string) {
	l.Helper()
	out, err := l.run(args...)
	if err == nil || !strings.Contains(out, why) {
		l.Fatalf("qm %s: %v, wanted %q\n%s", strings.Join(args, " "), err, why, out)
	}
}

func (l *sandbox) path(name string) string { return filepath.Join(l.root, name) }

func (l *sandbox) config(vmid int) string {
	text, _ := os.ReadFile(l.path(fmt.Sprintf("etc/pve/nodes/pve1/qemu-server/%d.conf", vmid)))
	return string(text)
}

func (l *sandbox) images(vmid int) []string {
	names, _ := filepath.Glob(l.path(fmt.Sprintf("var/lib/vz/images/%d/*", vmid)))
	for i, name := range names {
		names[i] = filepath.Base(name)
	}
	return names
}

// boot makes and starts a VM of the test guest, and waits until its agent answers.
func (l *sandbox) boot(more ...string) {
	l.Helper()
	if testing.Short() {
		l.Skip("boots a guest")
	}
	if os.Getuid() != 0 {
		l.Skip("starting a VM needs root")
	}
	dir := testguest.Dir(l)
	l.must(append([]string{
		"create", "100", "--memory", "256", "--cores", "2", "--vcpus", "1", "--agent", "1", "--ostype", "l26", "--scsihw", "virtio-scsi-single",
		"--vga", "none", "--net0", "virtio", "--cpu", "x86-64-v2-AES", "--scsi0", "local:0,import-from=" + filepath.Join(dir, "guest.raw"),
	}, more...)...)
	l.Cleanup(func() { l.run("stop", "100") })
	l.must("start", "100")
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if _, err := l.run("guest", "cmd", "100", "ping"); err == nil {
			return
		}
		if time.Now().After(deadline) {
			l.Fatal("the guest does not answer")
		}
	}
}

// inside runs a shell command in the guest and returns its output.
func (l *sandbox) inside(script string) string {
	l.Helper()
	var result struct {
		Out string `json:"out-data"`
	}
	if err := json.Unmarshal([]byte(l.must("guest", "exec", "100", "--", "sh", "-c", script)), &result); err != nil {
		l.Fatal(err)
	}
	return strings.TrimSpace(result.Out)
}

// sees waits until the guest sees what is wanted.
func (l *sandbox) sees(script, want string) {
	l.Helper()
	got := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		if got = l.inside(script); got == want {
			return
		}
	}
	l.Fatalf("%s in the guest: %q, want %q", script, got, want)
}

// holds checks that nothing is pending, and what is configured.
func (l *sandbox) holds(lines ...string) {
	l.Helper()
	text := l.config(100)
	if strings.Contains(text, "[PENDING]") {
		l.Fatalf("pending:\n%s", text)
	}
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			l.Fatalf("no %q in\n%s", line, text)
		}
	}
}

func TestSetRunning(t *testing.T) {
	s := newSandbox(t)
	s.boot("--hotplug", "network,disk,usb,cpu", "--ide2", "none,media=cdrom")
	disks := "ls /sys/block | grep -v sr0 | xargs"
	s.sees(disks, "sda")

	// A SCSI disk with a controller and thread of its own, and a virtio disk.
	s.must("set", "100", "--scsi1", "local:0.1,iops=100,iothread=1")
	s.must("set", "100", "--virtio2", "local:0.1,format=qcow2")
	s.sees(disks, "sda sdb vda")
	s.sees("cat /sys/block/sdb/size", "209716")
	s.holds("scsi1: local:100/vm-100-disk-1.raw,iops=100,iothread=1,size=104858K")
	if got := s.inside("echo kept > /tmp/a; dd if=/tmp/a of=/dev/sdb conv=sync 2>/dev/null; sync; head -c 4 /dev/sdb"); got != "kept" {
		t.Fatalf("read from the new disk: %q", got)
	}
	// Limits change at once; what QEMU reads at the start only waits.
	s.must("set", "100", "--scsi1", "local:100/vm-100-disk-1.raw,iops=50,iothread=1")
	s.holds("scsi1: local:100/vm-100-disk-1.raw,iops=50,iothread=1,size=104858K")
	if out := s.hmp("qom-get /objects/throttle-drive-scsi1 limits"); !strings.Contains(out, `"iops-total": 50`) {
		t.Errorf("limits: %s", out)
	}
	s.must("set", "100", "--scsi1", "local:100/vm-100-disk-1.raw,cache=writeback,iothread=1")
	if !strings.Contains(s.config(100), "[PENDING]\nscsi1: local:100/vm-100-disk-1.raw,cache=writeback") {
		t.Errorf("not pending:\n%s", s.config(100))
	}
	s.must("set", "100", "--revert", "scsi1")
	s.must("set", "100", "--delete", "scsi1")
	s.must("set", "100", "--delete", "virtio2", "--force", "1")
	s.sees(disks, "sda")
	s.holds("unused0: local:100/vm-100-disk-1.raw")
	if out := s.hmp("info block -n") + s.hmp("qom-list /objects"); strings.Contains(out, "scsi1") || strings.Contains(out, "virtio2") || strings.Contains(out, "virtioscsi1") {
		t.Errorf("QEMU still has\n%s", out)
	}
	// The same volume again, elsewhere.
	s.must("set", "100", "--scsi5", "local:100/vm-100-disk-1.raw")
	s.sees(disks+"; head -c 4 /dev/sdb", "sda sdb\nkept")
	if strings.Contains(s.config(100), "unused0") {
		t.Errorf("is used and unused:\n%s", s.config(100))
	}

	// A dry run leaves QEMU alone too.
	if out := s.must("set", "100", "--scsi6", "local:0.1", "--dry-run"); !strings.Contains(out, "scsi6") || strings.Contains(s.config(100), "scsi6") {
		t.Errorf("dry run: %s", out)
	}
	s.sees(disks, "sda sdb")

	// Network cards.
	cards := "ls /sys/class/net | grep eth | xargs"
	s.must("set", "100", "--net1", "virtio=BC:24:11:00:00:77,link_down=1")
	s.sees(cards, "eth0 eth1")
	s.sees("ip link set eth1 up; cat /sys/class/net/eth1/address /sys/class/net/eth1/carrier", "bc:24:11:00:00:77\n0")
	s.must("set", "100", "--net1", "virtio=BC:24:11:00:00:77")
	s.sees("cat /sys/class/net/eth1/carrier", "1")
	s.must("set", "100", "--delete", "net1")
	s.sees(cards, "eth0")

	// CPUs.
	s.must("set", "100", "--vcpus", "2")
	s.sees("nproc", "2")
	s.refused("vcpus: hotplug problem - ", "set", "100", "--vcpus", "1")
	if !strings.Contains(s.config(100), "[PENDING]\nvcpus: 1\n") {
		t.Errorf("not pending:\n%s", s.config(100))
	}
	s.must("set", "100", "--revert", "vcpus")

	// The disc in the drive.
	iso := s.path("var/lib/vz/template/iso/x.iso")
	if err := os.MkdirAll(filepath.Dir(iso), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(iso, bytes.Repeat([]byte("disc"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	s.must("set", "100", "--ide2", "local:iso/x.iso,media=cdrom")
	s.sees("head -c 8 /dev/sr0 2>/dev/null", "discdisc")
	s.refused("local:iso/none.iso", "set", "100", "--ide2", "local:iso/none.iso,media=cdrom")
	s.must("set", "100", "--ide2", "none,media=cdrom")
	s.sees("head -c 8 /dev/sr0 2>/dev/null", "")
	s.holds("ide2: none,media=cdrom")

	// The balloon, where the node does not move it itself.
	s.must("set", "100", "--shares", "0")
	s.must("set", "100", "--balloon", "128")
	waitFor(t, func() bool { return strings.Contains(s.hmp("info balloon"), "actual=128") })

	// What has to wait waits, what QEMU does not know of holds at once.
	s.must("set", "100", "--memory", "512", "--name", "renamed", "--tags", "b;a")
	if text := s.config(100); !strings.Contains(text, "[PENDING]\nmemory: 512\n") || !strings.Contains(text, "name: renamed\n") || !strings.Contains(text, "tags: a;b\n") {
		t.Errorf("got\n%s", text)
	}
	s.must("stop", "100")
	s.must("start", "100")
	s.holds("memory: 512", "balloon: 128")
}

// hmp asks the monitor for humans.
func (l *sandbox) hmp(line string) string {
	l.Helper()
	cmd := l.command("monitor", "100")
	cmd.Stdin = strings.NewReader(line + "\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
	}
}
