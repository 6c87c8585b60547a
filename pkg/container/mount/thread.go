package mount

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

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

// namespace returns a namespace of the given kind, "user" or "mnt", of a process with new
// namespaces as the flags say. The kernel makes none without a process in it: a copy of ours,
// which is stopped before it runs and ended when its namespace is open.
func namespace(kind string, flags uintptr, users, groups []IDRange) (*os.File, error) {
	// Who traces is a thread, not a process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"namespace"}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags:  flags,
			UidMappings: sysMap(users),
			GidMappings: sysMap(groups),
			Ptrace:      true,
			Pdeathsig:   syscall.SIGKILL,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make %s namespace: %w", kind, err)
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(p.Pid) + "/ns/" + kind)
	if killed := p.Kill(); err == nil {
		err = killed
	}
	if _, waited := p.Wait(); err == nil {
		err = waited
	}
	if err != nil && ns != nil {
		ns.Close()
	}
	return ns, err
}

// locked returns a copy of a mount with options that no user namespace below ours can take
// back, and closes the mount. The kernel locks them in what a namespace of mounts gets from
// one above, not in what is put into it; so the copy comes from such a namespace.
func locked(mount *os.File) (*os.File, error) {
	defer mount.Close()
	var copied *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return err
		}
		// Any folder will do that is not needed and always there: nobody else sees it.
		const here = "/dev"
		err := unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, here, unix.MOVE_MOUNT_F_EMPTY_PATH)
		if err != nil {
			return err
		}
		self := []IDRange{{Count: 1}}
		ns, err := namespace("mnt", syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, self, self)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := enter(ns); err != nil {
			return err
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, here, unix.OPEN_TREE_CLONE|unix.O_CLOEXEC)
		if err != nil {
			return err
		}
		copied = os.NewFile(uintptr(fd), mount.Name())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lock mount options: %w", err)
	}
	return copied, nil
}
