package lxc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// Programs talk to running containers below a folder, the lxcpath, as package liblxc does, but
// through the programs of LXC: slower by a process each time, and good for programs that were
// built without the library.
type Programs struct {
	Path string
	Run  run.Runner
}

// do runs one of LXC's programs for a container.
func (p Programs) do(ctx context.Context, program, name string, args ...string) (string, error) {
	args = append([]string{"-P", p.Path, "-n", name}, args...)
	out, err := run.OutputOf(ctx, p.Run, run.Cmd{Path: program, Args: args, ReadOnly: program == "lxc-info"})
	if err != nil {
		return "", fmt.Errorf("container %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// running tells whether the container is there to be asked.
func (p Programs) running(name string) (bool, error) {
	active, err := Active("/proc", p.Path)
	return active[name], err
}

// errStopped is the error of what only a running container can do.
var errStopped = errors.New("not running")

// doRunning is do for a container that has to run.
func (p Programs) doRunning(ctx context.Context, program, name string, args ...string) (string, error) {
	running, err := p.running(name)
	if err == nil && !running {
		err = fmt.Errorf("container %s: %w", name, errStopped)
	}
	if err != nil {
		return "", err
	}
	return p.do(ctx, program, name, args...)
}

// InitPID returns the process that is the init of a running container, 0 where it does not
// run.
func (p Programs) InitPID(ctx context.Context, name string) (int, error) {
	if running, err := p.running(name); err != nil || !running {
		return 0, err
	}
	out, err := p.do(ctx, "lxc-info", name, "-p", "-H")
	if err != nil || out == "" {
		return 0, err
	}
	pid, err := strconv.Atoi(out)
	if err != nil {
		return 0, fmt.Errorf("container %s: lxc-info tells no process: %q", name, out)
	}
	return max(0, pid), nil
}

// Frozen tells whether the container holds still.
func (p Programs) Frozen(ctx context.Context, name string) (bool, error) {
	if running, err := p.running(name); err != nil || !running {
		return false, err
	}
	out, err := p.do(ctx, "lxc-info", name, "-s", "-H")
	return out == "FROZEN", err
}

// Freeze makes all processes of a container hold still.
func (p Programs) Freeze(ctx context.Context, name string) error {
	_, err := p.doRunning(ctx, "lxc-freeze", name)
	return err
}

// Unfreeze lets them go on.
func (p Programs) Unfreeze(ctx context.Context, name string) error {
	_, err := p.doRunning(ctx, "lxc-unfreeze", name)
	return err
}

// Stop kills the container, frozen or not, and returns when it is gone and its last hook is
// over. One that does not run is fine.
func (p Programs) Stop(ctx context.Context, name string) error {
	if frozen, err := p.Frozen(ctx, name); err != nil {
		return err
	} else if frozen {
		// What holds still cannot die. The signal waits for it.
		pid, err := p.InitPID(ctx, name)
		if err == nil && pid > 0 {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		if err := p.Unfreeze(ctx, name); err != nil && !errors.Is(err, errStopped) {
			// It may have died before lxc-unfreeze was told that it goes on.
			if still, look := p.Frozen(ctx, name); look == nil && still {
				return err
			}
		}
	} else if _, err := p.doRunning(ctx, "lxc-stop", name, "-k"); err != nil && !errors.Is(err, errStopped) {
		if still, look := p.running(name); look != nil || still {
			return err
		}
	}
	return Gone(ctx, p.Path, name)
}

// Shutdown asks the init to end, by the signal lxc.signal.halt, and returns when the
// container is gone and its last hook is over. One that does not run is fine.
func (p Programs) Shutdown(ctx context.Context, name string) error {
	if _, err := p.doRunning(ctx, "lxc-stop", name, "--nokill", "--nowait"); err != nil && !errors.Is(err, errStopped) {
		return err
	}
	return Gone(ctx, p.Path, name)
}

// SetCgroup sets a file of the container's control group, such as memory.max.
func (p Programs) SetCgroup(ctx context.Context, name, file, value string) error {
	// A value may begin with a dash: no limit is -1.
	_, err := p.doRunning(ctx, "lxc-cgroup", name, "--", file, value)
	return err
}

// Cgroup reads such a file, less the line end.
func (p Programs) Cgroup(ctx context.Context, name, file string) (string, error) {
	return p.doRunning(ctx, "lxc-cgroup", name, file)
}
