package app

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// replace runs a program in the place of this process: terminal, signals and exit code are
// its own from then on. It enters a container, so no file goes with it but standard input and
// output: a folder of the host that our caller had open would be a way out of the container.
func replace(argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("%s is not installed: %w", argv[0], err)
	}
	if err := closeOnExec(3); err != nil {
		return fmt.Errorf("close the files that a container must not get: %w", err)
	}
	if err := syscall.Exec(path, argv, forContainer(os.Environ())); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}

// closeOnExec has files closed when this process becomes another program, from the given
// number on.
func closeOnExec(from int) error {
	err := unix.CloseRange(uint(from), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux has it since 5.11.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, f := range open {
		var fd int
		if _, err := fmt.Sscan(f.Name(), &fd); err == nil && fd >= from {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// forContainer leaves out of an environment what says how this process was started: it is
// not the user's, and one of the variables is a ticket.
func forContainer(env []string) []string {
	return slices.DeleteFunc(env, func(pair string) bool {
		return strings.HasPrefix(pair, "VIRTSMITH_") || strings.HasPrefix(pair, "LC_PVE_TICKET=")
	})
}
