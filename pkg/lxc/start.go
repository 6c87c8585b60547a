package lxc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/virtsmith/virtsmith/pkg/run"
)

// A Start says which container to start and how. It runs lxc-start in a process that shares
// nothing with ours: LXC forks, and a Go program that has threads must not be what it forks.
type Start struct {
	Name string
	Path string // the lxcpath
	File string // the configuration; empty for Path/Name/config
	Log  string // where LXC writes its log; it is appended to
	// Level is from which on lines are logged, such as DEBUG; empty for LXC's own choice,
	// ERROR.
	Level string
	// Env is added to the environment, which the hooks of the container see.
	Env []string
	// Init are the words of the program that runs first, for what lxc.init.cmd cannot say.
	Init []string
	// Pid is the file that holds the id of the monitor's process; empty for [PidFile].
	Pid string
	// Unit is the unit of systemd that the container is to be, such as pve-container@100.service;
	// empty where no systemd runs. It takes care that the controllers of control groups stay where
	// LXC wants them, outlives whoever has started it, and is ended before the machine is.
	Unit string
}

// A StartError tells why a container did not start.
type StartError struct {
	Name   string
	Faults []string // what LXC's log says, the cause first
	Log    string   // the file with all of it
	Err    error    // how lxc-start ended
}

// Error has the causes that LXC tells, and how it ended where it tells none or nobody waited
// for them.
func (e *StartError) Error() string {
	if failed, ok := errors.AsType[*run.Error](e.Err); !ok || failed.ExitCode < 0 || len(e.Faults) == 0 {
		return fmt.Sprintf("start of container %s: %v", e.Name, e.Err)
	}
	return fmt.Sprintf("start of container %s: %s", e.Name, strings.Join(e.Faults[:min(2, len(e.Faults))], "; "))
}

// Unwrap returns how lxc-start ended.
func (e *StartError) Unwrap() error { return e.Err }

func (s Start) pidFile() string {
	if s.Pid != "" {
		return s.Pid
	}
	return PidFile(s.Path, s.Name)
}

// Command is the command line that starts the container in the background and ends when it
// runs, or has failed.
func (s Start) Command() run.Cmd {
	config := s.File
	if config == "" {
		config = filepath.Join(s.Path, s.Name, "config")
	}
	args := []string{"-d", "-n", s.Name, "-P", s.Path, "-f", config, "-p", s.pidFile()}
	if s.Log != "" {
		args = append(args, "-o", s.Log)
	}
	if s.Level != "" {
		args = append(args, "-l", s.Level)
	}
	if len(s.Init) > 0 {
		args = append(append(args, "--"), s.Init...)
	}
	if s.Unit == "" {
		return run.Cmd{Path: "lxc-start", Args: args, Env: s.Env, Detached: true}
	}
	line := []string{
		"--quiet", "--collect", "--unit=" + s.Unit, "--description=LXC container " + s.Name, "--service-type=forking",
		"--property=PIDFile=" + s.pidFile(), "--property=Delegate=yes", "--property=KillMode=mixed", "--property=TimeoutStartSec=infinity",
		"--property=TimeoutStopSec=120s", "--property=TasksMax=infinity", "--property=OOMPolicy=continue",
	}
	// The signal by which systemd would end the monitor goes on to the init, which may take it for
	// something else.
	if stop, err := exec.LookPath("lxc-stop"); err == nil {
		line = append(line, "--property=ExecStop="+run.Quote(stop, "-P", s.Path, "-n", s.Name, "-t", strconv.Itoa(shutdown)))
	}
	for _, pair := range s.Env {
		line = append(line, "--setenv="+pair)
	}
	return run.Cmd{Path: "systemd-run", Args: append(append(line, "--", "lxc-start"), args...), Detached: true}
}

// shutdown is how many seconds the init of a container has when its unit is stopped.
const shutdown = 90

// launch runs the command. systemd forgets the unit of the last time a moment after its process
// has ended.
func (s Start) launch(ctx context.Context, r run.Runner) error {
	for deadline := time.Now().Add(dying); ; {
		err := r.Run(ctx, s.Command())
		failed, ok := errors.AsType[*run.Error](err)
		if s.Unit == "" || !ok || !strings.Contains(failed.Stderr, "already loaded") || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Run starts the container and returns when it runs. Its monitor then is a daemon of its
// own: in a session of its own, with no file of ours open and none of our processes above
// it. Where it does not come up before ctx ends, what has come up is ended.
func (s Start) Run(ctx context.Context, r run.Runner) error {
	// lxc-start itself says nothing of one that runs, and takes it for success.
	active, err := Active("/proc", s.Path)
	if err == nil && active[s.Name] {
		err = ErrRunning
	}
	if err != nil {
		return &StartError{Name: s.Name, Log: s.Log, Err: err}
	}
	// The hooks of the last time may not be over yet.
	if err := s.settle(ctx); err != nil {
		return &StartError{Name: s.Name, Log: s.Log, Err: err}
	}
	if err := s.removeGroups(ctx); err != nil {
		return &StartError{Name: s.Name, Log: s.Log, Err: fmt.Errorf("something of it is left: %w", err)}
	}
	from := int64(0)
	if st, err := os.Stat(s.Log); err == nil {
		from = st.Size()
	}
	err = s.launch(ctx, r)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), s.abandon())
	} else if late := s.settle(ctx); late != nil {
		err = errors.Join(err, late, s.abandon())
	}
	// What cannot be removed now is told by the next start.
	_ = s.removeGroups(ctx)
	lines, _ := ReadLog(s.Log, from)
	return &StartError{Name: s.Name, Faults: Faults(lines), Log: s.Log, Err: err}
}

const (
	// clearing is how long the hooks of a container that has ended may take.
	clearing = 30 * time.Second
	// dying is how long a monitor has to clear up after container and hooks were killed.
	dying = 5 * time.Second
)

// settle waits for a monitor that clears up, with the hooks that it runs.
func (s Start) settle(ctx context.Context) error {
	pid, ok := monitor(s.pidFile(), s.Path, s.Name)
	if !ok {
		return nil
	}
	ctx, stop := context.WithTimeoutCause(ctx, clearing, fmt.Errorf("LXC has not cleared up after %v: process %d", clearing, pid))
	defer stop()
	return ended(ctx, pid)
}

// removeGroups gives a monitor that has cleared up the moment it takes to exit.
func (s Start) removeGroups(ctx context.Context) error {
	for deadline := time.Now().Add(dying); ; {
		err := RemoveGroups("/proc", s.Name)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// abandon ends the monitor of a start that nobody waits for any more: its container first, so
// that LXC clears up, then itself.
func (s Start) abandon() error {
	deadline := time.NewTimer(dying)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		pid, ok := monitor(s.pidFile(), s.Path, s.Name)
		if !ok {
			return nil
		}
		killChildren(pid) // each time anew: LXC may have gone on to the next hook
		select {
		case <-look.C:
			continue
		case <-deadline.C:
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the monitor of container %s: %w", s.Name, err)
		}
		return nil
	}
}

// killChildren kills what a process has started: the container's init, or a hook with what
// that has started.
func killChildren(pid int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(raw)) {
			if child, err := strconv.Atoi(word); err == nil {
				killChildren(child)
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
		}
	}
}
