package mount

import (
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

	"github.com/virtsmith/virtsmith/pkg/internal/testroot"
)

// inside marks the process that has mounts of its own.
const private = "VIRTSMITH_TEST_PRIVATE_MOUNTS"

// TestMain runs the tests in a mount namespace of their own, so that nothing they mount is
// seen outside or stays, however they end.
func TestMain(m *testing.M) {
	if role := os.Getenv("VIRTSMITH_TEST_ROLE"); role != "" {
		os.Exit(play(role))
	}
	worker := false
	for _, arg := range os.Args {
		worker = worker || strings.HasPrefix(arg, "-test.fuzzworker")
	}
	if os.Geteuid() != 0 || os.Getenv(private) != "" || worker {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), private+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(m.Run()) // where namespaces are refused the tests skip
	}
	os.Exit(0)
}

// need skips a test that cannot mount here.
func need(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	if os.Getenv(private) == "" {
		t.Skip("no mount namespace of our own here")
	}
}

// workshop is a folder on a tmpfs of its own. What is still mounted below it at the end of
// the test is a fault.
func workshop(t testing.TB) string {
	t.Helper()
	need(t)
	dir := testroot.New(t)
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=256m,mode=755"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Error(err)
		}
		if left := mountPoints(string(text), dir); len(left) > 1 {
			t.Errorf("left mounted: %q", left[1:])
		}
		noLoops(t, dir)
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// loopsBelow returns the images below dir that have a loop device.
func loopsBelow(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.HasPrefix(string(text), dir+"/") {
			found = append(found, strings.TrimSpace(string(text)))
		}
	}
	return found
}

// noLoops makes sure that no image below dir has a loop device, or none for long: programs of
// the host may look at each new one.
func noLoops(t testing.TB, dir string) {
	t.Helper()
	until := time.Now().Add(time.Minute)
	for len(loopsBelow(t, dir)) > 0 && time.Now().Before(until) {
		time.Sleep(5 * time.Millisecond)
	}
	if left := loopsBelow(t, dir); len(left) > 0 {
		t.Errorf("left attached: %q", left)
	}
}

func mkdir(t testing.TB, parts ...string) string {
	t.Helper()
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// image makes an image with a file system.
func image(t testing.TB, path, fstype string, args ...string) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs." + fstype)
	if err != nil {
		t.Skipf("no mkfs.%s", fstype)
	}
	size := map[string]int64{"ext4": 8 << 20, "xfs": 320 << 20, "btrfs": 120 << 20}[fstype]
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(f.Truncate(size), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(mkfs, append(args, "-q", path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.%s: %v\n%s", fstype, err, out)
	}
	return path
}

// options returns those of the mount at path, and of its file system.
func options(t testing.TB, path string) (mount, super string) {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/mountinfo")) {
		own, fs, _ := strings.Cut(line, " - ")
		fields := strings.Fields(own)
		if unescape(fields[4]) == path {
			mount, super = fields[5], strings.Fields(fs)[2]
		}
	}
	return mount, super
}

func has(options, word string) bool {
	return strings.Contains(","+options+",", ","+word+",")
}
