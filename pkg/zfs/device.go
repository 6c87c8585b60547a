package zfs

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests to the device of a zvol. The first is ZFS's own, see BLKZNAME in sys/fs/zfs.h:
// _IOR(0x12, 125, char[256]).
const (
	nameRequest   = 0x8100127d
	forgetRequest = unix.BLKFLSBUF
)

// DeviceOf returns the dataset whose zvol a block device is; empty where the device cannot
// tell, as none but those of ZFS can.
func DeviceOf(device string) (string, error) {
	var name [256]byte
	err := request(device, nameRequest, unsafe.Pointer(&name[0]))
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("name of %s: %w", device, err)
	}
	return unix.ByteSliceToString(name[:]), nil
}

// Forget drops what the kernel remembers of the content of a block device. ZFS changes zvols
// below it when it receives or rolls back, and as long as anybody has the device open, udev
// for instance, others would go on to read what was there before.
func Forget(device string) error {
	err := request(device, forgetRequest, nil)
	if err != nil && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("flush %s: %w", device, err)
	}
	return nil
}

func request(device string, number uint, arg unsafe.Pointer) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(number), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
