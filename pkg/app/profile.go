package app

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/file"
)

// freedVariable says to a process that it was started to be free of a profile.
const freedVariable = "VIRTSMITH_FREED"

// leaveProfile starts this process anew without the profile of AppArmor that it is confined by.
// Debian has one for lxc-start that its hooks inherit: they could mount below /var/lib/lxc only,
// and give no name to a file that had none, and neither could a container's next start that they
// begin. It lets those it confines leave, which is what LXC does for containers without a profile.
// Where a profile does not, or there is none, the process goes on as it is.
func (a *App) leaveProfile() {
	const attributes = "/proc/thread-self/attr/apparmor/"
	if a.env(freedVariable) != "" {
		// Only of this process: the container that it may start has hooks of its own.
		_ = os.Unsetenv(freedVariable)
		a.Env = slices.DeleteFunc(slices.Clone(a.Env), func(pair string) bool { return strings.HasPrefix(pair, freedVariable+"=") })
		return
	}
	if !file.Exists(attributes) {
		return
	}
	// What is to become of the next program is noted with the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	current, err := os.ReadFile(attributes + "current")
	if err != nil || len(current) == 0 || strings.HasPrefix(string(current), "unconfined") {
		return
	}
	if os.WriteFile(attributes+"exec", []byte("exec unconfined"), 0) != nil {
		return
	}
	_ = syscall.Exec(a.Exe, os.Args, append(os.Environ(), freedVariable+"=1")) // it comes back where that fails
}
