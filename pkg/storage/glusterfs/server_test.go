package glusterfs_test

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

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/api"
	"github.com/virtsmith/virtsmith/pkg/run"
	"github.com/virtsmith/virtsmith/pkg/storage"
	"github.com/virtsmith/virtsmith/pkg/storage/glusterfs"
	"github.com/virtsmith/virtsmith/pkg/storage/mount"
	"github.com/virtsmith/virtsmith/pkg/storage/storagetest"
)

const (
	childWord = "--test-probe"         // makes the test binary the process that asks
	variable  = "VIRTSMITH_TEST_ALONE" // says that it has a world of its own
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		os.Exit(mount.Child(os.Args[2:]))
	}
	if os.Getenv(variable) == "" && os.Getuid() == 0 && missing() == nil {
		os.Exit(alone())
	}
	os.Exit(m.Run())
}

func missing() error {
	for _, program := range []string{"glusterd", "gluster", "mount.glusterfs", "unshare", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			return err
		}
	}
	_, err := os.Stat("/dev/fuse")
	return err
}

// alone runs the tests again in namespaces of their own: with a network of their own
// for the ports of Gluster, its folders, and processes and mounts that end with them.
func alone() int {
	c := exec.Command("unshare", append([]string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--", os.Args[0]}, os.Args[1:]...)...)
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

// patience is how long the tests may take: thirty times what they do.
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
	for _, signal := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		for _, child := range strings.Fields(string(children)) {
			world, _ := os.Readlink("/proc/" + child + "/ns/pid")
			members, _ := filepath.Glob("/proc/[0-9]*")
			for _, member := range members {
				name, _ := os.ReadFile(member + "/comm")
				if is, _ := os.Readlink(member + "/ns/pid"); is != world || signal == syscall.SIGQUIT && filepath.Base(member) != child && string(name) != "glusterfs\n" {
					continue
				}
				var pid int
				_, _ = fmt.Sscan(filepath.Base(member), &pid)
				if string(name) == "glusterfs\n" {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				_ = syscall.Kill(pid, signal)
			}
		}
		time.Sleep(5 * time.Second)
	}
}

const address = "10.66.0.1"

// A server is glusterd with the volumes gv0 and small.
type server struct {
	t   testing.TB
	pid int
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

// start starts the server, once for all tests that are run together: it ends with
// their world.
func start(t testing.TB) *server {
	t.Helper()
	if os.Getenv(variable) == "" {
		if os.Getuid() != 0 {
			t.Skip("needs root, for a Gluster of its own")
		}
		t.Skipf("needs Gluster: %v", missing())
	}
	const marker = "/run/gluster-of-tests"
	s := &server{t: t}
	if text, err := os.ReadFile(marker); err == nil {
		_, _ = fmt.Sscan(string(text), &s.pid)
		return s
	}
	const silent = "/run/gluster-of-tests-does-not-start"
	if _, err := os.Stat(silent); err == nil {
		t.Skip("needs a glusterd that starts here")
	}
	must(t, "ip", "link", "set", "lo", "up")
	must(t, "ip", "addr", "add", address+"/32", "dev", "lo")
	for _, dir := range []string{"/run", "/var/lib/glusterd", "/var/log/glusterfs"} {
		must(t, "mkdir", "-p", dir)
		must(t, "mount", "-t", "tmpfs", "tests", dir)
	}
	bricks := map[string]string{"gv0": "800m", "small": "60m"}
	must(t, "mkdir", "/run/gluster")
	for volume, size := range bricks {
		must(t, "mkdir", "/run/"+volume)
		must(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tests", "/run/"+volume)
	}
	d := exec.Command("glusterd", "-N")
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	s.pid = d.Process.Pid
	go func() { _ = d.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for exec.CommandContext(ctx, "gluster", "--mode=script", "pool", "list").Run() != nil {
		if ctx.Err() != nil {
			must(t, "touch", silent)
			t.Skip("needs a glusterd that starts here")
		}
		time.Sleep(100 * time.Millisecond)
	}
	for volume := range bricks {
		must(t, "gluster", "--mode=script", "volume", "create", volume, address+":/run/"+volume+"/brick", "force")
		must(t, "gluster", "--mode=script", "volume", "start", volume)
	}
	must(t, "sh", "-c", fmt.Sprintf("echo %d >%s", s.pid, marker))
	return s
}

// signal reaches the server and its bricks.
func (s *server) signal(what syscall.Signal) {
	_ = syscall.Kill(s.pid, what)
	for _, pid := range processes(s.t, "glusterfsd") {
		_ = syscall.Kill(pid, what)
	}
}

// processes finds those of a program, in the world of the tests.
func processes(t testing.TB, program string) []int {
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

// section returns the options of a storage of a volume that is emptied.
func section(t *testing.T, volume string) []string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "mnt")
	t.Cleanup(func() {
		_ = os.RemoveAll(at + "/images")
		for unix.Unmount(at, unix.MNT_DETACH) == nil {
		}
	})
	return []string{"server " + address, "volume " + volume, "path " + at}
}

func TestContract(t *testing.T) {
	start(t)
	o := storagetest.Options{
		Type:    glusterfs.Type(),
		Section: func(t *testing.T) []string { return section(t, "gv0") },
		Small:   func(t *testing.T) []string { return section(t, "small") },
		Formats: []string{"qcow2"},
	}
	if os.Getenv("VIRTSMITH_TEST_ALL") != "" {
		o.Formats = nil // each takes a while
	}
	storagetest.Run(t, o)
}

// serve returns a service with a storage gl of the volume gv0, which asks as on a node.
func serve(t *testing.T, options ...string) (*storage.Service, string, *bytes.Buffer, context.Context) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := append(section(t, "gv0")[1:], options...)
	p := &mount.Prober{Dir: t.TempDir(), Argv: []string{exe, childWord}, Patience: 3 * time.Second}
	s := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{glusterfs.Type()}, QEMUImg: "qemu-img", Probe: p.Probe,
		Config: func(context.Context) (string, error) {
			return "glusterfs: gl\n\t" + strings.Join(lines, "\n\t") + "\n", nil
		},
	})
	said := &bytes.Buffer{}
	return s, strings.TrimPrefix(lines[1], "path "), said, api.WithStreams(t.Context(), api.Streams{Out: said, Err: said})
}

// TestSecondServer: where the first server does not answer, the second one does.
func TestSecondServer(t *testing.T) {
	start(t)
	s, at, _, ctx := serve(t, "server 10.66.0.2", "server2 "+address)
	if err := s.Activate(ctx, "gl"); err != nil {
		t.Fatal(err)
	}
	table, err := mount.Table()
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := mount.Find(table, at); !ok || e.Device != address+":gv0" || e.Type != "fuse.glusterfs" {
		t.Errorf("mounted is %+v", e)
	}
}

// TestNoVolume: a volume that is not there is not mounted, in bounded time.
func TestNoVolume(t *testing.T) {
	start(t)
	_, at, _, ctx := serve(t, "server "+address)
	other := storage.New(storage.Options{
		Root: t.TempDir(), Node: "pve1", Runner: run.Host{}, Types: []storage.Type{glusterfs.Type()},
		Config: func(context.Context) (string, error) {
			return "glusterfs: gl\n\tserver " + address + "\n\tvolume nowhere\n\tpath " + at + "\n", nil
		},
	})
	if err := other.Activate(ctx, "gl"); err == nil || !strings.Contains(err.Error(), "mount error: ") || !strings.Contains(err.Error(), "does the volume exist") {
		t.Errorf("got %v", err)
	}
	if below, _ := filepath.Glob(at + "/*"); len(below) > 0 {
		t.Errorf("on the root file system: %q", below)
	}
}

// TestServerHangs: stopped servers and clients are waited for once.
func TestServerHangs(t *testing.T) {
	srv := start(t)
	s, _, said, ctx := serve(t, "server "+address)
	v, err := s.Alloc(ctx, "gl", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	offline := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "storage 'gl' is not online: server "+address) {
			t.Errorf("got %v", err)
		}
	}
	back := func() {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			_, err := s.Info(ctx, v)
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("it does not come back: %v", err)
			}
		}
	}
	client := func(what syscall.Signal) {
		for _, pid := range processes(t, "glusterfs") {
			_ = syscall.Kill(pid, what)
		}
	}
	for name, who := range map[string]func(syscall.Signal){"servers": srv.signal, "client": client} {
		t.Run(name, func(t *testing.T) {
			who(syscall.SIGSTOP)
			defer who(syscall.SIGCONT)
			time.Sleep(1100 * time.Millisecond) // answers are good for a second
			for range 3 {
				_, err := s.Status(ctx, "gl")
				offline(err)
				_, err = s.Info(ctx, v)
				offline(err)
				offline(s.Free(ctx, v))
			}
			if n := len(processes(t, childWord)); n > 1 {
				t.Errorf("%d processes ask", n)
			}
			who(syscall.SIGCONT)
			back()
		})
	}
	// A client that has crashed is replaced.
	client(syscall.SIGKILL)
	time.Sleep(1100 * time.Millisecond)
	if err := s.Activate(ctx, "gl"); err != nil {
		t.Error(err)
	}
	back()
	if err := s.Free(ctx, v); err != nil {
		t.Error(err)
	}
}

// TestQEMU: QEMU's own client reads what the mount has written.
func TestQEMU(t *testing.T) {
	if os.Getenv("VIRTSMITH_TEST_ALL") == "" {
		t.Skip("QEMU's client waits ten seconds each time it closes a volume: set VIRTSMITH_TEST_ALL=1")
	}
	start(t)
	s, _, said, ctx := serve(t, "server "+address)
	v, err := s.Alloc(ctx, "gl", storage.Alloc{Guest: 100, Format: "qcow2", Size: 1024})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	path, err := s.Path(ctx, v, "")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, "qemu-img", "info", "-f", "qcow2", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1 MiB (1048576 bytes)") {
		t.Errorf("%s: %v: %s", path, err, out)
	}
}
