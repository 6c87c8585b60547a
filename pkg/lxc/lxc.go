// Package lxc is what the files and programs of LXC are: the text of its configuration, the
// containers that run, starting one in a process of its own, command lines that enter one,
// and what its log says.
//
// It is plain Go and links nothing. What takes the library, because it talks to a running
// container, is in package liblxc below. Versions 4 and later of LXC are meant.
package lxc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/virtsmith/virtsmith/pkg/file"
	"github.com/virtsmith/virtsmith/pkg/run"
)

var (
	// ErrMissing is the error of a machine without the programs of LXC.
	ErrMissing = errors.New("LXC is not installed")
	// ErrRunning is the error of a start of what runs.
	ErrRunning = errors.New("it runs already")
)

// A Version of LXC.
type Version struct{ Major, Minor, Micro int }

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// AtLeast tells whether v is the given version or a later one.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// ParseVersion reads a version such as "5.0.2", "6.0.0" or "4.0.0-devel".
func ParseVersion(text string) (v Version, err error) {
	number, _, _ := strings.Cut(strings.TrimSpace(text), "-")
	parts := strings.Split(number, ".")
	if len(parts) < 2 || len(parts) > 3 {
		return v, fmt.Errorf("no version of LXC: %q", text)
	}
	for i, to := range []*int{&v.Major, &v.Minor, &v.Micro} {
		if i == len(parts) {
			break
		}
		if *to, err = strconv.Atoi(parts[i]); err != nil || *to < 0 {
			return Version{}, fmt.Errorf("no version of LXC: %q", text)
		}
	}
	return v, nil
}

// Find tells the version of the LXC on this machine. It is kept in the file cache, if one is
// named, and asked for again when the program is another one than then.
func Find(ctx context.Context, r run.Runner, cache string) (Version, error) {
	at, err := exec.LookPath("lxc-start")
	if err != nil {
		return Version{}, fmt.Errorf("%w: %w", ErrMissing, err)
	}
	identity, err := identify(at)
	if err != nil {
		return Version{}, err
	}
	if known, ok := strings.CutPrefix(readSome(cache), identity+" "); ok {
		if v, err := ParseVersion(known); err == nil {
			return v, nil
		}
	}
	out, err := run.OutputOf(ctx, r, run.Cmd{Path: at, Args: []string{"--version"}, ReadOnly: true})
	if err != nil {
		return Version{}, err
	}
	v, err := ParseVersion(string(out))
	if err == nil && cache != "" {
		// Without the cache the next one asks again.
		_ = os.MkdirAll(filepath.Dir(cache), 0o755)
		_ = file.Write(cache, []byte(identity+" "+v.String()+"\n"), 0o644)
	}
	return v, err
}

// identify tells one program from another that takes its place.
func identify(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	inode := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%s %d %d %d", path, inode, st.Size(), st.ModTime().UnixNano()), nil
}

func readSome(path string) string {
	if path == "" {
		return ""
	}
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) > 4096 {
		return ""
	}
	return string(raw)
}

// A Kernel is what confines containers on this machine.
type Kernel struct {
	Unified  bool // control groups are of version 2 alone
	AppArmor bool // profiles of AppArmor are enforced
	Seccomp  bool // system calls can be filtered
	CgroupNS bool // a container can have a view of control groups of its own
}

// Offers looks at what the kernel has; proc and sys are /proc and /sys on a real machine.
// Whether control groups are unified is known to package cgroup.
func Offers(proc, sys string, unified bool) Kernel {
	return Kernel{
		Unified:  unified,
		AppArmor: strings.HasPrefix(readSome(filepath.Join(sys, "module/apparmor/parameters/enabled")), "Y"),
		Seccomp:  strings.Contains(readSome(filepath.Join(proc, "sys/kernel/seccomp/actions_avail")), "errno"),
		CgroupNS: file.Exists(filepath.Join(proc, "self/ns/cgroup")),
	}
}
