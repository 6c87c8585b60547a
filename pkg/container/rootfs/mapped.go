package rootfs

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// making runs what makes a file in the root. Where a mount maps the owners on disk, those of
// the host may have no number there, and can make nothing: then it is made by the root's owner,
// who has one.
func (r *Root) making(f func() error) error {
	err := f()
	if !errors.Is(err, unix.EOVERFLOW) {
		return err
	}
	return asOwner(r.owner, f)
}

// asOwner runs f on a thread that makes files as the given owner, and may do all else that we may.
// The thread ends with f.
func asOwner(owner Owner, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end. As long as we have it, f gets another one.
			defer runtime.UnlockOSThread()
			done <- asOwner(owner, f)
			return
		}
		err := become(owner)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// become changes the owner of what this thread makes, and takes back what it loses with that.
func become(owner Owner) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // one is for the upper half
	if err := unix.Capget(&head, &data[0]); err != nil {
		return err
	}
	if err := unix.Setfsgid(owner.GID); err != nil {
		return err
	}
	if err := unix.Setfsuid(owner.UID); err != nil {
		return err
	}
	return unix.Capset(&head, &data[0])
}
