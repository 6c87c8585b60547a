// Package testdaemon starts the servers that tests talk to.
package testdaemon

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Start starts a program in a group of its own, which is killed with this process at the
// latest. What it returns is closed when the program has ended.
func Start(c *exec.Cmd) (ended <-chan struct{}, err error) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The kernel takes the end of the thread that starts it for that of this process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := c.Start()
		started <- err
		if err == nil {
			_ = c.Wait() // how it ends is seen by who talks to it
		}
	}()
	return done, <-started
}
