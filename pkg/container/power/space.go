package power

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// SpaceVariable tells hooks the mount namespace that the container was started from. They run
// in the monitor's, where they would keep what is mounted there busy.
const SpaceVariable = "VIRTSMITH_MOUNT_NAMESPACE"

// mountSpace names the mount namespace we are in.
func mountSpace() string {
	name, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return ""
	}
	return name
}

// outside starts a program that outlives us, in the mount namespace of the given name.
func outside(argv []string, space string) error {
	done := make(chan error, 1)
	go func() {
		// The thread ends with this function, as it stays locked: nothing else ever runs in
		// the namespace that it enters.
		runtime.LockOSThread()
		done <- launch(argv, space)
	}()
	return <-done
}

func launch(argv []string, space string) error {
	if space != "" && space != mountSpace() {
		if err := enter(space); err != nil {
			return fmt.Errorf("leave the mounts of the container: %w", err)
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, null, null}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	return p.Release()
}

// enter takes this thread into the mount namespace of the given name, which some process is in:
// the machine's first one, mostly.
func enter(space string) error {
	links, err := filepath.Glob("/proc/[0-9]*/ns/mnt")
	if err != nil {
		return err
	}
	for _, link := range append([]string{"/proc/1/ns/mnt"}, links...) {
		if name, err := os.Readlink(link); err != nil || name != space {
			continue
		}
		f, err := os.Open(link)
		if err != nil {
			continue // it has just ended
		}
		defer f.Close()
		// Threads share their root and working folder, which keeps them in their namespace.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Setns(int(f.Fd()), unix.CLONE_NEWNS)
	}
	return errors.New("no process is left in the mount namespace that the container was started from")
}
