package pct

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
	"github.com/virtsmith/virtsmith/pkg/internal/testct"
	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
)

// TestLifeBeside has a VM and a container on one bridge reach each other.
func TestLifeBeside(t *testing.T) {
	for _, program := range []string{"qemu-system-x86_64", "qemu-img"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	n := newNode(t)
	guest := filepath.Join(testguest.Dir(t), "guest.raw")
	qm := filepath.Join(t.TempDir(), "qm")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-C", conformance.Root(t), "-o", qm, "./cmd/qm").CombinedOutput(); err != nil {
		t.Skipf("no qm: %v: %s", err, out)
	}
	bridge, network := testct.Bridge(t)
	vm := &testNode{t, n.root, qm}
	id := strconv.Itoa(testct.ID(t))
	vm.do("create", id, "--name", "machine", "--memory", "256", "--agent", "1", "--cpu", "qemu64", "--vga", "none", "--serial0", "socket", "--scsihw", "virtio-scsi-pci",
		"--scsi0", "local:0,import-from="+guest+",format=qcow2", "--ide2", "local:cloudinit", "--ipconfig0", "ip="+network+"250/24", "--net0", "virtio,bridge="+bridge)
	t.Cleanup(func() {
		// The context of the test has ended by now.
		stop := exec.Command(qm, "stop", id)
		stop.Env = append(os.Environ(), "VIRTSMITH_ROOT="+n.root, "VIRTSMITH_NODE="+testct.Node)
		_ = stop.Run()
	})
	vm.do("start", id)
	c := n.container(bridge, network)
	c.run("start")
	c.answers()

	var err error
	out, until := "", time.Now().Add(2*time.Minute)
	for {
		if out, err = vm.try("guest", "exec", id, "--", "wget", "-q", "-O", "-", fmt.Sprintf("http://%s/", c.addr)); strings.Contains(out, "hello from web") {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("the VM does not reach the container: %v: %s", err, out)
		}
		time.Sleep(300 * time.Millisecond)
	}
	c.sh("ping -c 1 -W 20 " + network + "250")
	c.sh("wget -q -O /dev/null http://" + network + "250/")
	vm.do("stop", id)
	vm.do("destroy", id)
	c.run("stop")
	c.run("destroy")
	n.checkNothing(c.id)
	c.nothing()
}
