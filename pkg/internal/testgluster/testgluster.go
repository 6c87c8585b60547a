// Package testgluster gives tests a Gluster of their own: a server with the volumes that they
// want, in namespaces in which nobody else is.
package testgluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Address is that of the server, which is there in the world of the tests only.
const Address = "10.66.0.1"

// variable says that the tests have a world of their own.
const variable = "VIRTSMITH_TEST_ALONE"

// Main runs the tests of a package: where there can be a Gluster, in namespaces of their
// own. They have a network of their own for its ports, its folders, and processes and
// mounts that end with them.
func Main(m *testing.M) int {
	if os.Getenv(variable) != "" || missing() != nil {
		return m.Run()
	}
	args := []string{
		"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--",
		"sh", "-c", `ip link set lo up && exec "$0" "$@"`,
	}
	c := exec.Command("unshare", append(append(args, os.Args[0]), os.Args[1:]...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), variable+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer time.AfterFunc(patience(), func() { giveUp(c.Process.Pid) }).Stop()
	err := c.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// patience is how long the tests may take: many times what they do.
func patience() time.Duration {
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		return 40 * time.Minute
	}
	return 8 * time.Minute
}

// giveUp ends the world below a process, and says where it hangs. The clients go first: what
// waits in a mount whose client hangs can neither go on nor be killed.
func giveUp(parent int) {
	fmt.Fprintln(os.Stderr, "the tests hang: they are ended")
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	var tests int
	_, _ = fmt.Sscan(string(text), &tests)
	world, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", tests))
	kill := func(program string) {
		members, _ := filepath.Glob("/proc/[0-9]*")
		for _, member := range members {
			name, _ := os.ReadFile(member + "/comm")
			if in, _ := os.Readlink(member + "/ns/pid"); world == "" || in != world || program != "" && strings.TrimSpace(string(name)) != program {
				continue
			}
			var pid int
			_, _ = fmt.Sscan(filepath.Base(member), &pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if tests > 0 {
		_ = syscall.Kill(tests, syscall.SIGQUIT)
	}
	kill("glusterfs")
	time.Sleep(5 * time.Second)
	kill("")
}

// missing tells what a Gluster of the tests would need.
func missing() error {
	if os.Getuid() != 0 {
		return errors.New("only root can have one of its own")
	}
	for _, program := range []string{"glusterd", "gluster", "mount.glusterfs", "unshare", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	_, err := os.Stat("/dev/fuse")
	return err
}

// A Server is glusterd.
type Server struct {
	t   testing.TB
	pid int
}

// A Volume says what a volume is to be like.
type Volume struct {
	Size string // of its file system, as 800m
	// Full says that it will get full. The client may crash or hang then, where it writes
	// behind: it does not.
	Full bool
}

// Start starts the server with some volumes, by their names. It does so once for all tests that are run together, which
// may want other volumes: it ends with their world. It skips the test where there can be
// none; the package needs [Main].
func Start(t testing.TB, volumes map[string]Volume) *Server {
	t.Helper()
	if err := missing(); err != nil {
		t.Skipf("needs Gluster: %v", err)
	}
	if os.Getenv(variable) == "" {
		t.Fatal("the tests are not alone: TestMain has to call testgluster.Main")
	}
	s := &Server{t: t}
	const marker = "/run/gluster-of-tests"
	if text, err := os.ReadFile(marker); err == nil {
		_, _ = fmt.Sscan(string(text), &s.pid)
	} else {
		s.begin()
		must(t, "sh", "-c", fmt.Sprintf("echo %d >%s", s.pid, marker))
	}
	for volume, as := range volumes {
		if Has(volume) {
			continue
		}
		must(t, "mkdir", "/run/"+volume)
		must(t, "mount", "-t", "tmpfs", "-o", "size="+as.Size, "tests", "/run/"+volume)
		must(t, "gluster", "--mode=script", "volume", "create", volume, Address+":/run/"+volume+"/brick", "force")
		if as.Full {
			must(t, "gluster", "--mode=script", "volume", "set", volume, "performance.write-behind", "off")
		}
		must(t, "gluster", "--mode=script", "volume", "start", volume)
	}
	return s
}

// Has tells whether a volume was started.
func Has(volume string) bool {
	_, err := os.Stat("/run/" + volume)
	return err == nil && os.Getenv(variable) != ""
}

func (s *Server) begin() {
	s.t.Helper()
	const silent = "/run/gluster-of-tests-does-not-start"
	if _, err := os.Stat(silent); err == nil {
		s.t.Skip("needs a glusterd that starts here")
	}
	must(s.t, "ip", "addr", "add", Address+"/32", "dev", "lo")
	for _, dir := range []string{"/run", "/var/lib/glusterd", "/var/log/glusterfs"} {
		must(s.t, "mkdir", "-p", dir)
		must(s.t, "mount", "-t", "tmpfs", "tests", dir)
	}
	must(s.t, "mkdir", "/run/gluster")
	d := exec.Command("sh", "-c", "ulimit -c 0; exec glusterd -N")
	if err := d.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.pid = d.Process.Pid
	go func() { _ = d.Wait() }()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for exec.CommandContext(ctx, "gluster", "--mode=script", "pool", "list").Run() != nil {
		if ctx.Err() != nil {
			must(s.t, "touch", silent)
			s.t.Skip("needs a glusterd that starts here")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func must(t testing.TB, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.WaitDelay = time.Second
	if out, err := c.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s %q: %v: %s", program, args, err, out)
	}
}

// Signal reaches the server and its bricks.
func (s *Server) Signal(what syscall.Signal) {
	_ = syscall.Kill(s.pid, what)
	for _, pid := range Processes(s.t, "glusterfsd") {
		_ = syscall.Kill(pid, what)
	}
}

// Processes finds those of a program, or with that first argument, in the world of the
// tests.
func Processes(t testing.TB, program string) []int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, name := range found {
		line, _ := os.ReadFile(name) // it may have ended
		if words := bytes.Split(line, []byte{0}); filepath.Base(string(words[0])) == program || len(words) > 1 && string(words[1]) == program {
			var pid int
			_, _ = fmt.Sscanf(name, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}
