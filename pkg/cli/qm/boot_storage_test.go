package qm

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/testguest"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

// TestBootStorage: a VM boots from a disk of each type of storage that lies in a file
// system of this machine, and leaves nothing there. Those that need servers or another
// kernel have tests of their own: rbd, glusterfs, iscsidirect, and in the test node
// pkg/internal/nodeboot.
func TestBootStorage(t *testing.T) {
	for _, c := range []struct {
		name, storage string
		options       string
		mkfs          []string
		format        string
		snapshots     bool
	}{
		{name: "dir with raw", storage: "dir", format: "raw"},
		{name: "dir with a chain of qcow2", storage: "dir", options: "\tsnapshot-as-volume-chain 1\n", format: "qcow2", snapshots: true},
		{name: "btrfs", storage: "btrfs", mkfs: []string{"mkfs.btrfs", "-q"}, format: "raw", snapshots: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() {
				t.Skip("boots a guest")
			}
			if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
				t.Skip("no qemu-system-x86_64 on this machine")
			}
			if os.Getuid() != 0 {
				t.Skip("starting a VM needs root")
			}
			t.Parallel()
			l := newSandbox(t)
			folder := l.path("srv")
			if c.mkfs != nil {
				folder = filepath.Join(storagetest.Loop(t, 256, c.mkfs...), "srv")
			}
			l.write("etc/pve/storage.cfg", c.storage+": mine\n\tpath "+folder+"\n\tcontent images\n"+c.options)
			l.must("create", "100", "--memory", "256", "--ostype", "l26", "--scsihw", "virtio-scsi-single", "--serial0", "socket", "--vga", "serial0",
				"--scsi0", "mine:0,format="+c.format+",import-from="+filepath.Join(testguest.Dir(t), "guest.raw"))
			t.Cleanup(func() { l.run("stop", "100") })
			if c.snapshots {
				l.must("snapshot", "100", "before")
			}
			l.must("start", "100")
			l.ready("100")
			l.must("stop", "100")
			if c.snapshots {
				l.must("rollback", "100", "before")
			}
			l.must("destroy", "100")
			if left := volumesBelow(t, folder); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// volumesBelow lists what is in a folder besides folders that are always there.
func volumesBelow(t *testing.T, folder string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (!d.IsDir() || strings.Contains(d.Name(), "disk")) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// ready watches the serial port of a VM until its guest says there that it is up.
func (l *sandbox) ready(vmid string) {
	l.Helper()
	cmd := l.command("terminal", vmid)
	keys, err := cmd.StdinPipe()
	if err != nil {
		l.Fatal(err)
	}
	screen, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	dead := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer dead.Stop()
	var said strings.Builder
	up := false
	for lines := bufio.NewScanner(screen); !up && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		up = strings.Contains(lines.Text(), testguest.Ready)
	}
	const leave = "\x0f" // Ctrl+O
	_, err = io.WriteString(keys, leave)
	_, _ = io.Copy(io.Discard, screen)
	if err := errors.Join(err, cmd.Wait()); err != nil || !up {
		l.Fatalf("the guest does not say that it is up: %v\n%s", err, &said)
	}
}
