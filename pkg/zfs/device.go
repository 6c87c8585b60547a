package zfs

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blkZName asks the device of a zvol for its dataset, see BLKZNAME in sys/fs/zfs.h:
// _IOR(0x12, 125, char[256]).
const blkZName = 0x8100127d

// DeviceOf returns the dataset whose zvol a block device is; empty where the device cannot
// tell, as none but those of ZFS can.
func DeviceOf(device string) (string, error) {
	f, err := os.Open(device)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	var name [256]byte
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), blkZName, uintptr(unsafe.Pointer(&name)))
	switch errno {
	case 0:
		return unix.ByteSliceToString(name[:]), nil
	case unix.ENOTTY, unix.EINVAL:
		return "", nil
	}
	return "", fmt.Errorf("name of %s: %w", device, errno)
}

// ReadAnew drops what the kernel remembers of the content of a block device. ZFS changes zvols
// below it when it receives or rolls back, and as long as anybody has the device open, udev
// for instance, others would go on to read what was there before. What is no block device is
// no error.
func ReadAnew(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("flush %s: %w", device, err)
	}
	return nil
}
