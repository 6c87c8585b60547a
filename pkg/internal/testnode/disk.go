package testnode

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Disks is the number of spare disks of a node.
const Disks = 4

// DiskSize is the size of each spare disk in bytes.
const DiskSize = 4 << 30

// Disk returns the device of the spare disk i, counted from 0, with nothing on
// it, and wipes it again at the end of the test. It fails while something holds
// the disk. Two tests at once must not ask for the same one.
func Disk(t testing.TB, i int) string {
	t.Helper()
	if !Inside() {
		t.Skip("needs a spare disk: runs inside a node, see pkg/internal/testnode")
	}
	device, err := spare(i)
	if err != nil {
		t.Fatal(err)
	}
	if err := wipe(device); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wipe(device); err != nil {
			t.Errorf("the test left its disk in use: %v", err)
		}
	})
	return device
}

// spare finds the disk by its serial number.
func spare(i int) (string, error) {
	serials, err := filepath.Glob("/sys/block/*/serial")
	if err != nil {
		return "", err
	}
	for _, path := range serials {
		raw, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(raw)) == fmt.Sprintf("disk%d", i) {
			return "/dev/" + filepath.Base(filepath.Dir(path)), nil
		}
	}
	return "", fmt.Errorf("the node has no spare disk %d", i)
}

// wipe discards all of a device that nothing holds, and lets udev see it.
func wipe(device string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		f, err := os.OpenFile(device, os.O_RDWR|syscall.O_EXCL|syscall.O_CLOEXEC, 0)
		if err == nil {
			f.Close()
			break
		}
		// udev looks into a disk for a moment after each change of it.
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, command := range [][]string{
		{"blkdiscard", "-f", "-z", device},
		{"blkdiscard", "-f", device},
		{"blockdev", "--rereadpt", device},
		{"udevadm", "settle", "--timeout=20"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil && command[0] == "blkdiscard" {
			return fmt.Errorf("wipe %s: %w: %s", device, err, out)
		}
	}
	return nil
}
