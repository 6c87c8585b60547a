package lxc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// MonitorGroup names the control group of a container's monitor, for the key
// lxc.cgroup.dir.monitor.
func MonitorGroup(name string) string { return "lxc.monitor/" + name }

// PayloadGroup names the control group of the container itself, for the key
// lxc.cgroup.dir.container.
func PayloadGroup(name string) string { return "lxc/" + name }

// RemoveGroups removes the control groups of a container that does not run. LXC leaves some
// when a start fails, and then refuses the next one; a monitor that was killed leaves all.
// A process that is still in one is an error; proc is /proc on a real machine.
func RemoveGroups(proc, name string) error {
	var errs []error
	for _, base := range groupBases(proc) {
		for _, group := range []string{PayloadGroup(name), MonitorGroup(name)} {
			errs = append(errs, removeGroup(filepath.Join(base, group)))
		}
	}
	return errors.Join(errs...)
}

// removeGroup removes a folder of control groups, which is empty but for the kernel's files.
func removeGroup(dir string) error {
	below, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, d := range below {
		if d.IsDir() {
			errs = append(errs, removeGroup(filepath.Join(dir, d.Name())))
		}
	}
	if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, syscall.ENOENT) {
		errs = append(errs, fmt.Errorf("control group %s: %w", dir, err))
	}
	return errors.Join(errs...)
}

// groupBases are the folders below which LXC makes groups: in each hierarchy the group of the
// machine's first process, which is the mount itself but for machines that run in a container.
func groupBases(proc string) []string {
	mounts, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil
	}
	var bases []string
	first := firstGroups(proc)
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+1 >= len(fields) || fields[dash+1] != "cgroup" && fields[dash+1] != "cgroup2" {
			continue
		}
		bases = append(bases, fields[4])
		for own := range first {
			if dir := filepath.Join(fields[4], own); own != "/" && isDir(dir) {
				bases = append(bases, dir)
			}
		}
	}
	return bases
}

// firstGroups are the groups of process 1, less the one systemd makes for itself.
func firstGroups(proc string) map[string]bool {
	groups := map[string]bool{}
	for line := range strings.Lines(readSome(filepath.Join(proc, "1/cgroup"))) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			groups[filepath.Clean("/"+strings.TrimSuffix(parts[2], "/init.scope"))] = true
		}
	}
	return groups
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// Groups lists the folders of the control groups that a container has.
func Groups(proc, name string) []string {
	var found []string
	for _, base := range groupBases(proc) {
		for _, group := range []string{PayloadGroup(name), MonitorGroup(name)} {
			if dir := filepath.Join(base, group); isDir(dir) {
				found = append(found, dir)
			}
		}
	}
	return found
}
