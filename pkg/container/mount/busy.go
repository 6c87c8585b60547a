package mount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountPoints reads where something is mounted on root and below it from the text of a
// mountinfo file, with what hides others after them.
func mountPoints(text, root string) []string {
	var found []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := unescape(fields[4])
		if point == root || strings.HasPrefix(point, strings.TrimRight(root, "/")+"/") {
			found = append(found, point)
		}
	}
	return found
}

// unescape reads the octal numbers that mountinfo has for blanks and their like.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unmount unmounts what is at path, which messages call shown.
func (h Host) unmount(ctx context.Context, path, shown string) error {
	err := h.patiently(ctx, func() (busy bool, err error) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		return errors.Is(err, unix.EBUSY), err
	})
	if !errors.Is(err, unix.EBUSY) {
		return unmounted(shown, err)
	}
	users := h.users(shown)
	err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	if err == nil {
		h.warnf("%s is in use%s; it is gone from the tree and unmounted when they let go", shown, by(users))
	}
	return unmounted(shown, err)
}

// unmounted names what could not be unmounted. What is not mounted any more is no error.
func unmounted(shown string, err error) error {
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", shown, err)
}

// patiently tries again while something is in use.
func (h Host) patiently(ctx context.Context, f func() (busy bool, err error)) error {
	until := time.Now().Add(cmp.Or(h.Patience, DefaultPatience))
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		busy, err := f()
		if !busy || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func by(users []string) string {
	if len(users) == 0 {
		return ""
	}
	more := ""
	if len(users) > 5 {
		more = fmt.Sprintf(" and %d more", len(users)-5)
		users = users[:5]
	}
	return " by " + strings.Join(users, ", ") + more
}

// users returns the processes that have something open at path or below it, as
// "name (pid 12)".
func (h Host) users(path string) []string {
	processes, err := filepath.Glob(h.proc() + "/[0-9]*")
	if err != nil {
		return nil
	}
	var users []string
	for _, proc := range processes {
		if !slices.ContainsFunc(opened(proc), func(name string) bool {
			return name == path || strings.HasPrefix(name, path+"/")
		}) {
			continue
		}
		name, _ := os.ReadFile(proc + "/comm") // it may be gone by now
		users = append(users, fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), filepath.Base(proc)))
	}
	return users
}

// opened returns what a process has open, works in, or runs.
func opened(proc string) []string {
	links := []string{proc + "/cwd", proc + "/root", proc + "/exe"}
	if fds, err := filepath.Glob(proc + "/fd/*"); err == nil {
		links = append(links, fds...)
	}
	var names []string
	for _, link := range links {
		if name, err := os.Readlink(link); err == nil {
			names = append(names, name)
		}
	}
	return names
}
