package mount

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on a thread with a working folder and a root of its own, which f may
// change, and may enter another mount namespace with. The thread ends with f, since nothing
// of that can be taken back.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end, and /proc/self shows what it sees. As long as
			// we have it, f gets another one.
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("unshare working folder: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// enter moves the thread into a mount namespace.
func enter(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter mount namespace: %w", err)
	}
	return nil
}
