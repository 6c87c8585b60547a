package unpack

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/container/idmap"
)

// confined runs fn in a thread of its own whose root folder is root, for good: it ends with
// fn. What fn does with files, it does as root of the container, with the capabilities that
// take care of owners and modes but none that leads out. The process, and whatever else
// runs in it, stays as it is.
func confined(root string, ids idmap.Map, fn func() error) error {
	uid, gid, err := ids.Root()
	if err != nil {
		return err
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	own(func() {
		if err := shutIn(fd, uid, gid, ids.Privileged()); err != nil {
			done <- fmt.Errorf("go into '%s': %w", root, err)
			return
		}
		done <- fn()
	})
	return <-done
}

// own runs fn in a thread that ends with it. The first thread of a process cannot end, and
// what /proc tells of the process is told of that thread: it is not taken.
func own(fn func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		done := make(chan struct{})
		own(func() { defer close(done); fn() }) // another thread, as this one is held
		<-done
		runtime.UnlockOSThread()
	}()
}

// shutIn makes the folder the root of this thread.
func shutIn(fd int, uid, gid uint32, privileged bool) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Fchdir(fd); err != nil {
		return fmt.Errorf("fchdir: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	unix.Umask(0)
	// Both report what was before, so only asking again tells whether they worked.
	if err := setFS(unix.SYS_SETFSGID, gid); err != nil {
		return err
	}
	if err := setFS(unix.SYS_SETFSUID, uid); err != nil {
		return err
	}
	return keepCapabilities(privileged)
}

func setFS(call uintptr, id uint32) error {
	unix.RawSyscall(call, uintptr(id), 0, 0)
	now, _, _ := unix.RawSyscall(call, ^uintptr(0), 0, 0)
	if uint32(now) != id {
		return fmt.Errorf("files cannot be made as id %d", id)
	}
	return nil
}

// keepCapabilities gives up all capabilities of the thread but those that unpacking needs.
// Taking on a user has dropped them from the effective ones; they are put back.
func keepCapabilities(mknod bool) error {
	var keep uint64
	for _, c := range []uint{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_SETFCAP} {
		keep |= 1 << c
	}
	if mknod {
		keep |= 1 << unix.CAP_MKNOD
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		half := uint32(keep >> (32 * i))
		data[i] = unix.CapUserData{Effective: half, Permitted: half}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}
