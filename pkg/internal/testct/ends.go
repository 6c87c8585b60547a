package testct

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long LXC has to clear up after a container that was killed.
const patience = 10 * time.Second

// Ends ends, when the test does, every container that runs from below the folder, and undoes
// mounts and loop devices there. Root asks for it; a test with a folder of its own does so
// before it starts the first container.
func Ends(t testing.TB, folder string) {
	t.Helper()
	user := holdGroups(t)
	t.Cleanup(func() {
		end(folder)
		unmount(folder)
		detach(folder)
		// LXC keeps a lock file for each container there ever was.
		_ = os.RemoveAll(filepath.Join("/run/lxc/lock", folder))
		user.Close()
		dropGroups()
	})
}

// holdGroups says that a test runs containers. LXC leaves the groups that those of all
// containers are in, and only who finds nobody there may remove them. What is locked is the
// folder for temporary files: a file of our own would be left.
func holdGroups(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open(os.TempDir())
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH) // held alone for no longer than a few calls
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// dropGroups removes the groups of all containers where no other test runs any.
func dropGroups() {
	f, err := os.Open(os.TempDir())
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	for _, pattern := range []string{"/sys/fs/cgroup/lxc*", "/sys/fs/cgroup/*/lxc*"} {
		groups, _ := filepath.Glob(pattern)
		for _, group := range groups {
			switch filepath.Base(group) {
			case "lxc", "lxc.monitor", "lxc.pivot":
				_ = unix.Rmdir(group) // one that is not empty stays
			}
		}
	}
}

// Left tells what containers from below the folder have left on this machine: processes,
// mounts, loop devices; and control groups and network devices of the guest ids given. Nothing
// is left of one that has ended and been cleared up after. The kernel takes the network of a
// container down a moment after its last process, and a monitor takes a moment to exit: that
// is waited for while no container runs.
func Left(folder string, ids ...int) []string {
	left := leftNow(folder, ids)
	for deadline := time.Now().Add(patience); len(left) > 0 && !anyRuns(folder) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		left = leftNow(folder, ids)
	}
	return left
}

// anyRuns looks for the sockets on which the monitors of containers that run take commands.
func anyRuns(folder string) bool {
	raw, err := os.ReadFile("/proc/net/unix")
	return err != nil || strings.Contains(string(raw), "@"+folder+"/")
}

func leftNow(folder string, ids []int) []string {
	var left []string
	for _, pid := range monitors(folder) {
		left = append(left, "process "+strconv.Itoa(pid)+" "+commandLine(pid))
	}
	for _, at := range mountsBelow(folder) {
		left = append(left, "mount "+at)
	}
	for _, device := range loops(folder) {
		left = append(left, "loop device "+device)
	}
	links, _ := filepath.Glob("/sys/class/net/*")
	for _, id := range ids {
		name := strconv.Itoa(id)
		for _, group := range groups(name) {
			left = append(left, "control group "+group)
		}
		for _, link := range links {
			for _, prefix := range []string{"veth" + name + "i", "fwbr" + name + "i", "fwln" + name + "i", "fwpr" + name + "p"} {
				if strings.HasPrefix(filepath.Base(link), prefix) {
					left = append(left, "network device "+filepath.Base(link))
				}
			}
		}
	}
	return left
}

// end kills containers, then waits for the monitors of LXC to clear up, then kills those.
func end(folder string) {
	inside := []string{}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		list := monitors(folder)
		if len(list) == 0 {
			break
		}
		late := time.Now().After(deadline)
		for _, pid := range list {
			inside = append(inside, groupDirs(pid)...)
			for _, child := range children(pid) {
				inside = append(inside, groupDirs(child)...)
				// A frozen process takes no signal by version 1.
				thaw(child)
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
			if late {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if time.Now().After(deadline.Add(patience / 2)) {
			break
		}
	}
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(inside))) {
		if strings.Contains(dir, "/lxc") {
			removeGroup(dir)
		}
	}
}

