package lxc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrElsewhere is the error of a container whose control group another one has, of a node
// beside ours.
var ErrElsewhere = errors.New("its control group belongs to a container that runs elsewhere on this machine")

// EndLeftovers kills what is left of a container that does not run: its processes outlive a
// monitor that was killed. It returns when they are gone. Those of a container that has a
// monitor are not touched: they are another's, see [ErrElsewhere]. proc is /proc on a real
// machine.
func EndLeftovers(ctx context.Context, proc, name string) error {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		left, err := leftovers(proc, name)
		if err != nil || len(left) == 0 {
			return err
		}
		for pid := range left {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end what is left of container %s: %w", name, err)
			}
		}
		thaw(proc, name)
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("end what is left of container %s: %w", name, context.Cause(ctx))
		}
	}
}

// leftovers are the processes of a container that has no monitor.
func leftovers(proc, name string) (map[int]bool, error) {
	left := map[int]bool{}
	for _, base := range groupBases(proc) {
		if err := addProcs(filepath.Join(base, PayloadGroup(name)), left); err != nil {
			return nil, err
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	monitor := map[int]bool{}
	for _, base := range groupBases(proc) {
		if err := addProcs(filepath.Join(base, MonitorGroup(name)), monitor); err != nil {
			return nil, err
		}
	}
	if len(monitor) > 0 {
		return nil, ErrElsewhere
	}
	return left, nil
}

// addProcs adds the processes of a control group and of those below it.
func addProcs(dir string, to map[int]bool) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
			to[pid] = true
		}
	}
	below, err := os.ReadDir(dir)
	if err != nil {
		return nil // it has just gone
	}
	for _, d := range below {
		if d.IsDir() {
			if err := addProcs(filepath.Join(dir, d.Name()), to); err != nil {
				return err
			}
		}
	}
	return nil
}

// thaw lets the processes of a container run that hold still: they cannot die else. Version 1
// has the first of the files, version 2 the second.
func thaw(proc, name string) {
	for _, base := range groupBases(proc) {
		for file, text := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
			path := filepath.Join(base, PayloadGroup(name), file)
			if _, err := os.Stat(path); err == nil {
				_ = os.WriteFile(path, []byte(text), 0)
			}
		}
	}
}
