package power

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/id"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/link"
)

// The life of a guest: it boots, is paused, suspended to disk, rebooted, and goes in
// all the ways there are.
func TestGuest(t *testing.T) {
	w := newWorld(t, guestConf)
	w.disk()
	w.start()
	w.booted(vmid)
	if got := w.inGuest(vmid, "echo 4711 > /tmp/mark; wget -q -O /dev/null http://127.0.0.1/ && echo served"); got != "served" {
		t.Errorf("guest says %q", got)
	}
	before := w.config()

	if err := w.Suspend(w.ctx, vmid, SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	w.isClean()
	if got := w.config(); !strings.Contains(got, "lock: suspended\n") || !strings.Contains(got, "vmstate: local:100/vm-100-state-suspend-") {
		t.Errorf("suspended: %s", got)
	}
	w.start()
	if got := w.inGuest(vmid, "cat /tmp/mark"); got != "4711" {
		t.Errorf("after its sleep the guest has %q", got)
	}
	if got := w.config(); got != before {
		t.Errorf("after it has gone on: %s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(w.Root, "var/lib/vz/images/100/*state*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}

	pid, err := w.Dir.Running(vmid)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Reboot(w.ctx, vmid, new(30*time.Second)); err != nil { // by the agent
		t.Fatal(err)
	}
	if again, err := w.Dir.Running(vmid); err != nil || again == 0 || again == pid {
		t.Errorf("after a reboot: process %d, before %d, %v", again, pid, err)
	}
	w.booted(vmid)
	if got := w.inGuest(vmid, "cat /tmp/mark 2>/dev/null || echo new"); got != "new" {
		t.Errorf("after a reboot the guest has %q", got)
	}

	if _, _, err := w.Exec(w.ctx, vmid, []string{"sh", "-c", "sleep 0.2; poweroff -f"}, nil, -1); err != nil {
		t.Fatal(err)
	}
	w.gone()
}

// Without an agent the guest is asked by its power button. One that does not heed it
// runs on, or is stopped by force.
func TestPowerButton(t *testing.T) {
	w := newWorld(t, strings.Replace(guestConf, "agent: 1\n", "agent: 1\n", 1))
	w.disk()
	w.start()
	err := w.Stop(w.ctx, vmid, StopOptions{Guest: true, Timeout: new(300 * time.Millisecond)}) // too early: nobody hears it
	if err == nil || err.Error() != "VM quit/powerdown failed - got timeout" {
		t.Errorf("too early: %v", err)
	}
	if got := w.status(); got != "running" {
		t.Errorf("status %s", got)
	}
	w.booted(vmid)
	w.configure(vmid, strings.Replace(guestConf, "agent: 1\n", "", 1))
	if err := w.Stop(w.ctx, vmid, StopOptions{Guest: true, Timeout: new(30 * time.Second)}); err != nil {
		t.Error(err)
	}
	w.isClean()
}

// A guest that has powered off while its supervisor was dead does not keep the VM from
// being started.
func TestOrphanPoweredOff(t *testing.T) {
	w := newWorld(t, guestConf)
	w.disk()
	w.start()
	w.booted(vmid)
	if err := unix.Kill(w.parent(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Exec(w.ctx, vmid, []string{"sh", "-c", "sleep 0.2; poweroff -f"}, nil, -1); err != nil {
		t.Fatal(err)
	}
	w.await(30*time.Second, "the guest has powered off", func() bool { return w.status() == "shutdown" })
	w.start()
	if got := w.status(); got != "running" {
		t.Errorf("status %s", got)
	}
}

// Two VMs on a bridge reach each other; their devices come and go with them.
func TestBridge(t *testing.T) {
	inNamespace(t)
	net, err := link.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	if err := net.CreateBridge("vmbr0", 1400); err != nil {
		t.Skip("no bridges:", err)
	}
	dir := testguest.Dir(t)
	conf := func(mac, addr string) string {
		return "agent: 1\ncpu: qemu64\nmemory: 256\nserial0: socket\nvga: serial0\nnet0: virtio=" + mac + ",bridge=vmbr0,mtu=1,rate=50\n" +
			"args: -kernel " + dir + "/vmlinuz -initrd " + dir + "/initrd.img -append 'console=ttyS0 gip=" + addr + "/24'\n"
	}
	w := newWorld(t, conf("BC:24:11:00:00:01", "10.9.0.1"))
	const other = id.VM(101)
	w.configure(other, conf("BC:24:11:00:00:02", "10.9.0.2")+"")
	defer func() {
		if err := errors.Join(w.end(w.ctx, other), w.Clear(w.ctx, other, "")); err != nil {
			t.Error(err)
		}
	}()
	w.start()
	if err := w.Start(w.ctx, other, StartOptions{}); err != nil {
		t.Fatal(err)
	}
	ports, err := net.Ports("vmbr0")
	if err != nil || len(ports) != 2 {
		t.Errorf("ports %v, %v", ports, err)
	}
	w.booted(vmid)
	w.booted(other)
	w.inGuest(vmid, "ping -c 1 -W 10 10.9.0.2")
	if got := w.inGuest(vmid, "cat /sys/class/net/eth0/mtu"); got != "1400" {
		t.Errorf("the guest has an MTU of %s", got)
	}
	if err := w.Stop(w.ctx, vmid, StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
	if ports, err = net.Ports("vmbr0"); err != nil || len(ports) != 1 {
		t.Errorf("ports after a stop %v, %v", ports, err)
	}
	w.isClean()
}

// inNamespace gives the test, and what it starts, a network of its own.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("no network namespaces:", err)
	}
}
