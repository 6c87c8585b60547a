package run

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// Alive tells whether a process of that id exists, ours or not.
func Alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// Gone waits until the process has ended, asking every interval; it serves processes
// that are not our children.
func Gone(ctx context.Context, pid int, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for Alive(pid) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d is still there: %w", pid, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}
