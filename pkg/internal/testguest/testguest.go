// Package testguest finds the small bootable guest that tests run in virtual
// machines, and builds it where it is missing.
//
// What the guest can do is told by contrib/testguest/build -h, which makes it.
package testguest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/virtsmith/virtsmith/pkg/internal/conformance"
)

// Ready is the word the guest writes to its serial port, followed by its uptime
// and host name, when all of it is up.
const Ready = "GUEST-READY"

// Dir returns the folder build/testguest of the project, which holds vmlinuz,
// initrd.img, guest.raw and guest.iso. They are built where they are missing or
// older than their builder; test processes side by side build once. The test is
// skipped, with the reason, where they cannot be had. The files are shared: a
// test that lets a guest write to guest.raw copies it or opens it as a snapshot.
func Dir(t testing.TB) string {
	t.Helper()
	root := conformance.Root(t)
	dir := filepath.Join(root, "build", "testguest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EINTR) {
			t.Fatal(err)
		}
	}
	// A first build downloads 40 MB; a minute and a half is for slow lines.
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(root, "contrib", "testguest", "build"), dir)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no test guest: %v: %s", err, strings.TrimSpace(string(out)))
	}
	return dir
}
