package testct

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

// buildTime bounds the making of a template: on a slow line tests go without.
const buildTime = 4 * time.Minute

// again is how long a failed attempt is not repeated: a dozen tests must not wait for the
// same network.
const again = 15 * time.Minute

// packages are what the Debian template has besides the essential ones.
const packages = "systemd-sysv,iproute2,ifupdown,iputils-ping,netbase"

// Debian returns a template archive of the Debian release that this machine runs, with systemd:
// build/testct/debian-12-mini_1_amd64.tar.zst of the project. It is made where it is missing, which takes
// a minute and downloads 50 MB; test processes side by side make it once. The test is
// skipped, with the reason, where it cannot be made.
func Debian(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root makes a template of Debian")
	}
	release, version := thisDebian(t)
	home := filepath.Join(conformance.Root(t), "build", "testct")
	at := filepath.Join(home, "debian-"+version+"-mini_1_amd64.tar.zst")
	// A test node sees the project, and can make nothing there.
	if unix.Access(filepath.Dir(home), unix.W_OK) != nil {
		if !isFile(at) {
			t.Skip("no template of Debian in this node")
		}
		return at
	}
	for _, program := range []string{"mmdebstrap", "apt-get", "zstd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no template of Debian: %v", err)
		}
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(home, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--quiet", "--mode=root", "--variant=minbase", "--include=" + packages,
		"--aptopt=Acquire::Languages \"none\"", "--aptopt=Acquire::Retries \"2\"", "--aptopt=Acquire::http::Timeout \"20\"",
		"--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
		`--customize-hook=rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/machine-id"`,
		release,
	}
	stamp, failed := fmt.Sprintf("%x\n", sha256.Sum256([]byte(strings.Join(args, "\n")))), filepath.Join(home, "failed")
	if have, err := os.ReadFile(filepath.Join(home, "stamp")); err == nil && string(have) == stamp && isFile(at) {
		return at
	}
	if st, err := os.Stat(failed); err == nil && time.Since(st.ModTime()) < again {
		why, _ := os.ReadFile(failed)
		t.Skipf("no template of Debian: %s", why)
	}
	if err := build(t.Context(), home, at, args); err != nil {
		_ = os.WriteFile(failed, []byte(err.Error()), 0o644)
		t.Skipf("no template of Debian: %v", err)
	}
	_ = os.Remove(failed)
	if err := os.WriteFile(filepath.Join(home, "stamp"), []byte(stamp), 0o644); err != nil {
		t.Fatal(err)
	}
	return at
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Size() > 1<<20
}

// thisDebian tells the release and the version of this machine.
func thisDebian(t testing.TB) (release, version string) {
	t.Helper()
	raw, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Skip(err)
	}
	about := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		about[key] = strings.Trim(value, `"`)
	}
	if about["ID"] != "debian" || about["VERSION_CODENAME"] == "" || about["VERSION_ID"] == "" {
		t.Skip("no template of Debian: this machine is not Debian")
	}
	return about["VERSION_CODENAME"], about["VERSION_ID"]
}

// build runs mmdebstrap in a mount namespace of its own, so that nothing stays mounted
// however it ends.
func build(ctx context.Context, home, at string, args []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, buildTime, fmt.Errorf("mmdebstrap took more than %v", buildTime))
	defer cancel()
	work, err := os.MkdirTemp(home, ".work")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	sources := filepath.Join(work, "sources.list")
	if err := os.WriteFile(sources, debianSources(ctx, args[len(args)-1]), 0o644); err != nil {
		return err
	}
	fresh := filepath.Join(work, "template.tar.zst")
	// Where there is memory enough, packages are installed there.
	shell := `set -e
[ "$(awk '/^MemAvailable:/ {print int($2 / 1048576)}' /proc/meminfo)" -lt 3 ] || { mkdir "$1/mem"; mount -t tmpfs -o mode=755,size=1500m testct "$1/mem"; export TMPDIR="$1/mem"; }
shift
exec mmdebstrap "$@"`
	// unshare's child dies with it, and the mounts with the child.
	line := slices.Concat([]string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "sh", "-c", shell, "sh", work}, args, []string{fresh, sources})
	cmd := exec.CommandContext(ctx, "unshare", line...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TMPDIR="+work)
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("mmdebstrap: %w: %s", err, tail(out))
	}
	return os.Rename(fresh, at)
}

// debianSources are the lines of this machine's sources that are Debian's.
func debianSources(ctx context.Context, release string) []byte {
	key := ""
	if keys := "/usr/share/keyrings/debian-archive-keyring.gpg"; isThere(keys) {
		key = "[signed-by=" + keys + "] "
	}
	out, _ := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages").Output()
	var lines []string
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) == 2 && slices.Contains([]string{release, release + "-updates", release + "-security"}, words[1]) {
			lines = append(lines, "deb "+key+words[0]+" "+words[1]+" main\n")
		}
	}
	slices.Sort(lines)
	if lines = slices.Compact(lines); len(lines) == 0 {
		lines = []string{"deb " + key + "http://deb.debian.org/debian " + release + " main\n"}
	}
	return []byte(strings.Join(lines, ""))
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func tail(out []byte) string {
	return strings.TrimSpace(string(out[max(0, len(out)-2000):]))
}
