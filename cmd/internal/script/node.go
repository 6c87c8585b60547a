package script

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A node is the world of one script.
type node struct {
	testing.TB
	root    string
	before  map[string]string // what remember has seen
	mounted []string
}

// expand puts the root into the files of a folder.
func (n *node) expand(folder string) error {
	return filepath.WalkDir(filepath.Join(n.root, folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "$WORK", n.root)), 0o640)
	})
}

func (n *node) remember() { n.before = n.state() }

// changes tells how the node differs from what remember has seen.
func (n *node) changes() string { return cmp.Diff(n.before, n.state()) }

// state holds what commands change on purpose: the files of /etc/pve as text, volumes
// as digests.
func (n *node) state() map[string]string {
	found := map[string]string{}
	_ = filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(n.root, path)
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		text, _ := os.ReadFile(path)
		switch {
		case strings.HasPrefix(name, "etc/pve/"):
			found[name] = string(text)
		case strings.Contains(name, "/images/"):
			found[name] = fmt.Sprintf("%x", sha256.Sum256(text))
		}
		return nil
	})
	return found
}

// A process is one that belongs to the node.
type process struct {
	pid  int
	argv string
}

// processes lists the processes that have the root among their arguments, or in their
// environment.
func (n *node) processes() (found []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		argv, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		if pid == os.Getpid() || !strings.Contains(string(argv)+"\x00", n.root) && !slices.Contains(strings.Split(string(env), "\x00"), "VIRTSMITH_ROOT="+n.root) {
			continue
		}
		found = append(found, process{pid, strings.ReplaceAll(strings.TrimSuffix(string(argv), "\x00"), "\x00", " ")})
	}
	return found
}

// leftovers tells what no command may leave behind. What ends by itself has a while to.
func (n *node) leftovers() error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := n.leftNow()
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func (n *node) leftNow() error {
	var left []error
	for _, p := range n.processes() {
		left = append(left, fmt.Errorf("process %d: %s", p.pid, p.argv))
	}
	left = append(left, n.leftFiles()...)
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if dir := strings.Fields(line)[1]; strings.HasPrefix(dir, n.root) && !slices.Contains(n.mounted, dir) {
			left = append(left, fmt.Errorf("mount %s", dir))
		}
	}
	if len(left) == 0 {
		return nil
	}
	return fmt.Errorf("left behind:\n%w", errors.Join(left...))
}

// leftFiles looks for what runs no more and what nobody names.
func (n *node) leftFiles() (left []error) {
	configs := map[string]string{} // by vmid
	var volumes []string
	_ = filepath.WalkDir(n.root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(n.root, path)
		if err == nil && d.IsDir() && subvol.MatchString(name) {
			volumes = append(volumes, name)
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() {
			return nil
		}
		switch {
		case strings.HasPrefix(name, "run/lock/"): // lock files stay, locks do not
			if locked(path) {
				left = append(left, fmt.Errorf("lock held: %s", name))
			}
		case strings.HasPrefix(name, "run/"), strings.HasPrefix(name, "etc/pve/priv/lock/"), temporary.MatchString(name):
			left = append(left, fmt.Errorf("file %s", name))
		case strings.Contains(name, "/images/"):
			volumes = append(volumes, name)
		case strings.HasPrefix(name, "etc/pve/nodes/") && strings.HasSuffix(name, ".conf"):
			text, _ := os.ReadFile(path)
			vmid := strings.TrimSuffix(filepath.Base(name), ".conf")
			configs[vmid] = string(text)
			if lock := lockLine.FindString(string(text)); lock != "" {
				left = append(left, fmt.Errorf("VM %s has %q", vmid, lock))
			}
		}
		return nil
	})
	all := strings.Join(slices.Collect(maps.Values(configs)), "\n")
	for _, name := range volumes {
		if !strings.Contains(all, filepath.Base(name)) {
			left = append(left, fmt.Errorf("volume %s is in no configuration", name))
		}
	}
	return left
}

var (
	lockLine  = regexp.MustCompile(`(?m)^lock: .*$`)
	temporary = regexp.MustCompile(`\.tmp(\.|$)|\.new$|~$`)
	// A folder that is the volume of a container, in an images folder or on a btrfs.
	subvol = regexp.MustCompile(`/images/\d+/(subvol|basevol)-[^/]*$`)
)

// locked tells whether somebody holds the lock of a file.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// end ends what a script that failed has left, so that it does no harm.
func (n *node) end() {
	for _, p := range n.processes() {
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	for _, dir := range slices.Backward(n.mounted) {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
	}
}
