// Package testroot makes the folders that tests use as the root of a node, and removes them
// when nobody lives there any more.
package testroot

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// patience is how long processes have to leave by themselves: the supervisor of a QEMU
// that was killed has to clear up after it.
const patience = 15 * time.Second

// New returns an empty folder with a short path, as sockets want it. When the test ends,
// after all that it has put off until then, the folder is removed: not before the last
// process that names it is gone, which would else write into what is no longer there. One that does
// not go is ended, and the test has failed.
func New(t testing.TB) string {
	t.Helper()
	root, err := os.MkdirTemp("", "vs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		left := living(root)
		for len(left) > 0 && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
			left = living(root)
		}
		for pid, line := range left {
			t.Errorf("process %d is left: %s", pid, line)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// living returns the processes that have root in their arguments or environment.
func living(root string) map[int]string {
	found := map[int]string{}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(line) == 0 { // gone, or a zombie
			continue
		}
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if bytes.Contains(line, []byte(root)) || bytes.Contains(env, []byte("="+root)) {
			found[pid] = string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
	return found
}