// monitors are the processes of LXC that name the folder.
func monitors(folder string) []int {
	var found []int
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line := commandLine(pid)
		if strings.Contains(line, "lxc") && (strings.Contains(line, folder+"/") || strings.Contains(line, folder+" ")) {
			found = append(found, pid)
		}
	}
	return found
}

func commandLine(pid int) string {
	raw, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return strings.ReplaceAll(string(raw), "\x00", " ")
}

func children(pid int) []int {
	var found []int
	lists, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, list := range lists {
		raw, _ := os.ReadFile(list)
		for word := range strings.FieldsSeq(string(raw)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// cgroupMounts are where hierarchies of control groups are mounted, version 2 first.
func cgroupMounts() []string {
	var first, rest []string
	for _, fields := range mountInfo() {
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+1 >= len(fields) {
			continue
		}
		switch fields[dash+1] {
		case "cgroup2":
			first = append(first, fields[4])
		case "cgroup":
			rest = append(rest, fields[4])
		}
	}
	return append(first, rest...)
}

func mountInfo() [][]string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var all [][]string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 6 {
			all = append(all, fields)
		}
	}
	return all
}

// groupDirs are the folders of the control groups that a process is in.
func groupDirs(pid int) []string {
	raw, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	var dirs []string
	for line := range strings.Lines(string(raw)) {
		if _, path, ok := strings.Cut(line, ":"); ok {
			_, path, _ = strings.Cut(strings.TrimSpace(path), ":")
			for _, at := range cgroupMounts() {
				if dir := filepath.Join(at, path); path != "/" && isThere(dir) {
					dirs = append(dirs, dir)
				}
			}
		}
	}
	return dirs
}

func thaw(pid int) {
	for _, dir := range groupDirs(pid) {
		// Version 1 has the first of these files, version 2 the second.
		for ; strings.Contains(dir, "/lxc"); dir = filepath.Dir(dir) {
			for name, text := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
				if at := filepath.Join(dir, name); isThere(at) {
					_ = os.WriteFile(at, []byte(text), 0)
				}
			}
		}
	}
}

// groups are the control groups of the container of that name, wherever LXC makes them.
func groups(name string) []string {
	var found []string
	for _, at := range cgroupMounts() {
		for _, dir := range append(groupDirs(os.Getpid()), at) {
			for _, kind := range []string{"lxc", "lxc.monitor", "lxc.payload"} {
				matches, _ := filepath.Glob(filepath.Join(dir, kind, name))
				dotted, _ := filepath.Glob(filepath.Join(dir, kind+"."+name))
				found = append(append(found, matches...), dotted...)
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(found)))
}

func removeGroups(name string) {
	for _, dir := range groups(name) {
		removeGroup(dir)
	}
}

// removeGroup removes a control group with those below it that have no processes.
func removeGroup(dir string) {
	below, _ := os.ReadDir(dir)
	for _, d := range below {
		if d.IsDir() {
			removeGroup(filepath.Join(dir, d.Name()))
		}
	}
	_ = syscall.Rmdir(dir)
}

// mountsBelow are what is mounted at the folder and below, the last first.
func mountsBelow(folder string) []string {
	var found []string
	for _, fields := range mountInfo() {
		if at := fields[4]; at == folder || strings.HasPrefix(at, folder+"/") {
			found = append(found, strings.ReplaceAll(at, `\040`, " "))
		}
	}
	slices.Reverse(found)
	return found
}

func unmount(folder string) {
	for _, at := range mountsBelow(folder) {
		if syscall.Unmount(at, 0) != nil {
			_ = syscall.Unmount(at, syscall.MNT_DETACH)
		}
	}
}

// loops are the loop devices of files below the folder.
func loops(folder string) []string {
	var found []string
	all, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, at := range all {
		raw, err := os.ReadFile(at)
		if err == nil && strings.HasPrefix(string(raw), folder+"/") {
			found = append(found, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(at))))
		}
	}
	return found
}

func detach(folder string) {
	for _, device := range loops(folder) {
		_ = exec.Command("losetup", "-d", device).Run()
	}
}
