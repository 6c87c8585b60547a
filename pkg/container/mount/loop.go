package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopMajor is the number of the driver of loop devices.
const loopMajor = 7

// attach makes a block device of an image. The kernel takes it away as soon as nobody has
// it open or mounted, however we end.
func (h Host) attach(ctx context.Context, image *os.File, path string, readOnly bool) (*os.File, error) {
	if !readOnly {
		if err := h.alone(ctx, image, path); err != nil {
			return nil, err
		}
	}
	control, err := os.OpenFile(filepath.Join(h.dev(), "loop-control"), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("loop device for %s: %w", path, err)
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("loop device for %s: %w", path, err)
		}
		dev, err := h.openLoop(n, readOnly)
		if err != nil {
			return nil, fmt.Errorf("loop device for %s: %w", path, err)
		}
		err = configureLoop(dev, image, path, readOnly)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("%s for %s: %w", dev.Name(), path, err)
		}
		// Somebody was faster.
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil, fmt.Errorf("loop device for %s: others take each one that is free", path)
}

// openLoop opens a loop device, with a node made for it where nobody else makes them.
func (h Host) openLoop(n int, readOnly bool) (*os.File, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	path := filepath.Join(h.dev(), "loop"+strconv.Itoa(n))
	dev, err := os.OpenFile(path, flags, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return dev, err
	}
	err = unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(n))))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return os.OpenFile(path, flags, 0)
}

func configureLoop(dev, image *os.File, path string, readOnly bool) error {
	info := unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}
	if readOnly {
		info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(info.File_name[:len(info.File_name)-1], path)
	c := unix.LoopConfig{Fd: uint32(image.Fd()), Info: info}
	// Past the page cache of the image, so that nothing is in memory twice; not every file
	// system that an image is on can do it.
	c.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
	err := unix.IoctlLoopConfigure(int(dev.Fd()), &c)
	if errors.Is(err, unix.EINVAL) {
		c.Info.Flags &^= unix.LO_FLAGS_DIRECT_IO
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &c)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
		return err
	}
	// Kernels before 5.8 do it in two steps.
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_FD, int(image.Fd())); err != nil {
		return err
	}
	err = unix.IoctlLoopSetStatus64(int(dev.Fd()), &info)
	if err != nil {
		err = errors.Join(err, unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0))
	}
	return err
}

// alone refuses an image that is written through another loop device: two file systems that
// know nothing of each other would destroy it. A device that was just unmounted may be held
// for a moment by programs that look at each new one.
func (h Host) alone(ctx context.Context, image *os.File, path string) error {
	return h.patiently(ctx, func() (busy bool, err error) {
		dev, err := h.attached(image)
		if err != nil || dev == "" {
			return false, err
		}
		return true, fmt.Errorf("%s is in use as %s already", path, dev)
	})
}

// attached returns the loop device that an image is already written through, "" for none.
func (h Host) attached(image *os.File) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(image.Fd()), &st); err != nil {
		return "", err
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return "", err
	}
	for _, file := range loops {
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		dev, err := os.OpenFile(filepath.Join(h.dev(), name), os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
		dev.Close()
		// The number of the device is in the kernel's old spelling.
		if err == nil && info.Inode == st.Ino && info.Flags&unix.LO_FLAGS_READ_ONLY == 0 &&
			unix.Major(st.Dev) == uint32(info.Device>>8&0xfff) && unix.Minor(st.Dev) == uint32(info.Device&0xff|info.Device>>12&0xfff00) {
			return dev.Name(), nil
		}
	}
	return "", nil
}

// Loops returns the loop devices that have the image at path behind them.
func (h Host) Loops(path string) ([]string, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var devices []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.TrimSuffix(string(text), "\n") == path {
			devices = append(devices, filepath.Join(h.dev(), filepath.Base(filepath.Dir(filepath.Dir(file)))))
		}
	}
	return devices, nil
}

// Grown tells the loop devices of an image that it has another size now, so that the file
// system on it can be made larger while it is mounted.
func (h Host) Grown(path string) error {
	devices, err := h.Loops(path)
	if err != nil {
		return err
	}
	for _, device := range devices {
		dev, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_CAPACITY, 0)
		dev.Close()
		if err != nil {
			return fmt.Errorf("tell %s its new size: %w", device, err)
		}
	}
	return nil
}
