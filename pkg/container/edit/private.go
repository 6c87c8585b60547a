package edit

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// private runs fn in a mount namespace of its own: what fn mounts nobody else sees, and it is
// gone when fn has ended, or we have, however that comes. It holds for fn's goroutine alone.
func private(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end. As long as we have it, fn gets another one.
			defer runtime.UnlockOSThread()
			done <- private(fn)
			return
		}
		if err := unshare(); err != nil {
			done <- fmt.Errorf("make a mount namespace: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

func unshare() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
}
