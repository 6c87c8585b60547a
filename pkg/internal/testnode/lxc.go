package testnode

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// LXC gets the node ready for containers as Debian does at boot: the profiles of AppArmor
// are loaded, and lxcfs serves until the test ends.
func LXC(t testing.TB) {
	t.Helper()
	Need(t, "containers")
	Profiles(t)
	SubIDs(t, "root:100000:65536\n")
	const at = "/var/lib/lxcfs"
	// One that a test left behind hangs whoever looks.
	_ = exec.Command("umount", "-l", at).Run()
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	Start(t, 0, "lxcfs", at)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", at).Run() })
	for range 600 {
		if _, err := os.Stat(at + "/proc/meminfo"); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("lxcfs does not serve")
}

// Profiles loads the profile of AppArmor that Debian has for lxc-start, where that is not done
// yet.
func Profiles(t testing.TB) {
	t.Helper()
	inside(t, "AppArmor")
	const securityfs, list = "/sys/kernel/security", "/sys/kernel/security/apparmor/profiles"
	if _, err := os.Stat(list); err != nil {
		must(t, "mount", "-t", "securityfs", "securityfs", securityfs)
	}
	loaded, err := os.ReadFile(list)
	if err != nil {
		t.Fatalf("the node's kernel has no AppArmor: %v", err)
	}
	// The profiles that containers get by default are not used: LXC makes one for each.
	if !strings.Contains(string(loaded), "/usr/bin/lxc-start") {
		must(t, "apparmor_parser", "-r", "/etc/apparmor.d/usr.bin.lxc-start")
	}
}

// SubIDs lets root hand out ids as Debian's newuidmap wants it, which the node has: the text
// of /etc/subuid and /etc/subgid.
func SubIDs(t testing.TB, text string) {
	t.Helper()
	inside(t, "containers")
	for _, path := range []string{"/etc/subuid", "/etc/subgid"} {
		before, _ := os.ReadFile(path) // none is as good as an empty one
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.WriteFile(path, before, 0o644) })
	}
}
