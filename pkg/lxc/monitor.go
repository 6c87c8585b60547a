package lxc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PidFile is where the id of a container's monitor stands while there is one: the process of
// LXC that is the parent of its init, and runs its hooks.
func PidFile(lxcpath, name string) string { return filepath.Join(lxcpath, name, "monitor.pid") }

// Monitor returns the process that watches the container, from before its first hook until
// after its last: longer than [Active] has it.
func Monitor(lxcpath, name string) (pid int, ok bool) {
	return monitor(PidFile(lxcpath, name), lxcpath, name)
}

// monitor reads a pid file, which may be of another time: the process must be one of this
// container. One that has ended and was not waited for yet has no command line.
func monitor(pidFile, lxcpath, name string) (pid int, ok bool) {
	pid, err := strconv.Atoi(strings.TrimSpace(readSome(pidFile)))
	if err != nil || pid <= 1 {
		return 0, false
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	// It is "[lxc monitor] PATH NAME", or that of lxc-start before.
	return pid, err == nil && bytes.Contains(line, []byte(lxcpath)) && bytes.Contains(line, []byte(name))
}

// Gone waits until the container has ended, LXC has cleared up after it and its last
// hook is over. A container that does not run is gone.
func Gone(ctx context.Context, lxcpath, name string) error {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		if pid, ok := Monitor(lxcpath, name); ok {
			if err := ended(ctx, pid); err != nil {
				return err
			}
			continue
		}
		// One that somebody else has started has no pid file.
		active, err := Active("/proc", lxcpath)
		if err != nil || !active[name] {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended waits for the end of a process, whoever waits for it besides.
func ended(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return context.Cause(ctx)
}
