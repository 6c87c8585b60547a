package link

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Tap says how a tap device is made.
type Tap struct {
	Name string
	// Owner is the user who may open the device without privileges; nil: root.
	Owner *int
	// MultiQueue makes a device with several queues; QEMU must then be told
	// queues=N, and only then.
	MultiQueue bool
}

// CreateTap makes a tap that stays until it is deleted, to be opened by QEMU by
// its name. One that is already there is an error.
func (h *Host) CreateTap(t Tap) error {
	exists, err := h.Exists(t.Name)
	if err != nil {
		return err
	}
	if exists {
		return fmt.Errorf("create tap %s: %w", t.Name, unix.EEXIST)
	}
	f, err := openQueue(t, unix.IFF_TUN_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	if t.Owner != nil {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, *t.Owner); err != nil {
			return wrap(err, "set owner of tap %s", t.Name)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return wrap(err, "keep tap %s", t.Name)
	}
	noIPv6(t.Name)
	return nil
}

// OpenTap makes a tap with the given number of queues and returns them open, to
// be passed to QEMU as fds=. The device is gone when the last of them is closed,
// so a QEMU that dies takes it along.
func (h *Host) OpenTap(t Tap, queues int) ([]*os.File, error) {
	t.MultiQueue = t.MultiQueue || queues > 1
	var files []*os.File
	for i := range max(queues, 1) {
		flags := uint16(0)
		if i == 0 {
			flags = unix.IFF_TUN_EXCL
		}
		f, err := openQueue(t, flags)
		if err != nil {
			for _, f := range files {
				err = errors.Join(err, f.Close())
			}
			return nil, err
		}
		files = append(files, f)
	}
	noIPv6(t.Name)
	return files, nil
}

// openQueue opens a queue of the tap, making the tap if it is not there.
func openQueue(t Tap, flags uint16) (*os.File, error) {
	if err := checkName(t.Name); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("create tap %s: open /dev/net/tun: %w", t.Name, err)
	}
	f := os.NewFile(uintptr(fd), "/dev/net/tun")
	r, err := unix.NewIfreq(t.Name)
	if err == nil {
		flags |= unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR
		if t.MultiQueue {
			flags |= unix.IFF_MULTI_QUEUE
		}
		r.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		return nil, errors.Join(wrap(err, "create tap %s", t.Name), f.Close())
	}
	return f, nil
}

// DeleteTap takes a tap off its bridge, with all that was made for it, and
// removes it. What is not there is no error.
func (h *Host) DeleteTap(name string) error {
	return errors.Join(h.Leave(name), h.Delete(name))
}
