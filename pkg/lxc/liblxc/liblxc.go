// Package liblxc talks to running containers through LXC's library. Nothing is started by
// it: a program with threads must not be what LXC forks, so package lxc above runs lxc-start.
//
// The library is linked where the build tag liblxc is set, which takes cgo, the package
// lxc-dev and a compiler; make sets it where pkg-config finds lxc, for the commands that
// need it and for the tests. Every other build, a plain "go build ./..." among them, has no need of
// any of these, and then each call returns [ErrNotBuilt].
package liblxc

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/lxc"
)

var (
	// ErrNotBuilt is the error of a program that was built without the library.
	ErrNotBuilt = errors.New("this program was built without liblxc (build tag liblxc)")
	// ErrNotRunning is the error of what only a running container can do.
	ErrNotRunning = errors.New("not running")
)

// patience is how long the monitor of a container has to answer.
const patience = 30 * time.Second

// A Runtime talks to the containers below a folder, the lxcpath, by their names. Several
// goroutines may use it. A call ends with its context, and all but the waits of
// Stop and Shutdown after half a minute; whatever the library still does then is left to
// come to its end.
type Runtime struct{ Path string }

// handle is one container as the library has it, opened for one call.
type handle interface {
	State() string // RUNNING, STOPPED, FROZEN, …
	InitPid() int
	Freeze() error
	Unfreeze() error
	Stop() error
	Shutdown() error // sends the signal, does not wait
	Reboot() error   // sends the signal
	SetCgroupItem(key, value string) error
	CgroupItem(key string) []string
	Release() error
}

// State returns the state of a container in LXC's words: RUNNING, STOPPED, STARTING,
// STOPPING, ABORTING, FREEZING, FROZEN, THAWED.
func (r Runtime) State(ctx context.Context, name string) (string, error) {
	return call(ctx, r.Path, name, "state", func(c handle) (string, error) { return c.State(), nil })
}

// InitPID returns the process that is the init of a running container, 0 where it does not
// run.
func (r Runtime) InitPID(ctx context.Context, name string) (int, error) {
	return call(ctx, r.Path, name, "init", func(c handle) (int, error) { return max(0, c.InitPid()), nil })
}

// Frozen tells whether the container holds still.
func (r Runtime) Frozen(ctx context.Context, name string) (bool, error) {
	state, err := r.State(ctx, name)
	return state == frozen, err
}

const frozen, stopped = "FROZEN", "STOPPED"

// Freeze makes all processes of a container hold still. One that does already is fine.
func (r Runtime) Freeze(ctx context.Context, name string) error {
	return r.do(ctx, name, "freeze", func(c handle) error {
		if c.State() == frozen {
			return nil
		}
		return c.Freeze()
	})
}

// Unfreeze lets them go on. One whose processes do is fine.
func (r Runtime) Unfreeze(ctx context.Context, name string) error {
	return r.do(ctx, name, "unfreeze", func(c handle) error {
		if c.State() != frozen {
			return nil
		}
		return c.Unfreeze()
	})
}

// Stop kills the container, frozen or not, and returns when it is gone and its last hook is
// over. One that does not run is fine.
func (r Runtime) Stop(ctx context.Context, name string) error {
	err := r.do(ctx, name, "stop", func(c handle) error {
		if c.State() != frozen {
			return c.Stop()
		}
		// With control groups of version 1 the library would wait for ever for a container that
		// cannot even die. The signal waits for it, so that it does nothing else when it wakes up.
		if pid := c.InitPid(); pid > 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		return c.Unfreeze()
	})
	return r.gone(ctx, name, "stop", err)
}

// Shutdown asks the init to end, by the signal lxc.signal.halt, and returns when the
// container is gone and its last hook is over. One that does not run is fine.
func (r Runtime) Shutdown(ctx context.Context, name string) error {
	err := r.do(ctx, name, "shutdown", handle.Shutdown)
	return r.gone(ctx, name, "shutdown", err)
}

// Reboot asks the init to reboot, by the signal lxc.signal.reboot.
func (r Runtime) Reboot(ctx context.Context, name string) error {
	return r.do(ctx, name, "reboot", handle.Reboot)
}

// SetCgroup sets a file of the container's control group, such as memory.max.
func (r Runtime) SetCgroup(ctx context.Context, name, file, value string) error {
	return r.do(ctx, name, "set "+file+" to "+value, func(c handle) error { return c.SetCgroupItem(file, value) })
}

// Cgroup reads such a file, less the line end. LXC does not tell a file that is not there
// from an empty one.
func (r Runtime) Cgroup(ctx context.Context, name, file string) (string, error) {
	return call(ctx, r.Path, name, "read "+file, func(c handle) (string, error) {
		if c.State() == stopped {
			return "", ErrNotRunning
		}
		text := ""
		for i, line := range c.CgroupItem(file) {
			if i > 0 {
				text += "\n"
			}
			text += line
		}
		return text, nil
	})
}

// gone waits for the end that was asked for.
func (r Runtime) gone(ctx context.Context, name, what string, err error) error {
	if err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	if err := lxc.Gone(ctx, r.Path, name); err != nil {
		return fmt.Errorf("container %s: %s: %w", name, what, err)
	}
	return nil
}

// do calls fn with a container that runs.
func (r Runtime) do(ctx context.Context, name, what string, fn func(handle) error) error {
	_, err := call(ctx, r.Path, name, what, func(c handle) (struct{}, error) {
		if c.State() == stopped {
			return struct{}{}, ErrNotRunning
		}
		err := fn(c)
		if err != nil && c.State() == stopped { // it has just ended
			err = ErrNotRunning
		}
		return struct{}{}, err
	})
	return err
}

// call opens a container, calls fn with it and releases it. The library waits for answers of
// the monitor in C, where no context reaches, so it does that aside.
func call[T any](ctx context.Context, path, name, what string, fn func(handle) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	ctx, stop := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer from LXC within %v", patience))
	defer stop()
	if ctx.Err() != nil {
		return none, fmt.Errorf("container %s: %s: %w", name, what, context.Cause(ctx))
	}
	done := make(chan answer, 1)
	go func() {
		c, err := open(path, name)
		if err != nil {
			done <- answer{err: err}
			return
		}
		value, err := fn(c)
		done <- answer{value, errors.Join(err, c.Release())}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return none, fmt.Errorf("container %s: %s: %w", name, what, a.err)
		}
		return a.value, nil
	case <-ctx.Done():
		return none, fmt.Errorf("container %s: %s: %w", name, what, context.Cause(ctx))
	}
}
