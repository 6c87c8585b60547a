package storage

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ReadAnew drops what the kernel remembers of the content of a block device. Pools that put
// a volume back to an old state, or bring it up to date, change it below the device; and as
// long as anybody has that open, udev for instance, others would go on to read what was
// there before. What is no block device is no error.
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
