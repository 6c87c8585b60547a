package mount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// play is what a process that stands for a container does: it lives in the folder that
// its environment names, and does what lines on its standard input say.
func play(role string) int {
	if err := errors.Join(unix.Chroot(os.Getenv("VIRTSMITH_TEST_HOME")), os.Chdir("/")); err != nil {
		fmt.Println("error", err)
		return 1
	}
	fmt.Println("ready")
	stop := make(chan struct{})
	if role == "racer" {
		go race("/t/dir", "/victim", stop)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		answer, err := act(verb, arg)
		if err != nil {
			answer = "error " + err.Error()
		}
		fmt.Println(strings.TrimSpace(answer))
	}
	return 0
}

func act(verb, arg string) (string, error) {
	switch verb {
	case "cat":
		text, err := os.ReadFile(arg)
		return string(text), err
	case "write":
		return "done", os.WriteFile(arg, []byte("written"), 0o644)
	case "umount":
		return "done", unix.Unmount(arg, 0)
	case "mount":
		image, root, _ := strings.Cut(arg, " ")
		_, err := Host{}.Mount(context.Background(), root, nil, []Point{{Source: image, Target: "/"}})
		return "done", err
	case "remount":
		return "done", unix.Mount("", arg, "", unix.MS_REMOUNT|unix.MS_BIND, "")
	case "owner":
		var st unix.Stat_t
		err := unix.Lstat(arg, &st)
		return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777), err
	}
	return "", errors.New("no such verb")
}

// race swaps a folder for a link and back until stop is closed, so that either is there at
// any moment.
func race(folder, link string, stop <-chan struct{}) {
	if err := os.Symlink(link, folder+".link"); err != nil {
		return
	}
	for {
		select {
		case <-stop:
			return
		default:
			_ = unix.Renameat2(unix.AT_FDCWD, folder, unix.AT_FDCWD, folder+".link", unix.RENAME_EXCHANGE)
		}
	}
}

// actor is a process that stands for a container.
type actor struct {
	t      testing.TB
	pid    int
	in     io.WriteCloser
	out    *bufio.Reader
	killed bool
}

// start starts a process in a mount namespace, and with a map in a user namespace, of its
// own. It ends with the test.
func start(t testing.TB, role, home string, ids IDs) *actor {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "VIRTSMITH_TEST_ROLE="+role, "VIRTSMITH_TEST_HOME="+home)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if ids != nil {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		users, _ := IDMap{Passthrough: true}.onHost(ids, false)
		groups, _ := IDMap{Passthrough: true}.onHost(ids, true)
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = sysMap(users), sysMap(groups)
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: true}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
	a := &actor{t: t, pid: cmd.Process.Pid, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && !a.killed {
			t.Error(err)
		}
	})
	if got := a.line(); got != "ready" {
		t.Fatal(got)
	}
	return a
}

func (a *actor) line() string {
	a.t.Helper()
	line, err := a.out.ReadString('\n')
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// do has the process do something and returns what it says.
func (a *actor) do(line string) string {
	a.t.Helper()
	if _, err := io.WriteString(a.in, line+"\n"); err != nil {
		a.t.Fatal(err)
	}
	return a.line()
}

// unprivileged is the usual map of containers.
func unprivileged() IDs {
	return IDs{{Inside: 0, Outside: 100000, Count: 65536}, {Group: true, Inside: 0, Outside: 100000, Count: 65536}}
}

// chown gives files to somebody.
func chown(t testing.TB, uid, gid int, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Lchown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}
